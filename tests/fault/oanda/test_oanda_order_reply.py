"""Replies to orders in every form: taken in by the event loop, or by the thread where that is needed."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from oandapyV20.endpoints.orders import OrderCreate

from core.errors import OutcomeUnknownError, RateLimitedError, UnavailableError
from core.settings import OandaSettings
from trading.brokers.oanda.environment import select_environment
from trading.brokers.oanda.order_channel import OrderChannel
from trading.brokers.oanda.order_reply import Arrived, arrived
from trading.brokers.oanda.pacing import CircuitBreaker, TokenBucket

BODY = b'{"lastTransactionID":"1234"}'
HEAD = b"HTTP/1.1 201 Created\r\nRequestID: 7\r\nContent-Length: %d\r\n\r\n" % len(BODY)
CREATED = HEAD + BODY
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def pieces(*content: bytes, pause: float = 0.02) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in content:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


class Venue:
    """Answers each request as it was told to, the last way ever after; counts requests and connections."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = [pieces(CREATED, pause=0), *answers]
        self.requests = self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"POST" in head:
                    await reader.readexactly(23)
                answer = self.answers[min(self.requests, len(self.answers) - 1)]
                self.requests += 1
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def opened(
    venue: Venue, timeout: float = 5.0, secure: ssl.SSLContext | None = None
) -> AsyncGenerator[OrderChannel]:
    listener = await asyncio.start_server(venue.serve, "127.0.0.1", 0, ssl=secure)
    port = listener.sockets[0].getsockname()[1]
    url = f"https://localhost:{port}" if secure is not None else f"http://127.0.0.1:{port}"
    name = select_environment(OandaSettings(rest_url=url, stream_url=url), allow_live=False)
    channel = OrderChannel(name, "secret-token", timeout, TokenBucket(1000.0), CircuitBreaker())
    await channel.warm("v3/accounts/1/summary")
    try:
        yield channel
    finally:
        channel.refuse_further()
        await asyncio.to_thread(channel.close)
        listener.close()


def creation() -> OrderCreate:
    return OrderCreate("1", data={"order": {"units": "1"}})


async def test_replies_in_pieces_are_put_together() -> None:
    venue = Venue(pieces(CREATED[:10], CREATED[10:60], CREATED[60:-1], CREATED[-1:]))
    async with opened(venue) as channel:
        for name in "abc":
            reply = await channel.trade(creation(), name)
            assert reply.status == 201 and reply.body == {"lastTransactionID": "1234"} and channel.ready
    assert (venue.connections, venue.requests) == (1, 4)


async def test_forms_that_do_not_say_their_length_are_read_to_their_end() -> None:
    chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n%b\r\n" % BODY
    early = b"HTTP/1.1 100 Continue\r\n\r\n"
    venue = Venue(pieces(chunked, b"0\r\n\r\n"), pieces(early + CREATED[:30], CREATED[30:]))
    async with opened(venue) as channel:
        for name in "ab":
            assert (await channel.trade(creation(), name)).body == {"lastTransactionID": "1234"}
    assert (venue.connections, venue.requests) == (1, 3)


async def test_what_follows_a_reply_is_not_taken_for_the_next_one() -> None:
    venue = Venue(pieces(CREATED + CREATED), pieces(CREATED))
    async with opened(venue) as channel:
        assert (await channel.trade(creation(), "a")).status == 201
        assert not channel.ready
        assert (await channel.trade(creation(), "b")).status == 201
    assert (venue.connections, venue.requests) == (2, 3)


async def test_reply_that_is_not_complete_in_time_is_unknown() -> None:
    async def drops(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.1)
            if len(venue.answers) > 2:
                break

    venue = Venue(drops)
    async with opened(venue, timeout=0.3) as channel:
        with pytest.raises(OutcomeUnknownError, match="TimeoutError"):
            await channel.trade(creation(), "slow")
        assert not channel.ready
        venue.answers.append(pieces(CREATED))
        venue.requests = 2
        assert (await channel.trade(creation(), "next")).status == 201
    assert venue.connections == 2


