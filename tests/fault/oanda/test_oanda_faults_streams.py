"""Stream faults over a real socket: nothing lost, nothing doubled, nothing invented."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import loopback_v20 as v20
import pytest
import pytest_asyncio
from loopback_v20 import LoopbackV20, Request, Wire, answer

from core.clock import LiveClock, from_rfc3339
from core.domain import AccountChanged, Heartbeat, Quote
from core.errors import ConfigurationError, UnavailableError
from trading.brokers.oanda import OandaBroker

Item = TypeVar("Item")


@pytest.fixture
def server() -> Iterator[LoopbackV20]:
    server = v20.ready_server()
    server.on("GET /sinceid", answer({"transactions": [], "lastTransactionID": "10"}))
    yield server
    server.close()


@pytest_asyncio.fixture
async def broker(server: LoopbackV20) -> AsyncIterator[OandaBroker]:
    broker = OandaBroker(server.settings(), LiveClock())
    await broker.connect()
    yield broker
    await broker.close()


async def take(stream: AsyncIterator[Item], count: int) -> list[Item]:
    return [await asyncio.wait_for(anext(stream), 8.0) for _ in range(count)]


async def malformed(broker: OandaBroker, name: str, count: int) -> None:
    """Wait until so many lines are counted: the thread counts after it has handed over."""
    for _ in range(500):
        if broker.stream_health()[name].malformed_lines == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{broker.stream_health()[name].malformed_lines} malformed lines, not {count}")


def stream(*lines: object, then: str = "hold") -> v20.Action:
    """Return an action that sends lines (text as it is, objects as JSON), then holds, hangs up or ends properly."""

    def act(wire: Wire, request: Request) -> None:
        wire.start_stream()
        for line in lines:
            wire.chunk(line) if isinstance(line, str) else wire.line(line)
        if then == "hold":
            wire.hold()
        elif then == "cut":
            wire.hang_up()
        else:
            wire.chunk("")
            wire.hang_up()

    return act


class Ledger:
    """A broker's history: serves ``sinceid`` from what has happened so far."""

    def __init__(self, server: LoopbackV20, last: int = 10) -> None:
        self.transactions: list[dict[str, Any]] = []
        self.first = last + 1
        server.on("GET /sinceid", self.serve)

    def happen(self, count: int = 1) -> None:
        for _ in range(count):
            number = self.first + len(self.transactions)
            self.transactions.append(v20.order_transaction(number, f"c{number}"))

    def after_catch_up(self, wire: Wire) -> None:
        """Start the stream and wait until the adapter has read the history once."""
        asked = wire.server.count("GET /sinceid")
        wire.start_stream()
        while wire.server.count("GET /sinceid") == asked and not wire.server.closing.wait(0.005):
            pass
        wire.server.closing.wait(0.05)  # its answer is on the way

    def serve(self, wire: Wire, request: Request) -> None:
        since = int(request.query.partition("=")[2])
        some = [entry for entry in self.transactions if int(entry["id"]) > since]
        wire.reply(200, {"transactions": some, "lastTransactionID": str(self.first + len(self.transactions) - 1)})


async def test_quotes_in_order_with_heartbeats(server: LoopbackV20, broker: OandaBroker) -> None:
    simulated = v20.price("1.2", 3) | {"simulated": True}
    server.on("GET /pricing/stream", stream(v20.price("1.1", 1), v20.heartbeat(2), simulated))
    quotes = broker.quotes(["EUR_USD"])
    await broker.quotes_ready()
    first, beat, second = await take(quotes, 3)
    assert isinstance(first, Quote) and (first.bid, first.ask, first.tradeable, first.simulated) == (
        1.1,
        1.1001,
        True,
        False,
    )
    assert first.time_ns == from_rfc3339("2024-03-01T10:00:01.000000000Z") and first.arrival_ns > first.time_ns
    assert isinstance(beat, Heartbeat) and beat.time_ns == from_rfc3339("2024-03-01T10:00:02Z")
    assert isinstance(second, Quote) and second.simulated
    (request,) = [request for request in server.requests if request.path.endswith("/pricing/stream")]
    assert request.query == "instruments=EUR_USD" and request.headers["authorization"] == f"Bearer {v20.TOKEN}"


