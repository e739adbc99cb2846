"""What is written is exactly what was meant, in the form the broker demands."""

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import from_rfc3339, to_rfc3339
from core.domain import Heartbeat, OrderRequest, OrderType, Quote, default_instrument
from core.errors import BadInputError
from trading.brokers.oanda.pricing import read_line
from trading.brokers.v20.wire import exact, order_body

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)
NAMES = st.sampled_from(["EUR_USD", "USD_JPY", "XAU_USD", "EUR_HUF", "GBP_CHF"])


@given(NUMBERS, st.integers(0, 10))
def test_text_parses_back_to_the_same_number(value: Decimal, decimals: int) -> None:
    text = exact(value, decimals)
    assert Decimal(text) == value
    assert "E" not in text.upper() and not text.startswith("+")
    fraction = text.partition(".")[2]
    assert len(fraction) >= decimals
    assert len(fraction) == decimals or not fraction.endswith("0") or value == 0


@given(st.integers(-(10**9), 10**9), st.integers(0, 6))
def test_values_on_the_grid_have_exactly_the_instrument_decimals(points: int, decimals: int) -> None:
    value = Decimal(points).scaleb(-decimals)
    assert len(exact(value, decimals).partition(".")[2]) == decimals


@given(st.sampled_from([Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")]))
def test_no_number_is_refused(value: Decimal) -> None:
    with pytest.raises(BadInputError):
        exact(value, 5)


@given(NAMES, st.integers(1, 10**7), st.floats(1e-3, 1e4), st.booleans())
def test_rounded_prices_and_sizes_are_accepted_as_they_are(name: str, size: int, price: float, buy: bool) -> None:
    instrument = default_instrument(name)
    units = instrument.round_units(size if buy else -size)
    limit = instrument.round_price(price)
    body = order_body(OrderRequest("c", name, units, OrderType.LIMIT, price=limit), instrument)
    assert body["price"] == instrument.format_price(price)
    assert body["units"] == instrument.format_units(units) and Decimal(body["units"]) == units


@given(
    NAMES,
    st.integers(0, 2**62),
    st.integers(1, 10**8),
    st.integers(0, 1000),
    st.booleans(),
    st.booleans(),
)
def test_price_line_round_trip(
    name: str, time_ns: int, bid: int, spread: int, tradeable: bool, simulated: bool
) -> None:
    precision = default_instrument(name).display_precision
    low, high = (f"{Decimal(points).scaleb(-precision):f}" for points in (bid, bid + spread))
    message = {
        "type": "PRICE",
        "instrument": name,
        "time": to_rfc3339(time_ns),
        "bids": [{"price": low, "liquidity": 1}],
        "asks": [{"price": high, "liquidity": 1}],
        "tradeable": tradeable,
        "simulated": simulated,
    }
    quote = read_line(json.dumps(message).encode(), 42)
    assert quote == Quote(name, time_ns, 42, float(low), float(high), tradeable, simulated)


@given(st.integers(0, 2**62))
def test_heartbeat_time(time_ns: int) -> None:
    line = json.dumps({"type": "HEARTBEAT", "time": to_rfc3339(time_ns)}).encode()
    assert read_line(line, 1) == Heartbeat(time_ns, 1)
    assert from_rfc3339(to_rfc3339(time_ns)) == time_ns


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_refusal_or_a_message(line: bytes) -> None:
    try:
        item = read_line(line, 1)
    except BadInputError:
        return
    assert item is None or isinstance(item, Heartbeat) or (isinstance(item, Quote) and math.isfinite(item.bid))
