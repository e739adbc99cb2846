"""A quote inside the bounds that the exchange names changes nothing: no order is due, no margin call is near."""

import math
from decimal import Decimal

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from core.clock import from_rfc3339
from core.domain import Quote, default_instrument
from trading.matching.book import AccountConfiguration
from trading.matching.commands import OrderSpecification, Submit
from trading.matching.exchange import Exchange

START = from_rfc3339("2024-03-05T10:00:00Z")
SECOND = 1_000_000_000
INSTRUMENTS = {name: default_instrument(name) for name in ("EUR_JPY", "EUR_USD", "USD_JPY")}
MIDDLE = {"EUR_JPY": 165.0, "EUR_USD": 1.1, "USD_JPY": 150.0}

names = st.sampled_from(sorted(INSTRUMENTS))
kinds = st.sampled_from(["MARKET", "LIMIT", "STOP", "MARKET_IF_TOUCHED"])
orders = st.tuples(names, st.integers(-60_000, 60_000).filter(bool), kinds, st.integers(-90, 90), st.integers(0, 60))
shares = st.floats(0.0, 1.0, allow_nan=False)


def _quote(exchange: Exchange, name: str, low: float, high: float) -> None:
    exchange.on_quote(Quote(name, exchange.book.time_ns + SECOND, exchange.book.time_ns, low, high))


def _between(low: float, high: float, middle: float, share: float) -> float:
    """Return a price strictly inside, also where a bound is infinite."""
    low, high = max(low, middle * 0.5), min(high, middle * 1.5)
    return low + (high - low) * (0.001 + 0.998 * share)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(orders, max_size=8), st.lists(st.tuples(names, shares, shares), max_size=12), st.integers(3_000, 90_000)
)
def test_nothing_happens_inside(
    given_orders: list[tuple[str, int, str, int, int]], moves: list[tuple[str, float, float]], balance: int
) -> None:
    exchange = Exchange(INSTRUMENTS, AccountConfiguration(balance=Decimal(balance)), START)
    for name, middle in MIDDLE.items():
        _quote(exchange, name, middle, middle + float(INSTRUMENTS[name].pip))
    for number, (name, units, kind, pips, stop) in enumerate(given_orders):
        instrument, middle = INSTRUMENTS[name], MIDDLE[name]
        body = {"type": kind, "instrument": name, "units": str(units), "timeInForce": "FOK"}
        if kind != "MARKET":
            price = instrument.round_price(middle + pips * float(instrument.pip))
            body |= {"price": str(price), "timeInForce": "GTC"}
        if stop:
            distance = instrument.round_price((5 + stop) * float(instrument.pip))
            body["trailingStopLossOnFill"] = {"distance": str(distance)}
        specification = msgspec.convert(body, OrderSpecification, strict=False)
        exchange.apply(Submit(time_ns=exchange.book.time_ns + number + 1, order=specification))
    for name, middle in MIDDLE.items():  # what was filled on a quote is quoted anew
        _quote(exchange, name, middle, middle + float(INSTRUMENTS[name].pip))
    until = exchange.quiet_until()
    bounds = {name: exchange.quiet_bounds(name) for name in MIDDLE}
    known = len(exchange.transactions)
    if until is None or None in bounds.values():
        event("not known")
        return
    event(f"resting {bool(exchange.log.pending)}, open {bool(exchange.log.open_trades)}")
    for name, first, second in moves:
        around = bounds[name]
        assert around is not None
        bid = _between(around[0], around[1], MIDDLE[name], first)
        ask = _between(around[2], around[3], MIDDLE[name], second)
        if not bid <= ask or not math.isfinite(ask):
            continue
        assert exchange.on_quote(Quote(name, exchange.book.time_ns + 1, START, bid, ask)) == []
        assert len(exchange.transactions) == known
