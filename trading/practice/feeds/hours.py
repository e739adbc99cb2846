"""The hours FX trades in: Sunday 17:00 to Friday 17:00 New York. Holidays are left to the data."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from core.clock import to_datetime, to_ns

_NEW_YORK = ZoneInfo("America/New_York")
_FRIDAY, _SUNDAY = 4, 6


def open_stretches(start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """Return the parts of ``(start, end]`` in which the market is open; the whole stretch if none is."""
    stretches: list[tuple[int, int]] = []
    now = start_ns
    day = to_datetime(start_ns).astimezone(_NEW_YORK).replace(hour=17, minute=0, second=0, microsecond=0)
    day -= timedelta(days=(day.weekday() - _FRIDAY) % 7 + 7)  # a Friday 17:00 before the start
    while now < end_ns:
        close = to_ns(day)
        reopen = to_ns(day + timedelta(days=2))  # wall-clock arithmetic: Sunday 17:00 local also over a clock change
        day += timedelta(days=7)
        if reopen <= now:
            continue
        if now < close:
            stretches.append((now, min(close, end_ns)))
        now = max(now, reopen)
    return stretches or [(start_ns, end_ns)]


def spread_over(start_ns: int, end_ns: int, count: int) -> list[int]:
    """Return ``count`` times evenly spaced in market hours, the last one exactly ``end_ns``, none at ``start_ns``."""
    stretches = open_stretches(start_ns, end_ns)
    total = sum(end - start for start, end in stretches)
    times: list[int] = []
    for number in range(1, count + 1):
        rest = total * number // count
        for start, end in stretches:
            if rest <= end - start:
                times.append(start + rest)
                break
            rest -= end - start
    times[-1] = end_ns
    return times
