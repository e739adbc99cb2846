"""REST faults over a real socket: an order is sent once, and what became of it is never assumed."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs

import loopback_v20 as v20
import pytest
import pytest_asyncio
from loopback_v20 import LoopbackV20, answer

from core.clock import LiveClock, from_rfc3339, to_rfc3339
from core.domain import OrderFilled, OrderRejected, OrderRequest, RejectReason
from core.errors import (
    BadInputError,
    ConfigurationError,
    OutcomeUnknownError,
    RateLimitedError,
    TidegateError,
    UnavailableError,
)
from core.settings import OandaSettings
from trading.brokers.oanda import OandaBroker

ORDER = OrderRequest("client-1", "EUR_USD", Decimal(100))


@pytest.fixture
def server() -> Iterator[LoopbackV20]:
    server = v20.ready_server()
    yield server
    server.close()


@pytest_asyncio.fixture
async def broker(server: LoopbackV20) -> AsyncIterator[OandaBroker]:
    broker = OandaBroker(server.settings(), LiveClock(), settle_seconds=0.05)
    await broker.connect()
    yield broker
    await broker.close()


def secrets_in(error: BaseException | None) -> list[str]:
    """Return the secrets quoted anywhere in an error's chain."""
    found: list[str] = []
    while error is not None:
        text = f"{error!r} {error} {error.args}"
        found += [secret for secret in (v20.TOKEN, v20.ACCOUNT) if secret in text]
        error = error.__cause__ or error.__context__
    return found


