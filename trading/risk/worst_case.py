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

    @property
    def widest(self) -> float:
        """The larger of both sides, unsigned."""
        return max(abs(self.low), abs(self.high))


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


def gross(widths: Mapping[str, Span], rates: Mapping[str, float]) -> float:
    """Return the sum of the widest notionals in account currency.

    Raises:
        KeyError: a currency has no rate.
    """
    return sum(span.widest * rates[name.partition("_")[0]] for name, span in widths.items() if span.widest)


def margin(widths: Mapping[str, Span], rates: Mapping[str, float], margin_rates: Mapping[str, float]) -> float:
    """Return the margin the widest notionals need, in account currency: Σ |units| · rate · margin rate (OANDA).

    Raises:
        KeyError: a currency has no rate, or an instrument no margin rate.
    """
    return sum(
        span.widest * rates[name.partition("_")[0]] * margin_rates[name] for name, span in widths.items() if span.widest
    )


def currency_spans(widths: Mapping[str, Span], rates: Mapping[str, float]) -> dict[str, Span]:
    """Return the lowest and highest exposure to each currency in account currency (long EUR_USD is short USD).

    Raises:
        KeyError: a currency has no rate.
    """
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for name, span in widths.items():
        if span.widest:
            base, _, counter = name.partition("_")
            rate = rates[base]
            low[base] = low.get(base, 0.0) + span.low * rate
            high[base] = high.get(base, 0.0) + span.high * rate
            low[counter] = low.get(counter, 0.0) - span.high * rate
            high[counter] = high.get(counter, 0.0) - span.low * rate
    return {currency: Span(low[currency], high[currency]) for currency in sorted(low)}
