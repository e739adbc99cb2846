"""Payloads as events and back; generated ones here, every recorded one below."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.clock import from_rfc3339
from core.domain import (
    AccountChanged,
    Bar,
    Heartbeat,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderRequest,
    OrderType,
    Quote,
    RejectReason,
    TimeInForce,
    default_instrument,
)
from core.errors import BadInputError
from trading.brokers.oanda.candles import bars_of
from trading.brokers.oanda.pricing import read_line
from trading.brokers.v20.translate import Translator, account_state, instrument_of, open_order, position_of
from trading.brokers.v20.wire import closeout_body, order_body

TIME = "2024-03-01T10:00:00.123456789Z"
EUR_USD = default_instrument("EUR_USD")


def transaction(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": "7", "time": TIME, "type": kind, "accountID": "x", "batchID": "7", **fields}


def fill(**fields: Any) -> dict[str, Any]:
    values = {"orderID": "6", "instrument": "EUR_USD", "units": "-100", "price": "1.10000", "pl": "-1.5", **fields}
    return transaction("ORDER_FILL", **values)


def test_fill_in_exact_decimals() -> None:
    event = Translator().event(
        fill(
            clientOrderID="c",
            financing="-0.0100",
            commission="0.2",
            halfSpreadCost="0.0080",
            accountBalance="99998.2900",
            reason="STOP_LOSS_ORDER",
        )
    )
    assert isinstance(event, OrderFilled)
    assert event.transaction_id == 7 and event.time_ns == from_rfc3339(TIME)
    parts = event.fill
    assert (parts.client_order_id, parts.broker_order_id, parts.instrument) == ("c", "6", "EUR_USD")
    assert (parts.units, parts.price, parts.realised_profit) == (Decimal(-100), Decimal("1.1"), Decimal("-1.5"))
    assert (parts.financing, parts.commission) == (Decimal("-0.01"), Decimal("0.2"))
    assert (parts.half_spread_cost, parts.account_balance) == (Decimal("0.008"), Decimal("99998.29"))
    assert parts.reason == "STOP_LOSS_ORDER"


_NO_NAME = [(field, value) for field in ("orderID", "instrument") for value in (None, "")]
_NO_NUMBER = [
    (field, value)
    for field in ("units", "price", "pl", "id", "time")
    for value in (None, "", "lots", "NaN", "Infinity")
]


@pytest.mark.parametrize(("field", "value"), _NO_NAME + _NO_NUMBER)
def test_no_field_of_a_fill_has_a_default(field: str, value: str | None) -> None:
    bad = fill() | {field: value}
    with pytest.raises(BadInputError):
        Translator().event(bad)
    del bad[field]
    with pytest.raises(BadInputError):
        Translator().event(bad)


@pytest.mark.parametrize(
    ("kind", "order_type"),
    [
        ("MARKET_ORDER", OrderType.MARKET),
        ("FIXED_PRICE_ORDER", OrderType.MARKET),
        ("LIMIT_ORDER", OrderType.LIMIT),
        ("STOP_ORDER", OrderType.STOP),
        ("MARKET_IF_TOUCHED_ORDER", OrderType.MARKET_IF_TOUCHED),
        ("TAKE_PROFIT_ORDER", OrderType.TAKE_PROFIT),
        ("STOP_LOSS_ORDER", OrderType.STOP_LOSS),
        ("TRAILING_STOP_LOSS_ORDER", OrderType.TRAILING_STOP_LOSS),
    ],
)
def test_accepted_orders(kind: str, order_type: OrderType) -> None:
    extensions = {"id": "c", "tag": "t"}
    event = Translator().event(
        transaction(kind, instrument="EUR_USD", units="5", price="1.1", clientExtensions=extensions)
    )
    assert isinstance(event, OrderAccepted)
    assert (event.order_type, event.client_order_id, event.broker_order_id) == (order_type, "c", "7")


def test_attached_stop_takes_instrument_and_units_from_its_trade() -> None:
    translator = Translator()
    translator.event(fill(tradeOpened={"tradeID": "7", "units": "-100"}))
    stop = transaction("STOP_LOSS_ORDER", tradeID="7", price="1.2")
    event = translator.event(stop)
    assert isinstance(event, OrderAccepted) and (event.instrument, event.units) == ("EUR_USD", Decimal(100))
    order = open_order({"id": "8", "type": "STOP_LOSS", "tradeID": "7", "price": "1.2"}, translator)
    assert (order.instrument, order.units, order.trade_id) == ("EUR_USD", Decimal(100), "7")
    translator.event(fill(units="40", tradeReduced={"tradeID": "7", "units": "40"}))
    reduced = translator.event(stop)
    assert isinstance(reduced, OrderAccepted) and reduced.units == Decimal(60)
    translator.event(fill(units="60", tradesClosed=[{"tradeID": "7", "units": "60"}]))
    assert translator.trade("7") is None


def test_cancel_because_it_could_not_trade() -> None:
    event = Translator().event(transaction("ORDER_CANCEL", orderID="6", clientOrderID="c", reason="MARKET_HALTED"))
    assert isinstance(event, OrderCancelled)
    assert (event.reason, event.reject_reason) == ("MARKET_HALTED", RejectReason.BROKER_MARKET_HALTED)


def test_replacement_names_both_orders() -> None:
    translator = Translator()
    event = translator.event(
        transaction("ORDER_CANCEL", orderID="6", reason="CLIENT_REQUEST_REPLACED", replacedByOrderID="8")
    )
    assert isinstance(event, OrderCancelled) and (event.replaced_by, event.reject_reason) == ("8", None)
    created = translator.event(
        transaction("LIMIT_ORDER", instrument="EUR_USD", units="1", price="1.1", replacesOrderID="6")
    )
    assert isinstance(created, OrderAccepted) and created.replaces == "6"


def test_a_refused_cancel_never_rejects_the_order_on_the_stream() -> None:
    refused = transaction(
        "ORDER_CANCEL_REJECT",
        orderID="6",
        clientOrderID="c",
        rejectReason="ORDER_DOESNT_EXIST",
        reason="CLIENT_REQUEST",
    )
    streamed = Translator().event(refused)
    assert isinstance(streamed, AccountChanged) and (streamed.kind, streamed.amount) == ("ORDER_CANCEL_REJECT", 0)
    (replied,) = Translator().reply_events({"orderCancelRejectTransaction": refused}, "c")
    assert isinstance(replied, OrderRejected) and replied.reject_reason is RejectReason.BROKER_UNKNOWN_ORDER


@pytest.mark.parametrize(
    ("payload", "amount"),
    [
        (transaction("DAILY_FINANCING", financing="-0.0083", accountBalance="99991.1237"), "-0.0083"),
        (transaction("TRANSFER_FUNDS", amount="100000.0000", accountBalance="100000.0000"), "100000"),
        (transaction("DIVIDEND_ADJUSTMENT", dividendAdjustment="0.5", instrument="DE30_EUR"), "0.5"),
        (transaction("CLIENT_CONFIGURE", alias="x"), "0"),
        (transaction("MARGIN_CALL_ENTER"), "0"),
        (transaction("A_TYPE_OF_NEXT_YEAR"), "0"),
    ],
)
def test_every_other_transaction_is_an_account_event(payload: dict[str, Any], amount: str) -> None:
    event = Translator().event(payload)
    assert isinstance(event, AccountChanged)
    assert (event.kind, event.amount, event.transaction_id) == (payload["type"], Decimal(amount), 7)


def test_order_body_says_everything() -> None:
    order = OrderRequest(
        "c-1",
        "EUR_USD",
        Decimal("-1000"),
        OrderType.LIMIT,
        TimeInForce.GTD,
        price=Decimal("1.1"),
        good_till_ns=from_rfc3339(TIME),
        stop_loss_price=Decimal("1.2"),
        take_profit_price=Decimal("1.05"),
        trailing_stop_distance=Decimal("0.01"),
        reduce_only=True,
        decision_id="blend:EUR_USD:1",
        strategy="blend",
    )
    extensions = {"tag": "blend", "comment": "blend:EUR_USD:1"}
    assert order_body(order, EUR_USD) == {
        "type": "LIMIT",
        "instrument": "EUR_USD",
        "units": "-1000",
        "price": "1.10000",
        "timeInForce": "GTD",
        "gtdTime": TIME,
        "positionFill": "REDUCE_ONLY",
        "clientExtensions": {"id": "c-1", **extensions},
        "stopLossOnFill": {
            "price": "1.20000",
            "timeInForce": "GTC",
            "clientExtensions": {"id": "c-1.stop_loss", **extensions},
        },
        "takeProfitOnFill": {
            "price": "1.05000",
            "timeInForce": "GTC",
            "clientExtensions": {"id": "c-1.take_profit", **extensions},
        },
        "trailingStopLossOnFill": {
            "distance": "0.01000",
            "timeInForce": "GTC",
            "clientExtensions": {"id": "c-1.trailing_stop", **extensions},
        },
    }


def test_market_order_with_a_bound_in_yen() -> None:
    order = OrderRequest("c", "USD_JPY", Decimal(1), price_bound=Decimal("150.1"))
    body = order_body(order, default_instrument("USD_JPY"))
    assert body["priceBound"] == "150.100" and "price" not in body


@pytest.mark.parametrize(
    "order",
    [
        OrderRequest("c", "EUR_USD", Decimal(1), OrderType.LIMIT),
        OrderRequest("c", "EUR_USD", Decimal(1), OrderType.STOP_LOSS, price=Decimal(1)),
        OrderRequest("c", "EUR_USD", Decimal(1), OrderType.LIMIT, price=Decimal(1), price_bound=Decimal(1)),
    ],
)
def test_orders_that_v20_cannot_say(order: OrderRequest) -> None:
    with pytest.raises(BadInputError):
        order_body(order, EUR_USD)


def test_closing_leaves_the_other_side_alone() -> None:
    assert closeout_body(Decimal(100), Decimal(40), "c", EUR_USD) == {
        "longUnits": "40",
        "longClientExtensions": {"id": "c"},
        "shortUnits": "NONE",
    }
    assert closeout_body(Decimal(-100), Decimal(100), "c", EUR_USD)["shortUnits"] == "ALL"


def recorded(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield (name, reply) of every recorded payload."""
    root = folder / "oanda_v20"
    for path in sorted(root.glob("mab05k_oanda-client/**/*.json")) + sorted(root.glob("pyfx_dispatch_oanda/*.json")):
        yield str(path.relative_to(root)), json.loads(path.read_text())
    for path in sorted(root.glob("oandapyV20_responses/*.json")):
        for name, example in json.loads(path.read_text()).items():
            yield f"{path.name}:{name}", example.get("response")


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object nested anywhere in a payload."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from objects(part)


