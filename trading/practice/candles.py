"""Candles made of the ticks this server has published, and of nothing else: they are as simulated as their ticks."""

from array import array
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

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
_LONGEST = 2_000_000  # ticks kept per instrument, about 50 MB each


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
        self.times = array("q")
        self.bids = array("d")
        self.asks = array("d")

    def add(self, quote: Quote) -> None:
        """Append a tick; the oldest tenth is forgotten when there are too many."""
        self.times.append(quote.time_ns)
        self.bids.append(quote.bid)
        self.asks.append(quote.ask)
        if len(self.times) > _LONGEST:
            for column in (self.times, self.bids, self.asks):
                del column[: _LONGEST // 10]


def interval(
    time_ns: int, granularity: str, daily_alignment: int = 17, zone: str = "America/New_York", weekly: str = "Friday"
) -> tuple[int, int]:
    """Return open and close of the candle that holds ``time_ns``.

    Up to an hour candles align to UTC; from two hours on to ``daily_alignment`` o'clock in ``zone``, weeks to a
    weekday, as documented for the real endpoint.
    """
    seconds = SECONDS[granularity]
    if 0 < seconds <= 3600:
        open_ns = time_ns - time_ns % (seconds * NANOSECONDS)
        return open_ns, open_ns + seconds * NANOSECONDS
    local = to_datetime(time_ns).astimezone(ZoneInfo(zone))
    day = local.replace(hour=daily_alignment, minute=0, second=0, microsecond=0)
    if day > local:
        day -= timedelta(days=1)
    if granularity == "M":
        start = day.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    elif granularity == "W":
        weekdays = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
        start = day - timedelta(days=(day.weekday() - weekdays.index(weekly)) % 7)
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
    daily_alignment: int = 17,
    zone: str = "America/New_York",
    weekly: str = "Friday",
) -> list[Candle]:
    """Return at most ``count`` candles, oldest first: from ``start_ns`` on, or the last ones before ``end_ns``."""
    candles: list[Candle] = []
    current: Candle | None = None
    for time_ns, bid, ask in zip(store.times, store.bids, store.asks, strict=True):
        if start_ns is not None and time_ns < start_ns:
            continue
        if end_ns is not None and time_ns >= end_ns:
            break
        if current is None or time_ns >= current.close_ns:
            if start_ns is not None and len(candles) == count:
                break
            current = Candle(*interval(time_ns, granularity, daily_alignment, zone, weekly))
            candles.append(current)
        current.add(bid, ask)
    if start_ns is None:
        candles = candles[-count:]
    elif candles and candles[0].open_ns < start_ns:
        del candles[0]  # begun before ``from``: v20 starts at the first whole candle
    return candles
