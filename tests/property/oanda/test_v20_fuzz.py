"""Whatever a broker sends, reading it gives an event of the protocol or one clear error; never anything else."""

import json
import math
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import Heartbeat, OrderAccepted, OrderCancelled, OrderFilled, OrderRejected, Quote
from core.errors import BadInputError
from trading.brokers.oanda.pricing import read_line
from trading.brokers.v20.translate import Translator, account_state, instrument_of, open_order, position_of

FILL: dict[str, Any] = {
    "id": "12",
    "time": "2024-03-01T10:00:00.000000000Z",
    "type": "ORDER_FILL",
    "orderID": "11",
    "clientOrderID": "c-1",
    "instrument": "EUR_USD",
    "units": "-300",
    "price": "1.10000",
    "pl": "1.0000",
    "financing": "0.0000",
    "accountBalance": "100001.0000",
    "reason": "MARKET_ORDER",
    "tradeOpened": {"tradeID": "12", "units": "-50"},
    "tradesClosed": [{"tradeID": "7", "units": "-200", "realizedPL": "1.0000"}],
    "tradeReduced": {"tradeID": "8", "units": "-50", "realizedPL": "0.0000"},
}
ACCEPTED: dict[str, Any] = {
    "id": "11",
    "time": "2024-03-01T10:00:00Z",
    "type": "LIMIT_ORDER",
    "instrument": "EUR_USD",
    "units": "100",
    "price": "1.1",
    "clientExtensions": {"id": "c-1"},
}
CANCELLED: dict[str, Any] = {
    "id": "13",
    "time": "2024-03-01T10:00:00Z",
    "type": "ORDER_CANCEL",
    "orderID": "11",
    "reason": "CLIENT_REQUEST",
}
REJECTED: dict[str, Any] = {
    "id": "14",
    "time": "2024-03-01T10:00:00Z",
    "type": "MARKET_ORDER_REJECT",
    "rejectReason": "UNITS_INVALID",
    "clientExtensions": {"id": "c-1"},
}
FUNDS: dict[str, Any] = {
    "id": "15",
    "time": "2024-03-01T10:00:00Z",
    "type": "TRANSFER_FUNDS",
    "amount": "1",
    "accountBalance": "2",
}
PRICE: dict[str, Any] = {
    "type": "PRICE",
    "time": "2024-03-01T10:00:00.000000001Z",
    "instrument": "EUR_USD",
    "bids": [{"price": "1.10000", "liquidity": 1}],
    "asks": [{"price": "1.10010", "liquidity": 1}],
    "closeoutBid": "1.1",
    "closeoutAsk": "1.2",
    "tradeable": True,
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["NaN", "-NaN", "Infinity", "-1", "0", "-0.0", "1e999", "", "2024-13-01T00:00:00Z", "９", "{}"])
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


@st.composite
def damaged(draw: st.DrawFn, original: dict[str, Any]) -> dict[str, Any]:
    """Return ``original`` with fields replaced or left out, also inside of it."""
    message: dict[str, Any] = {}
    for key, value in original.items():
        action = draw(st.sampled_from(["keep", "keep", "keep", "replace", "drop"]))
        if action == "keep" and isinstance(value, dict):
            message[key] = draw(damaged(value))
        elif action == "keep" and isinstance(value, list) and draw(st.booleans()):
            message[key] = [draw(damaged(item)) for item in value]
        elif action == "keep":
            message[key] = value
        elif action == "replace":
            message[key] = draw(anything)
    return message


@pytest.mark.parametrize("original", [FILL, ACCEPTED, CANCELLED, REJECTED, FUNDS], ids=lambda o: str(o["type"]))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_transaction_is_an_event_or_one_error(original: dict[str, Any], data: st.DataObject) -> None:
    translator = Translator()
    translator.learn_trades([{"id": "8", "instrument": "EUR_USD", "currentUnits": "100"}])
    message = data.draw(damaged(original))
    try:
        event = translator.event(message)
    except BadInputError as error:
        assert "not used" in error.message
        kept = translator.trade("8")
        assert kept is not None and kept.units == 100  # nothing of it was remembered
        return
    assert event.transaction_id >= 0
    if isinstance(event, OrderFilled):
        fill = event.fill
        assert fill.instrument == message["instrument"] and fill.broker_order_id == message["orderID"]
        assert fill.price > 0 and fill.price.is_finite() and fill.units.is_finite() and fill.units != 0
        assert all(closing.units * fill.units >= 0 for closing in fill.closed_trades)
        for amount in (fill.realised_profit, fill.commission, fill.financing, fill.account_balance or Decimal(0)):
            assert amount.is_finite()
    elif isinstance(event, OrderAccepted):
        assert event.units.is_finite() and message["type"] == f"{event.order_type}_ORDER"
    elif isinstance(event, OrderCancelled | OrderRejected):
        assert message["type"] in ("ORDER_CANCEL", "MARKET_ORDER_REJECT")
    else:
        assert event.amount.is_finite()


@given(damaged(PRICE))
@settings(max_examples=150, deadline=None)
def test_a_damaged_price_is_a_usable_quote_or_an_error(message: dict[str, Any]) -> None:
    line = json.dumps(message).encode()  # orjson writes no integer beyond 64 bits
    try:
        item = read_line(line, 7)
    except BadInputError:
        return
    if isinstance(item, Quote):
        assert 0 < item.bid < math.inf and 0 < item.ask < math.inf
        assert item.instrument == message["instrument"] and item.arrival_ns == 7
        if item.tradeable:
            assert (item.bid, item.ask) == (float(message["bids"][0]["price"]), float(message["asks"][0]["price"]))
    else:
        assert item is None or isinstance(item, Heartbeat)


@given(st.integers(0, len(orjson.dumps(PRICE)) - 1))
@settings(max_examples=40, deadline=None)
def test_a_line_cut_anywhere_is_an_error(length: int) -> None:
    with pytest.raises(BadInputError):
        read_line(orjson.dumps(PRICE)[:length], 7)


@given(anything)
@settings(max_examples=60, deadline=None)
def test_lists_and_states_of_any_shape_are_read_or_refused(value: object) -> None:
    payload = value if isinstance(value, dict) else {"units": value, "long": value, "short": value, "id": value}
    for read in (
        lambda p: account_state(p, 0),
        instrument_of,
        position_of,
        lambda p: open_order(p, Translator()),
        lambda p: Translator().learn_trades([p]),
        lambda p: Translator().reply_events({"orderFillTransaction": p}, "c"),
    ):
        try:
            read(payload)
        except BadInputError:
            continue
