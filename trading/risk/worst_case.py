"""What the account could hold once every order that is out there has been filled: the worst of all cases.

An order that rests at the broker may fill at any time, alone or with all others of its side, and a stop may close the
position before it does. So an instrument with position ``p``, resting buys ``B ≥ 0`` and resting sells ``S ≤ 0`` may
come to hold anything from ``min(p, 0) + S`` to ``max(p, 0) + B``. Fills, cancels and exits then never widen what was
checked when the order was accepted.
"""

from collections.abc import Iterable, Mapping

import msgspec


class PendingOrder(msgspec.Struct, frozen=True):
    """The part of a working order that is not filled; it may still open or enlarge a position."""

    instrument: str
    units: float  # signed


class Span(msgspec.Struct, frozen=True):
    """The lowest and highest signed units that one instrument can come to."""

    low: float
    high: float


def spans(positions: Mapping[str, float], pending: Iterable[PendingOrder]) -> dict[str, Span]:
    """Return what each instrument can come to; without resting orders that is its position."""
    buys: dict[str, float] = {}
    sells: dict[str, float] = {}
    for order in pending:
        side = buys if order.units > 0 else sells
        side[order.instrument] = side.get(order.instrument, 0.0) + order.units
    result: dict[str, Span] = {}
    for name in sorted({*positions, *buys, *sells}):
        held, buy, sell = positions.get(name, 0.0), buys.get(name, 0.0), sells.get(name, 0.0)
        result[name] = Span(min(held, 0.0) + sell if sell else held, max(held, 0.0) + buy if buy else held)
    return result


class Exposure(msgspec.Struct, frozen=True):
    """What the widest holdings come to, in account currency.

    Attributes:
        gross: sum of the notionals.
        single: notional of each instrument.
        margin: Σ |units| · rate · margin rate (OANDA).
        currencies: exposure to each currency, unsigned (long EUR_USD is short USD).
    """

    gross: float
    single: dict[str, float]
    margin: float
    currencies: dict[str, float]


def exposure(widths: Mapping[str, Span], rates: Mapping[str, float], margin_rates: Mapping[str, float]) -> Exposure:
    """Measure all at once: this is between a decision and its order. Without a margin rate all notional is margin.

    Raises:
        KeyError: a currency has no rate.
    """
    gross = margin = 0.0
    single: dict[str, float] = {}
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for name, span in widths.items():
        least, most = span.low, span.high
        widest = max(abs(least), abs(most))
        if not widest:
            single[name] = 0.0
            continue
        base, _, counter = name.partition("_")
        rate = rates[base]
        notional = widest * rate
        single[name] = notional
        gross += notional
        margin += notional * margin_rates.get(name, 1.0)
        low[base] = low.get(base, 0.0) + least * rate
        high[base] = high.get(base, 0.0) + most * rate
        low[counter] = low.get(counter, 0.0) - most * rate
        high[counter] = high.get(counter, 0.0) - least * rate
    currencies = {currency: max(abs(low[currency]), abs(high[currency])) for currency in sorted(low)}
    return Exposure(gross, single, margin, currencies)