async def test_refusals_and_failures_keep_their_meaning() -> None:
    def status(line: bytes, fields: bytes = b"") -> Answer:
        return pieces(b"HTTP/1.1 %b\r\n%bContent-Length: 2\r\n\r\n{}" % (line, fields))

    venue = Venue(
        status(b"429 Too Many Requests", b"Retry-After: 3\r\n"),
        status(b"503 Service Unavailable", b"Connection: close\r\n"),
        status(b"400 Bad Request"),
        pieces(b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc"),
    )
    async with opened(venue) as channel:
        with pytest.raises(RateLimitedError) as limited:
            await channel.trade(creation(), "a")
        assert limited.value.retry_after_seconds == 3.0
        with pytest.raises(OutcomeUnknownError, match="HTTP 503"):
            await channel.trade(creation(), "b")
        assert not channel.ready
        assert (await channel.trade(creation(), "c")).status == 400
        with pytest.raises(OutcomeUnknownError, match="cannot be read"):
            await channel.trade(creation(), "d")
    assert venue.requests == 5


async def test_another_order_waits_for_the_reply_of_the_first() -> None:
    venue = Venue(pieces(CREATED[:40], CREATED[40:], pause=0.1), pieces(CREATED))
    async with opened(venue) as channel:
        first = asyncio.create_task(channel.trade(creation(), "a"))
        await asyncio.sleep(0.05)  # half of its reply is read by the event loop
        replies = await asyncio.gather(first, channel.trade(creation(), "b"), channel.trade(creation(), "c"))
    assert [reply.status for reply in replies] == [201, 201, 201]
    assert (venue.connections, venue.requests) == (1, 4)


async def test_the_end_of_the_session_waits_for_the_reply() -> None:
    venue = Venue(pieces(CREATED[:40], CREATED[40:], pause=0.2))
    async with opened(venue) as channel:
        under_way = asyncio.create_task(channel.trade(creation(), "a"))
        await asyncio.sleep(0.05)
        channel.refuse_further()
        await asyncio.to_thread(channel.close)
        assert (await under_way).status == 201
        with pytest.raises(UnavailableError, match="nothing was sent"):
            await channel.trade(creation(), "b")
    assert venue.requests == 2


async def test_a_caller_that_gives_up_leaves_the_connection_clean() -> None:
    venue = Venue(pieces(CREATED[:40], CREATED[40:], pause=0.1), pieces(CREATED))
    async with opened(venue) as channel:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await channel.trade(creation(), "a")
        assert not channel.ready
        await asyncio.sleep(0.2)
        assert channel.ready
        assert (await channel.trade(creation(), "b")).status == 201
    assert venue.connections == 1


async def test_replies_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = f"{openssl} req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    making = [*words.split(), "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, making, check=True, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("no_proxy", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED[:-5])
        await writer.drain()
        writer.close()

    chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n%b\r\n" % BODY
    venue = Venue(pieces(CREATED), pieces(HEAD, BODY), pieces(chunked, b"0\r\n\r\n"), half)
    async with opened(venue, secure=context) as channel:
        for name in "abc":
            assert channel.ready
            assert (await channel.trade(creation(), name)).body == {"lastTransactionID": "1234"}
        with pytest.raises(OutcomeUnknownError, match="reply was lost"):
            await channel.trade(creation(), "d")
    assert (venue.connections, venue.requests) == (1, 5)


@pytest.mark.parametrize("length", range(len(CREATED)))
def test_no_part_of_a_reply_is_one(length: int) -> None:
    assert arrived(CREATED[:length]) is None


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.0 201 Created\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 201 Created\nContent-Length: 0\n\n",
        b"HTTP/1.1 201 Created\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nA: b\r\n Content-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"x" * 70_000,
    ],
)
def test_unusual_replies_are_left_to_the_library(content: bytes) -> None:
    assert arrived(content) == content


def test_a_whole_reply_is_taken_apart() -> None:
    assert arrived(CREATED) == Arrived(201, BODY, "", False)
    assert arrived(CREATED.replace(b"RequestID: 7", b"CONNECTION: Close")) == Arrived(201, BODY, "", True)