@pytest.mark.shared_data
def test_every_recorded_transaction_is_one_event(shared_data: Path) -> None:
    translator = Translator()
    seen: dict[str, int] = {}
    for name, reply in recorded(shared_data):
        for item in objects(reply):
            if {"id", "time", "type", "accountID"} <= set(item):
                event = translator.event(item)
                assert event.transaction_id == int(item["id"]), name
                assert event.time_ns == from_rfc3339(item["time"]), name
                if item["type"] == "ORDER_FILL":
                    assert isinstance(event, OrderFilled)
                    assert event.fill.units == Decimal(item["units"]) and event.fill.price == Decimal(item["price"])
                if "rejectReason" in item:
                    assert isinstance(event, OrderRejected) and event.reject_reason is not RejectReason.BROKER_OTHER
                seen[item["type"]] = seen.get(item["type"], 0) + 1
    assert len(seen) >= 14 and sum(seen.values()) >= 38 and seen["ORDER_FILL"] >= 5


@pytest.mark.shared_data
def test_every_recorded_order_reply_gives_its_transactions(shared_data: Path) -> None:
    count = 0
    for name, reply in recorded(shared_data):
        if not isinstance(reply, dict):
            continue
        wanted = {
            int(value["id"])
            for key, value in reply.items()
            if key.endswith("Transaction") and isinstance(value, dict) and "accountID" in value
        }
        if wanted:
            events = Translator().reply_events(reply, "c")
            assert [event.transaction_id for event in events] == sorted(wanted), name
            count += 1
    assert count >= 10