async def test_subscription_is_ready_before_the_first_read(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("GET /pricing/stream", stream(v20.price("1.1", 1), v20.price("150.1", 1, "USD_JPY")))
    quotes = broker.quotes(["EUR_USD", "USD_JPY"])
    await broker.quotes_ready()
    assert {quote.instrument for quote in await take(quotes, 2) if isinstance(quote, Quote)} == {"EUR_USD", "USD_JPY"}


async def test_missing_standing_quote_is_named(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("GET /pricing/stream", stream(v20.price("1.1", 1)))
    broker.quotes(["EUR_USD", "USD_JPY"])
    with pytest.raises(UnavailableError, match="USD_JPY"):
        await broker.quotes_ready(0.3)


async def test_cut_price_stream_goes_on_without_repeating(server: LoopbackV20, broker: OandaBroker) -> None:
    first = stream(v20.price("1.1", 1), v20.price("1.2", 2), then="cut")
    second = stream(v20.price("1.2", 2), v20.price("1.3", 3))
    server.on("GET /pricing/stream", first, second)
    quotes = await take(broker.quotes(["EUR_USD"]), 3)
    assert [quote.bid for quote in quotes if isinstance(quote, Quote)] == [1.1, 1.2, 1.3]
    assert broker.stream_health()["price"].connections == 2


async def test_properly_ended_stream_is_reconnected(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("GET /pricing/stream", stream(v20.price("1.1", 1), then="end"), stream(v20.price("1.3", 3)))
    quotes = await take(broker.quotes(["EUR_USD"]), 2)
    assert [quote.bid for quote in quotes if isinstance(quote, Quote)] == [1.1, 1.3]


async def test_garbage_between_ticks_is_skipped_and_counted(server: LoopbackV20, broker: OandaBroker) -> None:
    garbage = [
        "{not json}\n",
        "\x00\x01\n",
        '"text"\n',
        json.dumps(v20.price("1.1", 1) | {"bids": [{"price": "NaN"}]}) + "\n",
        json.dumps(v20.price("1.1", 1) | {"bids": [{"price": "-1"}]}) + "\n",
        json.dumps(v20.price("1.1", 1) | {"bids": []}) + "\n",
        json.dumps(v20.price("1.1", 1) | {"time": "yesterday"}) + "\n",
        json.dumps(v20.price("1.1", 1) | {"instrument": ""}) + "\n",
        json.dumps(v20.price("1.1", 1, instrument="GBP_USD")) + "\n",  # nobody asked for it
        json.dumps(v20.price("1.1", 1) | {"asks": [{"price": 0}]}) + "\n",
        json.dumps(v20.price("1.1", 1) | {"tradeable": "yes"}) + "\n",
        json.dumps(v20.price("1.1", 1))[:40] + "\n",
    ]
    server.on("GET /pricing/stream", stream(v20.price("1.1", 1), *garbage, "\n", v20.price("1.2", 2)))
    quotes = await take(broker.quotes(["EUR_USD"]), 2)
    assert [quote.bid for quote in quotes if isinstance(quote, Quote)] == [1.1, 1.2]
    await malformed(broker, "price", len(garbage))
    assert broker.stream_health()["price"].connections == 1


async def test_line_in_pieces_is_one_quote(server: LoopbackV20, broker: OandaBroker) -> None:
    text = json.dumps(v20.price("1.1", 1)) + "\n" + json.dumps(v20.price("1.2", 2)) + "\n"
    server.on("GET /pricing/stream", stream(*[text[at : at + 7] for at in range(0, len(text), 7)]))
    quotes = await take(broker.quotes(["EUR_USD"]), 2)
    assert [quote.bid for quote in quotes if isinstance(quote, Quote)] == [1.1, 1.2]


async def test_halted_market_is_not_tradeable(server: LoopbackV20, broker: OandaBroker) -> None:
    halted = v20.price("1.1", 1) | {"bids": [], "asks": [], "closeoutBid": "1.1", "closeoutAsk": "1.2"}
    old_form = v20.price("1.1", 2) | {"status": "non-tradeable"}
    del old_form["tradeable"]
    server.on("GET /pricing/stream", stream(halted, old_form))
    for quote in await take(broker.quotes(["EUR_USD"]), 2):
        assert isinstance(quote, Quote) and not quote.tradeable


@pytest.mark.parametrize("line", [None, "{garbage}\n"])
async def test_silent_stream_is_given_up(server: LoopbackV20, broker: OandaBroker, line: str | None) -> None:
    def babble(wire: Wire, request: Request) -> None:
        wire.start_stream()
        wire.line(v20.price("1.1", 1))
        while line is not None and not server.closing.wait(0.2):
            wire.chunk(line)
        wire.hold()

    server.on("GET /pricing/stream", babble, stream(v20.price("1.3", 3)))
    first, second = await take(broker.quotes(["EUR_USD"]), 2)
    assert isinstance(first, Quote) and isinstance(second, Quote) and second.bid == 1.3
    assert broker.stream_health()["price"].connections == 2


@pytest.mark.parametrize("status", [401, 403, 400])
async def test_refused_subscription_ends_with_a_clear_error(
    server: LoopbackV20, broker: OandaBroker, status: int
) -> None:
    server.on("GET /pricing/stream", answer({"errorMessage": v20.ACCOUNT}, status))
    quotes = broker.quotes(["EUR_USD"])
    with pytest.raises(ConfigurationError):
        await broker.quotes_ready()
    with pytest.raises(ConfigurationError) as caught:
        await anext(quotes)
    assert v20.ACCOUNT not in caught.value.message


async def test_overloaded_stream_host_is_tried_again(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("GET /pricing/stream", answer({}, 503), answer({}, 429), stream(v20.price("1.1", 1)))
    assert len(await take(broker.quotes(["EUR_USD"]), 1)) == 1


async def test_new_subscription_ends_the_former(server: LoopbackV20, broker: OandaBroker) -> None:
    server.on("GET /pricing/stream", stream(v20.price("1.1", 1)), stream(v20.price("1.2", 1)))
    former = broker.quotes(["EUR_USD"])
    await take(former, 1)
    current = broker.quotes(["EUR_USD"])
    with pytest.raises(StopAsyncIteration):
        await anext(former)
    (quote,) = await take(current, 1)
    assert isinstance(quote, Quote) and quote.bid == 1.2


async def test_close_ends_waiting_readers_at_once(server: LoopbackV20) -> None:
    server.on("GET /pricing/stream", stream(v20.price("1.1", 1)))
    server.on("GET /transactions/stream", stream(v20.heartbeat(1, 10)))
    broker = OandaBroker(server.settings(), LiveClock())
    await broker.connect()
    quotes, events = broker.quotes(["EUR_USD"]), broker.events(10)
    await take(quotes, 1)
    waiting = [asyncio.ensure_future(anext(quotes)), asyncio.ensure_future(anext(events))]
    await asyncio.sleep(0.1)
    await asyncio.wait_for(broker.close(), 2.0)
    for task in waiting:
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(task, 1.0)


async def test_events_missed_while_disconnected_come_first(server: LoopbackV20, broker: OandaBroker) -> None:
    ledger = Ledger(server)
    ledger.happen(2)

    def first(wire: Wire, request: Request) -> None:
        ledger.after_catch_up(wire)
        ledger.happen()
        wire.line(ledger.transactions[-1])
        ledger.happen(3)  # lost: the connection breaks before they are written
        wire.hang_up()

    def second(wire: Wire, request: Request) -> None:
        wire.start_stream()
        wire.line(ledger.transactions[-1])  # already read from the history
        ledger.happen()
        wire.line(ledger.transactions[-1])
        wire.hold()

    server.on("GET /transactions/stream", first, second)
    events = await take(broker.events(10), 7)
    assert [event.transaction_id for event in events] == list(range(11, 18))


async def test_lost_line_is_noticed_by_the_next_one(server: LoopbackV20, broker: OandaBroker) -> None:
    ledger = Ledger(server)

    def act(wire: Wire, request: Request) -> None:
        ledger.after_catch_up(wire)
        ledger.happen(3)
        wire.line(ledger.transactions[2])
        wire.line(ledger.transactions[1])  # out of order
        wire.line(ledger.transactions[2])  # doubled
        ledger.happen()
        wire.line(ledger.transactions[3])
        wire.hold()

    server.on("GET /transactions/stream", act)
    events = await take(broker.events(10), 4)
    assert [event.transaction_id for event in events] == [11, 12, 13, 14]


async def test_lost_line_is_noticed_by_a_heartbeat(server: LoopbackV20, broker: OandaBroker) -> None:
    ledger = Ledger(server)

    def act(wire: Wire, request: Request) -> None:
        ledger.after_catch_up(wire)
        ledger.happen(2)
        wire.line(v20.heartbeat(5, 12))
        wire.hold()

    server.on("GET /transactions/stream", act)
    assert [event.transaction_id for event in await take(broker.events(10), 2)] == [11, 12]


async def test_malformed_transaction_line_is_read_from_the_history(server: LoopbackV20, broker: OandaBroker) -> None:
    ledger = Ledger(server)

    def act(wire: Wire, request: Request) -> None:
        ledger.after_catch_up(wire)
        ledger.happen(2)
        wire.chunk(json.dumps(ledger.transactions[0])[:40] + "\n")
        wire.line(ledger.transactions[0] | {"units": "lots"})
        wire.line(ledger.transactions[1])
        wire.line(v20.order_transaction(999_999, "made up"))
        wire.line(v20.heartbeat(5, 12))
        ledger.happen()
        wire.line(ledger.transactions[2])
        wire.hold()

    server.on("GET /transactions/stream", act)
    events = await take(broker.events(10), 3)
    assert [event.transaction_id for event in events] == [11, 12, 13]
    await malformed(broker, "transaction", 3)


async def test_unreadable_history_is_accounted_for(server: LoopbackV20, broker: OandaBroker) -> None:
    bad = v20.order_transaction(11, "c11") | {"units": "lots"}
    server.on("GET /sinceid", answer({"transactions": [bad], "lastTransactionID": "11"}))
    (event,) = await broker.transactions_since(10)
    assert isinstance(event, AccountChanged) and (event.transaction_id, event.kind) == (11, "UNREADABLE")


async def test_ids_that_were_never_given_out_are_no_hole(server: LoopbackV20, broker: OandaBroker) -> None:
    def act(wire: Wire, request: Request) -> None:
        wire.start_stream()
        server.on("GET /sinceid", answer({"transactions": [], "lastTransactionID": "15"}))
        server.on("GET /idrange", answer({"transactions": [], "lastTransactionID": "15"}))
        wire.line(v20.order_transaction(15, "c15"))
        wire.hold()

    server.on("GET /transactions/stream", act)
    assert [event.transaction_id for event in await take(broker.events(10), 1)] == [15]


async def test_lines_of_any_shape_lose_and_double_no_event(server: LoopbackV20, broker: OandaBroker) -> None:
    """Between real lines: wrong types, halves, foreign ids, repeats and an order turned round."""
    ledger = Ledger(server)

    def act(wire: Wire, request: Request) -> None:
        ledger.after_catch_up(wire)
        ledger.happen(6)
        lines = [json.dumps(transaction) for transaction in ledger.transactions[-6:]]
        broken = [
            json.dumps({"id": 17, "type": ["ORDER_FILL"], "time": None}),
            json.dumps({"id": {"a": 1}, "type": "ORDER_CANCEL"}),
            json.dumps({"id": "17", "type": "ORDER_FILL", "time": v20.TIME, "tradesClosed": 7}),
            json.dumps({"id": "17", "type": "LIMIT_ORDER", "time": v20.TIME, "clientExtensions": "x"}),
            json.dumps({"type": "HEARTBEAT", "lastTransactionID": "many"}),
            json.dumps({"id": "999999", "type": "DAILY_FINANCING", "time": v20.TIME}),
            lines[2][:30],
            "[1, 2]",
        ]
        for text in (lines[1], broken[0], lines[0], *broken[1:4], lines[1], lines[3], *broken[4:], lines[2], lines[5]):
            wire.chunk(text + "\n")
        wire.line(v20.heartbeat(9, 10 + 6))
        wire.hold()

    server.on("GET /transactions/stream", act)
    events = await take(broker.events(10), 6)
    assert [event.transaction_id for event in events] == list(range(11, 17))
    await malformed(broker, "transaction", 8)
    assert broker.stream_health()["transaction"].connections == 1
