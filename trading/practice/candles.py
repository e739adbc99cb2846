"""Candles made of the ticks this server has published, and of nothing else: they are as simulated as their ticks."""

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from core.clock import NANOSECONDS, to_datetime, to_ns
from core.domain import Quote

SECONDS = {
    "S5": 5,
    "S10": 10,
    "S15": 15,
    "S30": 30,
    "M1": 60,
    "M2": 120,
    "M4": 240,
    "M5": 300,
    "M10": 600,
    "M15": 900,
    "M30": 1800,
    "H1": 3600,
    "H2": 7200,
    "H3": 10800,
    "H4": 14400,
    "H6": 21600,
    "H8": 28800,
    "H12": 43200,
    "D": 86400,
    "W": 604800,
    "M": 0,  # calendar months
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FRESH = 1000  # ticks taken over at a time
_LONGEST = 2_000_000  # ticks kept per instrument, about 50 MB each


# Times, bids and asks of some ticks.
Run = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


@dataclass
class Candle:
    """Bid and ask OHLC of one interval."""

    open_ns: int
    close_ns: int
    bid: list[float] = field(default_factory=list[float])  # open, high, low, close
    ask: list[float] = field(default_factory=list[float])
    volume: int = 0

    def add(self, bid: float, ask: float) -> None:
        """Take one tick in."""
        for prices, price in ((self.bid, bid), (self.ask, ask)):
            if prices:
                prices[1], prices[2], prices[3] = max(prices[1], price), min(prices[2], price), price
            else:
                prices += [price] * 4
        self.volume += 1


class TickStore:
    """Times, bids and asks of one instrument."""

    def __init__(self) -> None:
        self._times = array("q")
        self._bids = array("d")
        self._asks = array("d")
        # Not in the columns yet, for most ticks are never asked for: runs, and after them single quotes.
        self._runs: list[Run] = []
        self._fresh: list[Quote] = []

    @property
    def times(self) -> "array[int]":
        """UTC nanoseconds, not falling."""
        self._settle()
        return self._times

    @property
    def bids(self) -> "array[float]":
        """Bids by tick."""
        self._settle()
        return self._bids

    @property
    def asks(self) -> "array[float]":
        """Asks by tick."""
        self._settle()
        return self._asks

    def add(self, quote: Quote) -> None:
        """Append a tick."""
        self._fresh.append(quote)
        if len(self._fresh) >= _FRESH:
            self._settle()

    def extend(self, times: NDArray[np.int64], bids: NDArray[np.float64], asks: NDArray[np.float64]) -> None:
        """Append ticks given as columns, which stay as they are."""
        self._add_fresh()
        self._runs.append((times, bids, asks))
        if len(self._runs) >= _FRESH:
            self._settle()

    def _add_fresh(self) -> None:
        """Make the newest run of the single quotes."""
        if not self._fresh:
            return
        times = np.array([quote.time_ns for quote in self._fresh], np.int64)
        bids = np.array([quote.bid for quote in self._fresh])
        asks = np.array([quote.ask for quote in self._fresh])
        self._fresh.clear()
        self._runs.append((times, bids, asks))

    def _settle(self) -> None:
        """Bring the columns up to date; the oldest tenth is forgotten when there are too many."""
        if not self._runs and not self._fresh:
            return
        self._add_fresh()
        for times, bids, asks in self._runs:
            self._times.frombytes(times.tobytes())
            self._bids.frombytes(bids.tobytes())
            self._asks.frombytes(asks.tobytes())
        self._runs.clear()
        if len(self._times) > _LONGEST:
            for column in (self._times, self._bids, self._asks):
                del column[: _LONGEST // 10]


@dataclass(frozen=True)
class Alignment:
    """Where candles of two hours and more begin."""

    daily: int = 17
    zone: str = "America/New_York"
    weekly: str = "Friday"


def interval(time_ns: int, granularity: str, alignment: Alignment) -> tuple[int, int]:
    """Return open and close of the candle that holds ``time_ns``.

    Up to an hour candles align to UTC; from two hours on to the daily alignment in its zone, weeks to a weekday, as
    documented for the real endpoint.
    """
    seconds = SECONDS[granularity]
    if 0 < seconds <= 3600:
        open_ns = time_ns - time_ns % (seconds * NANOSECONDS)
        return open_ns, open_ns + seconds * NANOSECONDS
    local = to_datetime(time_ns).astimezone(ZoneInfo(alignment.zone))
    day = local.replace(hour=alignment.daily, minute=0, second=0, microsecond=0)
    if day > local:
        day -= timedelta(days=1)
    if granularity == "M":
        start = day.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    elif granularity == "W":
        start = day - timedelta(days=(day.weekday() - WEEKDAYS.index(alignment.weekly)) % 7)
        end = start + timedelta(days=7)
    elif granularity == "D":
        start, end = day, day + timedelta(days=1)
    else:
        # Parts of a day are counted in real time from the day's start, so that a clock change shortens the last one.
        day_ns, next_ns = to_ns(day.astimezone(UTC)), to_ns((day + timedelta(days=1)).astimezone(UTC))
        step = seconds * NANOSECONDS
        open_ns = day_ns + (time_ns - day_ns) // step * step
        return open_ns, min(open_ns + step, next_ns)
    return to_ns(start.astimezone(UTC)), to_ns(end.astimezone(UTC))


def make_candles(
    store: TickStore,
    granularity: str,
    start_ns: int | None,
    end_ns: int | None,
    count: int,
    alignment: Alignment = Alignment(),
) -> list[Candle]:
    """Return at most ``count`` candles, oldest first: from ``start_ns`` on, or the last ones before ``end_ns``.

    The first candle is the first whole one after ``start_ns``.
    """
    times = store.times
    last = len(times) if end_ns is None else bisect_left(times, end_ns)
    if start_ns is not None:
        opens, closes = interval(start_ns, granularity, alignment)
        first = bisect_left(times, start_ns if opens == start_ns else closes)
        return _fold(store, granularity, first, last, count, alignment)
    # The last candles: look back far enough for ``count`` without gaps, and twice as far each time there are gaps.
    width = (SECONDS[granularity] or 31 * 86_400) * (count + 1) * NANOSECONDS
    while True:
        newest = times[last - 1] if last else 0
        opens, _ = interval(max(0, newest - width), granularity, alignment)
        first = bisect_left(times, opens)
        candles = _fold(store, granularity, first, last, last - first, alignment)
        if len(candles) >= count or first == 0:
            return candles[-count:]
        width *= 2


def _fold(store: TickStore, granularity: str, first: int, last: int, count: int, alignment: Alignment) -> list[Candle]:
    candles: list[Candle] = []
    current: Candle | None = None
    times, bids, asks = store.times, store.bids, store.asks
    for index in range(first, last):
        time_ns = times[index]
        if current is None or time_ns >= current.close_ns:
            if len(candles) == count:
                break
            current = Candle(*interval(time_ns, granularity, alignment))
            candles.append(current)
        current.add(bids[index], asks[index])
    return candles
