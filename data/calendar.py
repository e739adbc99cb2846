"""When currencies trade: the FX week, its holidays and roll-over; the business days of the ECB fixing.

The FX week runs from Sunday 17:00 to Friday 17:00 New York time. Seen as *trading dates*, days that begin at 17:00 the
evening before, the market is open on Monday to Friday except Christmas Day and New Year's Day.
"""

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from data.granularity import DAY, HOUR, MINUTE
from data.timezones import wall_clock

_ROLL = 7 * HOUR  # 17:00 + 7 h = midnight: local time plus this has the trading date as its date
_BERLIN = "Europe/Berlin"
FIXING_TIME = 14 * HOUR + 15 * MINUTE  # the rates are those of the 14:15 concertation
FIXING_PUBLICATION = 16 * HOUR  # and are published "around 16:00 CET"


class ForexCalendar:
    """The over-the-counter FX market. All methods take and return UTC nanoseconds.

    ``break_ns`` is how long the market rests after each 17:00: nothing for currencies, an hour for metals.
    """

    def __init__(self, break_ns: int = 0) -> None:
        self._clock = wall_clock("America/New_York")
        self._break = break_ns

    def trading_date(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the trading date of each moment in days since 1970-01-01, whether or not the market is open."""
        return (self._clock.local(time_ns) + _ROLL) // DAY

    def is_open(self, time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the market is open at each moment, bool [n]."""
        date, since_roll = np.divmod(self._clock.local(time_ns) + _ROLL, DAY)
        return self._trades_on(date) & (since_roll >= self._break)

    def open_at(self, time_ns: int) -> bool:
        """Return whether the market is open at one moment."""
        return bool(self.is_open(np.array([time_ns], np.int64))[0])

    def next_open(self, time_ns: int) -> int:
        """Return ``time_ns`` if the market is open then, else the next opening."""
        if self.open_at(time_ns):
            return time_ns
        opens, _ = self.sessions(time_ns, time_ns + 10 * DAY)
        return int(opens[np.searchsorted(opens, time_ns)])

    def in_rollover(
        self, time_ns: NDArray[np.int64], before_ns: int = 5 * MINUTE, after_ns: int = 15 * MINUTE
    ) -> NDArray[np.bool_]:
        """Return whether each moment lies around 17:00 New York, when spreads widen and financing is booked."""
        since_roll = (self._clock.local(time_ns) + _ROLL) % DAY
        return (since_roll < after_ns) | (since_roll >= DAY - before_ns)

    def sessions(self, start_ns: int, end_ns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return opening and closing times of every unbroken session that touches ``[start_ns, end_ns)``."""
        first, last = (int(day) for day in self.trading_date(np.array([start_ns, max(end_ns - 1, start_ns)], np.int64)))
        # A session may have begun up to a week before and may end up to a week later.
        days = np.arange(first - 7, last + 8, dtype=np.int64)
        days = days[self._trades_on(days)]
        begins = np.r_[True, (np.diff(days) > 1) | (self._break > 0)]
        ends = np.r_[begins[1:], True]
        opens, _ = self._clock.utc(days[begins] * DAY - _ROLL + self._break)
        closes, _ = self._clock.utc((days[ends] + 1) * DAY - _ROLL)
        touching = (closes > start_ns) & (opens < end_ns)
        return opens[touching], closes[touching]

    def expected_starts(self, start_ns: int, end_ns: int, length_ns: int) -> NDArray[np.int64]:
        """Return the starts in ``[start_ns, end_ns)`` of bars on the UTC grid during which the market is open."""
        # A long bar may begin in the range before a session that opens after it.
        opens, closes = self.sessions(start_ns, end_ns + length_ns)
        parts = [
            np.arange(opening // length_ns, -(-closing // length_ns), dtype=np.int64)
            for opening, closing in zip(opens, closes, strict=True)
        ]
        if not parts:
            return np.empty(0, np.int64)
        starts = np.concatenate(parts) * length_ns
        if length_ns > HOUR:
            starts = np.unique(starts)  # a long bar can hold the end of one session and the start of the next
        return starts[(starts >= start_ns) & (starts < end_ns)]

    def open_ns_between(self, start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each pair how many nanoseconds the market was open in ``[start, end)``, int64 [n]."""
        if not len(start_ns):
            return np.empty(0, np.int64)
        opens, closes = self.sessions(int(start_ns.min()), int(max(end_ns.max(), start_ns.min() + 1)))
        before = np.r_[0, np.cumsum(closes - opens)]

        def open_until(moment: NDArray[np.int64]) -> NDArray[np.int64]:
            index = np.searchsorted(opens, moment, side="right")
            last = np.maximum(index - 1, 0)
            inside = np.where(index > 0, np.minimum(moment, closes[last]) - opens[last], 0) if len(opens) else 0
            return np.where(index > 0, before[last] + inside, 0)

        return open_until(end_ns) - open_until(start_ns)

    @staticmethod
    def _trades_on(days: NDArray[np.int64]) -> NDArray[np.bool_]:
        weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
        dates = days.astype("datetime64[D]")
        day_of_year = dates - dates.astype("datetime64[Y]").astype("datetime64[D]")
        december_25 = (dates - dates.astype("datetime64[M]").astype("datetime64[D]") == np.timedelta64(24, "D")) & (
            dates.astype("datetime64[M]").astype(np.int64) % 12 == 11
        )
        new_year = day_of_year == np.timedelta64(0, "D")
        return (weekday < 5) & ~december_25 & ~new_year


def calendar_of(kind: str) -> ForexCalendar:
    """Return the calendar of an instrument kind: metals rest from 17:00 to 18:00 New York every day."""
    return ForexCalendar(HOUR if kind == "METAL" else 0)


def easter_sunday(year: int) -> date:
    """Return Easter Sunday of the Gregorian calendar.

    The anonymous algorithm of *Nature* 13 (1876) 487, as given by Meeus, Astronomical Algorithms (1991), chapter 8.
    """
    golden = year % 19
    century, in_century = divmod(year, 100)
    leap_centuries, century_rest = divmod(century, 4)
    correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_centuries - correction + 15) % 30
    leaps, year_rest = divmod(in_century, 4)
    weekday = (32 + 2 * century_rest + 2 * leaps - epact - year_rest) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def target_holidays(year: int) -> frozenset[date]:
    """Return the closing days of the TARGET system, on which the ECB publishes no reference rates.

    The present six days hold since 2000; 1999 closed at New Year and Christmas alone, and 31 December was closed
    in 1999 and 2001. The rule gives exactly the 7,126 days with published rates from 1999-01-04 to 2026-10-30.

    Raises:
        BadInputError: the year is before 1999, when TARGET did not exist.
    """
    if year < 1999:
        raise BadInputError(f"no TARGET calendar for {year}: the euro and its reference rates begin in 1999")
    days = {date(year, 1, 1), date(year, 12, 25)}
    if year > 1999:
        easter = easter_sunday(year)
        days |= {easter - timedelta(days=2), easter + timedelta(days=1), date(year, 5, 1), date(year, 12, 26)}
    if year in (1999, 2001):
        days.add(date(year, 12, 31))
    return frozenset(days)


def target_days(first: date, last: date) -> NDArray[np.int64]:
    """Return the TARGET business days from ``first`` to ``last`` (both included) in days since 1970-01-01."""
    days = np.arange((first - date(1970, 1, 1)).days, (last - date(1970, 1, 1)).days + 1, dtype=np.int64)
    closed = [day for year in range(first.year, last.year + 1) for day in target_holidays(year)]
    holidays = np.array(sorted((day - date(1970, 1, 1)).days for day in closed), np.int64)
    return days[((days + 3) % 7 < 5) & ~np.isin(days, holidays)]


def fixing_ns(days: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return event time (14:15) and arrival time (16:00 Europe/Berlin) of the fixings of some days, int64 [n] each."""
    clock = wall_clock(_BERLIN)
    event, _ = clock.utc(days * DAY + FIXING_TIME)
    arrival, _ = clock.utc(days * DAY + FIXING_PUBLICATION)
    return event, arrival


def fixing_days(event_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the Berlin date of each fixing in days since 1970-01-01, int64 [n]."""
    return wall_clock(_BERLIN).local(event_ns) // DAY