async def test_slow_reply_is_unknown_and_sent_once(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", v20.late(1.5, answer(v20.filled_reply("client-1"), 201)))
    with pytest.raises(OutcomeUnknownError) as caught:
        await broker.submit(ORDER)
    assert server.count("POST /orders") == 1
    assert secrets_in(caught.value) == []


async def test_cut_connection_is_unknown_and_sent_once(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", v20.hang_up)
    with pytest.raises(OutcomeUnknownError) as caught:
        await broker.submit(ORDER)
    assert server.count("POST /orders") == 1
    assert secrets_in(caught.value) == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_server_error_on_an_order_is_unknown(server: LoopbackV20, broker: OandaBroker, status: int) -> None:
    server.on("POST /orders", answer({"errorMessage": "down"}, status))
    with pytest.raises(OutcomeUnknownError):
        await broker.submit(ORDER)
    assert server.count("POST /orders") == 1


@pytest.mark.parametrize("body", [b"{garbage", b"", b"[]", b"null", b'{"lastTransactionID": "12"}'])
async def test_unreadable_reply_to_an_order_is_unknown(server: LoopbackV20, broker: OandaBroker, body: bytes) -> None:
    server.on("POST /orders", answer(body, 201))
    with pytest.raises(OutcomeUnknownError):
        await broker.submit(ORDER)


async def test_fill_without_a_price_is_unknown_and_never_a_trade(server: LoopbackV20, broker: OandaBroker) -> None:
    reply = v20.filled_reply("client-1")
    del reply["orderFillTransaction"]["price"]
    server.on("POST /orders", answer(reply, 201))
    with pytest.raises(OutcomeUnknownError):
        await broker.submit(ORDER)


async def test_redirect_is_not_followed(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", answer({"a": 1}, 307, f"Location: http://127.0.0.1:{server.port}/elsewhere\r\n"))
    with pytest.raises(OutcomeUnknownError):
        await broker.submit(ORDER)
    assert server.count("POST /elsewhere") == 0


async def test_success_with_another_status_than_documented(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", answer(v20.filled_reply("client-1"), 200))
    assert [event.transaction_id for event in await broker.submit(ORDER)] == [11, 12]


async def test_refused_connection_was_never_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    broker = OandaBroker(
        OandaSettings(rest_url=url, stream_url=url, token=v20.TOKEN, account_id=v20.ACCOUNT), LiveClock()
    )
    with pytest.raises(UnavailableError) as caught:
        await broker.submit(ORDER)
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert secrets_in(caught.value) == []
    await broker.close()


async def test_unencrypted_server_behind_https_was_never_sent() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    settings = OandaSettings(rest_url=url, stream_url=url, token=v20.TOKEN, account_id=v20.ACCOUNT)
    broker = OandaBroker(settings, LiveClock())
    with pytest.raises(UnavailableError, match="not sent") as caught:
        await broker.submit(ORDER)
    assert secrets_in(caught.value) == []
    await broker.close()
    listener.close()


async def test_untrusted_certificate_was_never_sent(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program to make a certificate")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    making = await asyncio.create_subprocess_exec(
        *f"{openssl} req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout {key} -out {certificate}".split(),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await making.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(10))
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    broker = OandaBroker(OandaSettings(rest_url=url, stream_url=url, token="t0ken", account_id="a-1"), LiveClock())
    with pytest.raises(UnavailableError, match=r"not sent.*SSLCertVerificationError"):
        await broker.submit(ORDER)
    assert seen == []
    await broker.close()
    listener.close()


async def test_429_on_an_order_is_not_sent_again(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", answer({"errorMessage": "slow down"}, 429, "Retry-After: 3\r\n"))
    with pytest.raises(RateLimitedError) as caught:
        await broker.submit(ORDER)
    assert caught.value.retry_after_seconds == 3.0
    assert server.count("POST /orders") == 1


async def test_429_then_503_on_a_question_is_asked_again(server: LoopbackV20, broker: OandaBroker) -> None:
    before = server.count("GET /summary")
    server.on(
        "GET /summary",
        answer({"errorMessage": "slow down"}, 429, "Retry-After: 0\r\n"),
        answer(b"<html>down</html>", 503),
        answer(v20.account(last=99)),
    )
    assert (await broker.account()).last_transaction_id == 99
    assert server.count("GET /summary") == before + 3


async def test_circuit_opens_and_orders_are_refused_unsent(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", answer({}, 503))
    for _ in range(5):
        with pytest.raises(OutcomeUnknownError):
            await broker.submit(ORDER)
    assert broker.circuit_open
    with pytest.raises(UnavailableError):
        await broker.submit(ORDER)
    assert server.count("POST /orders") == 5
    await asyncio.sleep(1.05)
    server.on("POST /orders", answer(v20.filled_reply("client-1"), 201))
    assert len(await broker.submit(ORDER)) == 2
    assert not broker.circuit_open


async def test_refusal_without_transaction_is_an_event(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", answer({"errorMessage": "Invalid value specified for 'order.units'"}, 400))
    (event,) = await broker.submit(ORDER)
    assert isinstance(event, OrderRejected)
    assert (event.transaction_id, event.reject_reason) == (0, RejectReason.BROKER_INVALID_UNITS)


@pytest.mark.parametrize(("status", "word"), [(401, "TOKEN"), (403, "ACCOUNT_ID")])
async def test_wrong_credentials(server: LoopbackV20, status: int, word: str) -> None:
    server.on("GET /summary", answer({"errorMessage": f"{v20.TOKEN} is not allowed on {v20.ACCOUNT}"}, status))
    broker = OandaBroker(server.settings(), LiveClock())
    with pytest.raises(ConfigurationError, match=word) as caught:
        await broker.connect()
    assert secrets_in(caught.value) == []
    await broker.close()


async def test_unknown_account_is_a_configuration_error(server: LoopbackV20) -> None:
    server.on("GET /summary", answer({"errorMessage": f"no account {v20.ACCOUNT}"}, 404))
    broker = OandaBroker(server.settings(), LiveClock())
    with pytest.raises(ConfigurationError) as caught:
        await broker.connect()
    assert secrets_in(caught.value) == []
    await broker.close()


async def test_account_in_another_currency(server: LoopbackV20) -> None:
    server.on("GET /summary", answer(v20.account("AUD")))
    broker = OandaBroker(server.settings(), LiveClock(), account_currency="USD")
    with pytest.raises(ConfigurationError, match="AUD"):
        await broker.connect()
    await broker.close()


async def test_lost_order_is_found_by_asking(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", v20.hang_up)
    with pytest.raises(OutcomeUnknownError):
        await broker.submit(ORDER)
    transactions = [v20.order_transaction(11, "client-1"), v20.fill_transaction(12, "client-1")]
    server.on("PUT /cancel", answer({"errorCode": "NO_SUCH_ORDER", "lastTransactionID": "12"}, 404))
    await broker.cancel("client-1")  # a try to cancel does not hide what came before it
    other = [v20.order_transaction(13, "client-2"), v20.fill_transaction(14, "client-2")]
    server.on("GET /sinceid", answer({"transactions": transactions + other, "lastTransactionID": "14"}))
    events = await broker.resolve("client-1")
    assert [event.transaction_id for event in events] == [11, 12]
    assert isinstance(events[1], OrderFilled)
    assert [request.query for request in server.requests if request.path.endswith("/sinceid")] == ["id=10"]


async def test_order_the_broker_never_saw_is_asked_for_twice(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("POST /orders", v20.hang_up)
    with pytest.raises(OutcomeUnknownError):
        await broker.submit(ORDER)
    server.on("GET /sinceid", answer({"transactions": [], "lastTransactionID": "10"}))
    assert await broker.resolve("client-1") == []
    assert server.count("GET /sinceid") == 2


async def test_order_of_a_former_process_is_bounded_by_its_id(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("GET /orders/@old%2F1", answer({"order": {"id": "501"}, "lastTransactionID": "502"}))
    found = [v20.order_transaction(501, "old/1"), v20.fill_transaction(502, "old/1")]
    server.on("GET /sinceid", answer({"transactions": found, "lastTransactionID": "502"}))
    assert len(await broker.resolve("old/1")) == 2
    assert [request.query for request in server.requests if request.path.endswith("/sinceid")] == ["id=500"]


async def test_history_longer_than_one_answer_is_paged(server: LoopbackV20, broker: OandaBroker) -> None:
    def since(wire: v20.Wire, request: v20.Request) -> None:
        some = [v20.order_transaction(number, "a") for number in range(11, 21)]
        wire.reply(200, {"transactions": some, "lastTransactionID": "1203"})

    def by_id(wire: v20.Wire, request: v20.Request) -> None:
        low, high = (int(part.partition("=")[2]) for part in request.query.split("&"))
        assert high - low < 1000
        some = [v20.order_transaction(number, "a") for number in range(low, high + 1)]
        wire.reply(200, {"transactions": some, "lastTransactionID": "1203"})

    server.on("GET /sinceid", since)
    server.on("GET /idrange", by_id)
    events = await broker.transactions_since(10)
    assert [event.transaction_id for event in events] == list(range(11, 1204))


async def test_candles_over_a_long_range_are_paged(server: LoopbackV20, broker: OandaBroker) -> None:
    start = from_rfc3339("2024-03-04T00:00:00Z")
    minute = 60 * 10**9

    def serve(wire: v20.Wire, request: v20.Request) -> None:
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        assert (query["granularity"], query["price"]) == ("M1", "BA")
        low, high = from_rfc3339(query["from"]), from_rfc3339(query["to"])
        assert (high - low) // minute <= 5000
        side = {"o": "1.1", "h": "1.3", "l": "1.0", "c": "1.2"}
        candles = [
            {
                "complete": time_ns < start + 8999 * minute,
                "volume": 3,
                "time": to_rfc3339(time_ns),
                "bid": side,
                "ask": side,
            }
            for time_ns in range(low, high + 1, minute)  # the end of a range is sent too, and is in the next page
        ]
        wire.reply(200, {"instrument": "EUR_USD", "granularity": "M1", "candles": candles})

    server.on("GET /candles", serve)
    bars = await broker.candles("EUR_USD", 60, start, start + 9000 * minute)
    assert [bar.open_time_ns for bar in bars] == [start + index * minute for index in range(8999)]
    assert bars[0].close_time_ns == start + minute
    assert (bars[0].bid_open, bars[0].bid_high, bars[0].bid_low, bars[0].bid_close) == (1.1, 1.3, 1.0, 1.2)
    with pytest.raises(BadInputError, match="choose one of"):
        await broker.candles("EUR_USD", 7, start, start + minute)
    server.on("GET /candles", answer({"errorMessage": "Invalid value specified for 'instrument'"}, 400))
    with pytest.raises(BadInputError):
        await broker.candles("XXX_YYY", 60, start, start + minute)


async def test_slow_question_does_not_delay_an_order_or_the_loop(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("GET /openPositions", v20.late(0.4, answer({"positions": [], "lastTransactionID": "10"})))
    server.on("POST /orders", answer(v20.filled_reply("client-1"), 201))
    questions = [asyncio.create_task(broker.positions()) for _ in range(4)]
    await asyncio.sleep(0.05)
    order = asyncio.create_task(broker.submit(ORDER))
    turns = 0
    while not order.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 1  # the loop went on while the request was under way
    assert not any(question.done() for question in questions)
    await asyncio.gather(*questions)


async def test_bad_requests_never_leave(server: LoopbackV20, broker: OandaBroker) -> None:
    for request in (
        OrderRequest("", "EUR_USD", Decimal(1)),
        OrderRequest("x" * 200, "EUR_USD", Decimal(1)),
        OrderRequest("x", "EUR_USD", Decimal("NaN")),
    ):
        with pytest.raises(BadInputError):
            await broker.submit(request)
    assert server.count("POST /orders") == 0


async def test_use_after_close_is_unavailable(server: LoopbackV20) -> None:
    broker = OandaBroker(server.settings(), LiveClock())
    await broker.connect()
    await broker.close()
    with pytest.raises(UnavailableError):
        await broker.submit(ORDER)


async def test_library_logs_no_secret(
    server: LoopbackV20, broker: OandaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.on("GET /summary", answer({"errorMessage": f"{v20.ACCOUNT} unknown"}, 404))
    with pytest.raises(TidegateError):
        await broker.account()
    assert "performing request" in caplog.text and "failed" in caplog.text
    assert v20.ACCOUNT not in caplog.text and v20.TOKEN not in caplog.text
    assert v20.ACCOUNT not in repr(broker) and v20.TOKEN not in repr(broker)
