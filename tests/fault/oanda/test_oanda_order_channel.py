"""The connection for orders: written at once, sent once, replies never mixed up, on a network that breaks."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path

import loopback_v20 as v20
import orjson
import pytest
import pytest_asyncio
from loopback_v20 import LoopbackV20, Request, Wire

from core.clock import LiveClock
from core.domain import OrderRequest
from core.errors import ConfigurationError, OutcomeUnknownError, UnavailableError
from core.settings import OandaSettings
from trading.brokers.oanda import OandaBroker


def order(client_order_id: str) -> OrderRequest:
    return OrderRequest(client_order_id, "EUR_USD", Decimal(100))


def fill(wire: Wire, request: Request) -> None:
    wire.reply(201, v20.filled_reply(request.body["order"]["clientExtensions"]["id"]))


def sent_ids(server: LoopbackV20) -> list[str]:
    return [r.body["order"]["clientExtensions"]["id"] for r in server.requests if r.method == "POST"]


@pytest.fixture
def server() -> Iterator[LoopbackV20]:
    server = v20.ready_server()
    server.on("POST /orders", fill)
    yield server
    server.close()


@pytest_asyncio.fixture
async def broker(server: LoopbackV20) -> AsyncIterator[OandaBroker]:
    broker = OandaBroker(server.settings(), LiveClock(), settle_seconds=0.05)
    await broker.connect()
    yield broker
    await broker.close()


async def test_orders_at_once_are_sent_once_each_and_get_their_own_reply(
    server: LoopbackV20, broker: OandaBroker
) -> None:
    names = [f"many-{number}" for number in range(20)]
    replies = await asyncio.gather(*(broker.submit(order(name)) for name in names))
    assert [events[0].client_order_id for events in replies] == names  # type: ignore[union-attr]
    assert sent_ids(server) == names


async def test_a_caller_that_gives_up_leaves_no_reply_to_the_next_order(
    server: LoopbackV20, broker: OandaBroker
) -> None:
    server.on("POST /orders", v20.late(0.2, fill), fill)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await broker.submit(order("given-up"))
    events = await broker.submit(order("next"))
    assert events[0].client_order_id == "next"  # type: ignore[union-attr]
    assert sent_ids(server) == ["given-up", "next"]


async def test_reply_drop_by_drop_is_unknown_in_time(server: LoopbackV20, broker: OandaBroker) -> None:
    def trickle(wire: Wire, request: Request) -> None:
        wire.socket.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n")
        while not server.closing.wait(0.1):
            wire.socket.sendall(b" ")

    server.on("POST /orders", trickle)
    with pytest.raises(OutcomeUnknownError):
        async with asyncio.timeout(30):  # the reply itself would take 100 s
            await broker.submit(order("slow"))
    assert sent_ids(server) == ["slow"]


async def test_connection_closed_in_a_pause_costs_no_order(server: LoopbackV20, broker: OandaBroker) -> None:
    def fill_and_leave(wire: Wire, request: Request) -> None:
        fill(wire, request)
        wire.hang_up()

    server.on("POST /orders", fill_and_leave)
    for number in range(3):
        assert len(await broker.submit(order(f"pause-{number}"))) == 2
        await asyncio.sleep(0.05)  # the hang-up arrives
    assert sent_ids(server) == ["pause-0", "pause-1", "pause-2"]


async def test_connection_is_open_again_before_the_next_order(server: LoopbackV20, broker: OandaBroker) -> None:
    before = server.count("GET /summary")
    for connection in list(server.sockets):
        connection.shutdown(2)
    for _ in range(100):
        await asyncio.sleep(0.05)
        if server.count("GET /summary") > before:
            break
    assert server.count("GET /summary") == before + 1
    assert len(await broker.submit(order("after"))) == 2


async def test_prefix_of_the_path_and_headers_are_sent(server: LoopbackV20) -> None:
    address = f"http://127.0.0.1:{server.port}/gateway/oanda/"
    broker = OandaBroker(server.settings(rest_url=address, stream_url=address), LiveClock())
    await broker.submit(order("prefixed"))
    (request,) = server.requests
    assert request.path == f"/gateway/oanda/v3/accounts/{v20.ACCOUNT}/orders"
    assert request.headers["authorization"] == f"Bearer {v20.TOKEN}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-datetime-format"] == "RFC3339"
    await broker.close()


async def test_http_proxy_reads_the_whole_address(server: LoopbackV20, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:pa%40ss@127.0.0.1:{server.port}")
    monkeypatch.setenv("no_proxy", "")
    host = "http://broker.invalid"
    broker = OandaBroker(server.settings(rest_url=host, stream_url=host), LiveClock())
    await broker.submit(order("proxied"))
    assert server.requests[0].path == f"http://broker.invalid/v3/accounts/{v20.ACCOUNT}/orders"
    assert server.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYUBzcw=="
    await broker.close()


async def test_proxy_of_another_kind_is_refused(server: LoopbackV20, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ConfigurationError, match="NO_PROXY"):
        OandaBroker(server.settings(rest_url="http://broker.invalid", stream_url="http://broker.invalid"), LiveClock())


async def test_tls_through_a_tunnelling_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that opens tunnels; behind it a server whose certificate the environment trusts."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    making = await asyncio.create_subprocess_exec(
        *f"{openssl} req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext".split(),
        "subjectAltName=DNS:broker.invalid",
        *f"-keyout {key} -out {certificate}".split(),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await making.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.partition("\r\n")[0])
        if asked[-1].startswith("CONNECT"):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.start_tls(context)
            await serve(reader, writer)
            return
        body = orjson.dumps(v20.filled_reply("tunnelled"))
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    monkeypatch.setenv("no_proxy", "")
    url = "https://broker.invalid"
    settings = OandaSettings(rest_url=url, stream_url=url, token=v20.TOKEN, account_id=v20.ACCOUNT)
    stranger = OandaBroker(settings, LiveClock())
    with pytest.raises(UnavailableError, match="not sent"):
        await stranger.submit(order("tunnelled"))
    await stranger.close()
    assert asked == ["CONNECT broker.invalid:443 HTTP/1.0"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    broker = OandaBroker(settings, LiveClock())
    assert len(await broker.submit(order("tunnelled"))) == 2
    assert asked[-1] == f"POST /v3/accounts/{v20.ACCOUNT}/orders HTTP/1.1"
    await broker.close()
    listener.close()
