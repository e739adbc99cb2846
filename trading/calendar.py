"""The moments the loop waits for: fixing times and bar boundaries; and the day a loss is counted in."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from core.clock import NANOSECONDS, to_ns
from core.errors import ConfigurationError
from data.calendar import ForexCalendar, target_holidays

_FOREX = ForexCalendar()
_HOUR = 3600 * NANOSECONDS


def trading_day(time_ns: int) -> int:
    """Return the trading date (it begins at 17:00 New York) in days since 1970-01-01; for moments since then."""
    return _trading_day(time_ns // _HOUR)


@lru_cache(maxsize=256)
def _trading_day(hour: int) -> int:
    """Return the trading date of an hour: New York has been whole hours away from UTC all the time."""
    return int(_FOREX.trading_date(np.array([hour * _HOUR], np.int64))[0])


def open_boundaries(boundaries: Sequence[int]) -> list[int]:
    """Return those boundaries just before which the market was open: a bar ends at its boundary."""
    if not boundaries:
        return []
    was_open = _FOREX.is_open(np.array(boundaries, np.int64) - 1)
    return [time for time, traded in zip(boundaries, was_open, strict=True) if traded]


class Schedule(Protocol):
    """When steps end."""

    def next_after(self, time_ns: int) -> int:
        """Return the first boundary strictly after ``time_ns``."""
        ...


class FixingSchedule:
    """The time of day of a fixing, on TARGET business days."""

    def __init__(self, time_of_day: str = "14:15", zone: str = "Europe/Berlin") -> None:
        """Read the time as ``HH:MM``.

        Raises:
            ConfigurationError: it is no time, or the zone is unknown.
        """
        try:
            self._time = time.fromisoformat(time_of_day)
            self._zone = ZoneInfo(zone)
        except (ValueError, KeyError) as error:
            raise ConfigurationError(f"fixing time {time_of_day!r} in {zone!r} is not HH:MM in a time zone") from error
        self._known = (0, 0)  # the newest answer holds for every time in [first, second)

    def next_after(self, time_ns: int) -> int:
        low, high = self._known
        if not low <= time_ns < high:
            high = self._find_after(time_ns)
            self._known = (time_ns, high)
        return high

    def _find_after(self, time_ns: int) -> int:
        day = datetime.fromtimestamp(time_ns // NANOSECONDS, UTC).astimezone(self._zone).date()
        while True:
            if self._is_business_day(day):
                moment = to_ns(datetime.combine(day, self._time, self._zone))
                if moment > time_ns:
                    return moment
            day += timedelta(days=1)

    @staticmethod
    def _is_business_day(day: date) -> bool:
        return day.weekday() < 5 and day not in target_holidays(day.year)


class BarSchedule:
    """Boundaries on the UTC grid of a bar length."""

    def __init__(self, seconds: int) -> None:
        self.length_ns = seconds * NANOSECONDS

    def next_after(self, time_ns: int) -> int:
        return (time_ns // self.length_ns + 1) * self.length_ns
