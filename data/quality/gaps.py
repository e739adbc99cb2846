"""What should be there and is not: rows against the calendar."""

from datetime import date, timedelta

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.calendar import ForexCalendar, fixing_days, fixing_ns, target_days
from data.granularity import DAY, MINUTE, Granularity

QUIET_NS = 15 * MINUTE  # minutes without a tick are normal; a quarter of an hour without one is a gap
_SHOWN = 50  # gaps that the report lists, longest first


class Gap(msgspec.Struct, frozen=True):
    """A hole between two rows: from the end of the last row before it to the first row after it."""

    start_ns: int
    end_ns: int
    missing: int  # rows; for quotes seconds of open market


class Coverage(msgspec.Struct, frozen=True):
    """How much of what the calendar expects is there.

    ``expected`` and ``missing`` are rows (for quotes and bars under a minute: seconds of open market). ``in_gaps`` is
    the part of ``missing`` in holes of at least a quarter of an hour; the rest are quiet minutes.
    """

    expected: int
    missing: int
    in_gaps: int
    gap_count: int
    gaps: tuple[Gap, ...]

    @property
    def gap_share(self) -> float:
        """The share of the expected that lies in gaps."""
        return self.in_gaps / self.expected if self.expected else 0.0


def bar_coverage(
    open_ns: NDArray[np.int64], granularity: Granularity, calendar: ForexCalendar, window_ns: tuple[int, int] | None
) -> Coverage:
    """Compare bar starts with the grid of the calendar between the first and the last (or over the window)."""
    length = granularity.length_ns
    if not len(open_ns):
        return Coverage(0, 0, 0, 0, ())
    first = int(open_ns.min()) if window_ns is None else window_ns[0]
    last = int(open_ns.max()) if window_ns is None else window_ns[1]
    phase = int(np.bincount((open_ns % length // MINUTE).astype(np.int64)).argmax()) * MINUTE if length > MINUTE else 0
    expected = calendar.expected_starts(first - phase, last - phase + 1, length) + phase
    if granularity.length_ns >= DAY and phase:
        # Days cut at 17:00 New York begin an hour later in winter: compare by trading date.
        expected, open_ns = np.unique(calendar.trading_date(expected)), np.unique(calendar.trading_date(open_ns))
        expected = expected[np.isin((expected + 3) % 7, np.arange(5))]
        expected, open_ns, length = expected * DAY, open_ns * DAY, DAY
    absent = expected[~np.isin(expected, open_ns)]
    if not len(absent):
        return Coverage(len(expected), 0, 0, 0, ())
    place = np.searchsorted(expected, absent)
    begins = np.flatnonzero(np.r_[True, np.diff(place) > 1])
    runs = np.diff(np.r_[begins, len(absent)])
    wide = runs * length >= QUIET_NS
    gaps = [
        Gap(int(absent[begin]), int(absent[begin + run - 1]) + length, int(run))
        for begin, run in zip(begins[wide].tolist(), runs[wide].tolist(), strict=True)
    ]
    return _coverage(len(expected), len(absent), gaps)


def quote_coverage(time_ns: NDArray[np.int64], calendar: ForexCalendar) -> Coverage:
    """Find stretches of open market of at least a quarter of an hour without a row."""
    if len(time_ns) < 2:
        return Coverage(0, 0, 0, 0, ())
    wide = np.flatnonzero(np.diff(time_ns) >= QUIET_NS)
    before, after = time_ns[wide], time_ns[wide + 1]
    silent = calendar.open_ns_between(before, after)
    whole = calendar.open_ns_between(time_ns[:1], time_ns[-1:])
    gaps = [
        Gap(int(start), int(end), int(length) // 10**9)
        for start, end, length in zip(before, after, silent, strict=True)
        if length >= QUIET_NS
    ]
    total = sum(gap.missing for gap in gaps)
    return _coverage(int(whole[0]) // 10**9, total, gaps)


def fixing_coverage(event_ns: NDArray[np.int64], window_ns: tuple[int, int] | None) -> Coverage:
    """Compare fixings with the TARGET business days between the first and the last (or over the window)."""
    if not len(event_ns):
        return Coverage(0, 0, 0, 0, ())
    first, last = window_ns if window_ns is not None else (int(event_ns.min()), int(event_ns.max()))
    bounds = fixing_days(np.array([first, last], np.int64)).tolist()
    days = target_days(*(date(1970, 1, 1) + timedelta(days=day) for day in bounds))
    events, _ = fixing_ns(days)
    inside = (events >= first) & (events <= last)
    days, events = days[inside], events[inside]
    absent = np.flatnonzero(~np.isin(days, fixing_days(event_ns)))
    if not len(absent):
        return Coverage(len(days), 0, 0, 0, ())
    begins = np.flatnonzero(np.r_[True, np.diff(absent) > 1])
    runs = np.diff(np.r_[begins, len(absent)]).tolist()
    gaps = [
        Gap(int(events[absent[begin]]), int(events[absent[begin + run - 1]]), int(run))
        for begin, run in zip(begins.tolist(), runs, strict=True)
    ]
    return _coverage(len(days), len(absent), gaps)


def _coverage(expected: int, missing: int, gaps: list[Gap]) -> Coverage:
    longest = sorted(gaps, key=lambda gap: (-gap.missing, gap.start_ns))[:_SHOWN]
    shown = tuple(sorted(longest, key=lambda gap: gap.start_ns))
    return Coverage(expected, missing, sum(gap.missing for gap in gaps), len(gaps), shown)