@pytest.mark.shared_data
def test_every_recorded_state_is_readable(shared_data: Path) -> None:
    accounts = instruments = positions = orders = bars = quotes = 0
    for name, reply in recorded(shared_data):
        items = reply if isinstance(reply, list) else [reply]
        for item in items:
            if not isinstance(item, dict):
                continue
            summary = item.get("account")
            if isinstance(summary, dict) and "NAV" in summary:
                assert account_state(summary, 1).balance == Decimal(summary["balance"]), name
                accounts += 1
            for entry in item.get("instruments", ()):
                instrument = instrument_of(entry)
                assert instrument.name == entry["name"] and instrument.margin_rate > 0, name
                instruments += 1
            for entry in item.get("positions", ()):
                if "instrument" in entry and "unrealizedPL" in entry:
                    net = Decimal(entry["long"]["units"]) + Decimal(entry["short"]["units"])
                    assert position_of(entry).units == net, name
                    positions += 1
            for entry in item.get("orders", ()):
                assert open_order(entry, Translator()).broker_order_id == entry["id"], name
                orders += 1
            if "candles" in item:
                read = list(bars_of(item, 3600, 5))
                assert len(read) == sum(candle["complete"] for candle in item["candles"]), name
                assert all(isinstance(bar, Bar) and bar.close_time_ns > bar.open_time_ns for bar in read)
                bars += len(read)
            for entry in [*item.get("prices", ()), *([item] if item.get("type") in ("PRICE", "HEARTBEAT") else [])]:
                line = json.dumps({"type": "PRICE", "instrument": "EUR_USD", **entry}).encode()
                read_price = read_line(line, 5)
                assert isinstance(read_price, Quote | Heartbeat), name
                assert read_price.time_ns == from_rfc3339(entry["time"])
                if isinstance(read_price, Quote):
                    assert read_price.tradeable == (entry["status"] == "tradeable")
                    assert not read_price.simulated
                quotes += 1
    assert accounts >= 4 and instruments > 100 and positions >= 5 and orders >= 5 and bars > 100 and quotes >= 5
