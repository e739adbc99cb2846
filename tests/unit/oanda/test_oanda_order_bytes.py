"""What the order connection puts on the wire, seen by a real socket at the other end."""

import asyncio
import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest
from oandapyV20.endpoints.orders import OrderCreate

from core.errors import BadInputError, OutcomeUnknownError
from core.settings import OandaSettings
from trading.brokers.oanda.environment import select_environment
from trading.brokers.oanda.order_channel import OrderChannel
from trading.brokers.oanda.pacing import CircuitBreaker, TokenBucket

OPENING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_BODY = b'{"lastTransactionID":"1234"}'
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Peer:
    """Takes one connection at a time; gives what it read in one call and answers what it was told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        self.port: int = self.listener.getsockname()[1]
        self.connection: socket.socket | None = None

    def exchange(self, answer: bytes, close: bool = False) -> bytes:
        if self.connection is None:
            self.connection, _ = self.listener.accept()
            self.connection.settimeout(5)
        content = self.connection.recv(65_536)
        self.connection.sendall(answer)
        if close:
            self.connection.close()
            self.connection = None
        return content


@pytest.fixture
def peer() -> Generator[Peer]:
    made = Peer()
    yield made
    if made.connection is not None:
        made.connection.close()
    made.listener.close()


@pytest.fixture
def channel(peer: Peer) -> Generator[OrderChannel]:
    url = f"http://127.0.0.1:{peer.port}"
    name = select_environment(OandaSettings(rest_url=url, stream_url=url), allow_live=False)
    made = OrderChannel(name, "secret-token", 5.0, TokenBucket(1000.0), CircuitBreaker())
    yield made
    made.close()


def creation(account: str = "1") -> OrderCreate:
    return OrderCreate(account, data={"order": {"units": "1"}})


async def test_head_and_body_leave_in_one_write(peer: Peer, channel: OrderChannel) -> None:
    with ThreadPoolExecutor(1) as other:
        opening = asyncio.wrap_future(other.submit(peer.exchange, OPENING))
        await channel.warm("v3/accounts/1/summary")
        assert (await opening).startswith(b"GET /v3/accounts/1/summary HTTP/1.1\r\n")
        before = channel.written_ns
        order = creation()
        read = asyncio.wrap_future(other.submit(peer.exchange, CREATED))
        reply = await channel.trade(order, "order a", channel.encode(order))
        content = await read
    head, _, body = content.partition(b"\r\n\r\n")
    assert content == channel.encode(order) and body == b'{"order":{"units":"1"}}'
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v3/accounts/1/orders HTTP/1.1"
    expected = {b"Host: 127.0.0.1:%d" % peer.port, b"Content-Length: 23", b"Authorization: Bearer secret-token"}
    assert expected <= set(lines)
    assert reply.status == 201 and channel.written_ns > before and channel.ready


async def test_a_connection_the_other_side_ends_is_made_anew(peer: Peer, channel: OrderChannel) -> None:
    with ThreadPoolExecutor(1) as other:
        opening = asyncio.wrap_future(other.submit(peer.exchange, OPENING, True))
        await channel.warm("v3/accounts/1/summary")
        await opening
        for _ in range(100):
            if not channel.ready:
                break
            await asyncio.sleep(0.01)
        assert not channel.ready
        read = asyncio.wrap_future(other.submit(peer.exchange, CREATED))
        assert (await channel.trade(creation(), "order b")).status == 201
        await read
        last = asyncio.wrap_future(other.submit(peer.exchange, CREATED[:-5], True))
        with pytest.raises(OutcomeUnknownError, match="reply was lost"):
            await channel.trade(creation(), "order c")
        await last


async def test_a_path_that_would_end_the_line_is_never_sent(channel: OrderChannel) -> None:
    with pytest.raises(BadInputError, match="nothing was sent"):
        await channel.trade(creation("1/orders HTTP/1.1\r\nX: y"), "order d")
    assert channel.written_ns == 0
