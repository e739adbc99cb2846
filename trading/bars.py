"""From quotes to the bars of a step: the fixing sampler and the time-bar builder.

Both close a boundary only when it is certain that no earlier quote is missing: an instrument's own later quote closes
its bar, a heartbeat (all quotes before it were delivered) closes everybody's.
"""

import math
from typing import Protocol

import msgspec

from core.domain import Bar, BarKind, Instrument, Quote, mid_price
from trading.calendar import Schedule

_NAN = math.nan


class BarSource(Protocol):
    """Collects quotes and hands out what closed."""

    def on_quote(self, quote: Quote) -> None:
        """Take a quote in; quotes of one instrument come in the order of their times."""
        ...

    def close_until(self, boundary_ns: int) -> dict[str, Bar]:
        """Close the step that ends at ``boundary_ns`` and return its bars; who has none is missing."""
        ...

    def complete(self, boundary_ns: int) -> bool:
        """Whether every instrument's own quotes have passed the boundary."""
        ...


class FixingSampler:
    """Samples each instrument at the fixing time: the middle of the last quote at or before it.

    A quote older than ``maximum_age_ns`` at the fixing is no price of that moment: the instrument is missing then.
    """

    def __init__(self, instruments: dict[str, Instrument], schedule: Schedule, maximum_age_ns: int) -> None:
        self._instruments = instruments
        self._schedule = schedule
        self._maximum_age_ns = maximum_age_ns
        self._last: dict[str, Quote] = {}
        self._sampled: dict[str, dict[int, Quote]] = {name: {} for name in instruments}
        self._passed: dict[str, int] = dict.fromkeys(instruments, 0)

    def on_quote(self, quote: Quote) -> None:
        name = quote.instrument
        last = self._last.get(name)
        if last is not None:
            boundary = self._schedule.next_after(last.time_ns - 1)
            if last.time_ns <= boundary < quote.time_ns:
                self._sampled[name][boundary] = last
        self._last[name] = quote
        self._passed[name] = quote.time_ns

    def complete(self, boundary_ns: int) -> bool:
        return min(self._passed.values()) > boundary_ns

    def close_until(self, boundary_ns: int) -> dict[str, Bar]:
        bars: dict[str, Bar] = {}
        for name in sorted(self._instruments):
            sampled = self._sampled[name]
            quote = sampled.pop(boundary_ns, None)
            for old in [time for time in sampled if time < boundary_ns]:
                del sampled[old]
            last = self._last.get(name)
            if quote is None and last is not None and last.time_ns <= boundary_ns:
                quote = last
            if quote is not None and boundary_ns - quote.time_ns <= self._maximum_age_ns:
                bars[name] = self._bar(quote, boundary_ns)
        return bars

    def _bar(self, quote: Quote, boundary_ns: int) -> Bar:
        price = mid_price(quote.bid, quote.ask, self._instruments[quote.instrument].display_precision)
        return fixing_bar(quote.instrument, boundary_ns, price, quote.arrival_ns, quote.simulated)


def fixing_bar(instrument: str, time_ns: int, price: float, arrival_ns: int, simulated: bool) -> Bar:
    """Return the bar of a fixing: one price, nothing else (law 8)."""
    return Bar(
        instrument=instrument,
        open_time_ns=time_ns,
        close_time_ns=time_ns,
        bid_open=_NAN,
        bid_high=_NAN,
        bid_low=_NAN,
        bid_close=price,
        ask_open=_NAN,
        ask_high=_NAN,
        ask_low=_NAN,
        ask_close=price,
        tick_volume=_NAN,
        arrival_ns=arrival_ns,
        kind=BarKind.FIXING,
        simulated=simulated,
    )


class Building(msgspec.Struct):
    """A bar that still takes quotes."""

    close_ns: int
    bid_open: float
    bid_high: float
    bid_low: float
    ask_open: float
    ask_high: float
    ask_low: float
    ticks: int
    last: Quote
    simulated: bool


class BarBuilder:
    """Builds bid and ask OHLC bars over ``[open, close)``.

    ``tick_volume`` counts the quotes; of simulated quotes it is NaN, for their number is nobody's activity (law 8).
    """

    def __init__(self, instruments: dict[str, Instrument], schedule: Schedule, length_ns: int) -> None:
        self._schedule = schedule
        self._length_ns = length_ns
        self._building: dict[str, Building] = {}
        self._closed: dict[str, dict[int, Bar]] = {name: {} for name in instruments}
        self._passed: dict[str, int] = dict.fromkeys(instruments, 0)

    def on_quote(self, quote: Quote) -> None:
        name, bid, ask = quote.instrument, quote.bid, quote.ask
        self._passed[name] = quote.time_ns
        bar = self._building.get(name)
        if bar is not None and quote.time_ns >= bar.close_ns:
            self._finish(name, bar)
            bar = None
        if bar is None:
            close = self._schedule.next_after(quote.time_ns)
            self._building[name] = Building(close, bid, bid, bid, ask, ask, ask, 1, quote, quote.simulated)
            return
        # Compared, not max() and min(): this runs with every tick.
        if bid > bar.bid_high:
            bar.bid_high = bid
        elif bid < bar.bid_low:
            bar.bid_low = bid
        if ask > bar.ask_high:
            bar.ask_high = ask
        elif ask < bar.ask_low:
            bar.ask_low = ask
        bar.ticks += 1
        bar.last = quote
        if quote.simulated:
            bar.simulated = True

    def open_bar(self, name: str) -> Building | None:
        """Return the bar of an instrument that still takes quotes, to look at or to bring forward."""
        return self._building.get(name)

    def passed(self, name: str, time_ns: int) -> None:
        """Note the time of an instrument's newest quote, taken into its open bar by the caller."""
        self._passed[name] = time_ns

    def complete(self, boundary_ns: int) -> bool:
        return min(self._passed.values()) >= boundary_ns

    def close_until(self, boundary_ns: int) -> dict[str, Bar]:
        bars: dict[str, Bar] = {}
        for name in sorted(self._closed):
            bar = self._building.get(name)
            if bar is not None and bar.close_ns <= boundary_ns:
                self._finish(name, bar)
            closed = self._closed[name]
            if boundary_ns in closed:
                bars[name] = closed[boundary_ns]
            for old in [time for time in closed if time <= boundary_ns]:
                del closed[old]
        return bars

    def _finish(self, name: str, bar: Building) -> None:
        del self._building[name]
        self._closed[name][bar.close_ns] = Bar(
            instrument=name,
            open_time_ns=bar.close_ns - self._length_ns,
            close_time_ns=bar.close_ns,
            bid_open=bar.bid_open,
            bid_high=bar.bid_high,
            bid_low=bar.bid_low,
            bid_close=bar.last.bid,
            ask_open=bar.ask_open,
            ask_high=bar.ask_high,
            ask_low=bar.ask_low,
            ask_close=bar.last.ask,
            tick_volume=_NAN if bar.simulated else float(bar.ticks),
            arrival_ns=bar.last.arrival_ns,
            kind=BarKind.BAR,
            simulated=bar.simulated,
        )
