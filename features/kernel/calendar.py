"""Calendar and trading sessions from nanoseconds with integer arithmetic, so that no time zone database is asked."""

import math

from features.kernel.columns import START
from features.kernel.compilation import Floats, compiled

CALENDAR = START["calendar"]
HOURS = START["hours"]
SESSIONS = START["sessions"]
SECOND = 1_000_000_000
DAY = 86_400
WEEK = 7 * DAY
FRIDAY_CLOSE = 4 * DAY + 17 * 3_600  # seconds from Monday 00:00, New York: the market closes Friday 17:00
SUNDAY_OPEN = 6 * DAY + 17 * 3_600
RADIANS_PER_SECOND = 2.0 * math.pi / 86_400.0


@compiled
def civil(days: int) -> tuple[int, int, int]:
    """Return year, month and day of a day number since 1970-01-01 (Hinnant, "chrono-compatible low-level date
    algorithms", civil_from_days)."""
    shifted = days + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return year, month, day


@compiled
def day_number(year: int, month: int, day: int) -> int:
    """Return the day number since 1970-01-01 of a date (same source, days_from_civil)."""
    shifted_year = year - 1 if month <= 2 else year
    era = shifted_year // 400
    year_of_era = shifted_year - era * 400
    shifted_month = month - 3 if month > 2 else month + 9
    day_of_year = (153 * shifted_month + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


@compiled
def sunday_on_or_after(days: int) -> int:
    """Return the first Sunday from a day number on; 1970-01-01 was a Thursday."""
    return days + (3 - days) % 7


@compiled
def new_york_offset(seconds: int, year: int) -> int:
    """Return New York's offset from UTC in seconds.

    Energy Policy Act of 2005: from 2007 the second Sunday of March to the first of November, 02:00 local; Uniform Time
    Act as amended 1986: from 1987 to 2006 the first Sunday of April to the last of October.
    """
    if year >= 2007:
        start = sunday_on_or_after(day_number(year, 3, 8))
        end = sunday_on_or_after(day_number(year, 11, 1))
    else:
        start = sunday_on_or_after(day_number(year, 4, 1))
        end = sunday_on_or_after(day_number(year, 10, 25))
    summer = start * DAY + 7 * 3_600 <= seconds < end * DAY + 6 * 3_600
    return -4 * 3_600 if summer else -5 * 3_600


@compiled
def london_offset(seconds: int, year: int) -> int:
    """Return London's offset from UTC in seconds: from the last Sunday of March to the last of October, 01:00 UTC
    (Directive 2000/84/EC, in force like this since 1996)."""
    start = sunday_on_or_after(day_number(year, 3, 25)) * DAY + 3_600
    end = sunday_on_or_after(day_number(year, 10, 25)) * DAY + 3_600
    return 3_600 if start <= seconds < end else 0


@compiled
def in_session(seconds: int, offset: int, opens: int, closes: int) -> float:
    """Return 1.0 when a bar that closes now lies in local business hours ``(opens, closes]`` of a weekday."""
    local = seconds + offset
    weekday = (local // DAY + 3) % 7
    clock = local % DAY
    return 1.0 if weekday < 5 and opens * 3_600 < clock <= closes * 3_600 else 0.0


@compiled
def calendar_features(time_ns: int, bars: bool, out: Floats) -> None:
    """Write the features that depend on the time alone into one feature row ``out``, float64 [F]."""
    seconds = time_ns // SECOND
    days = seconds // DAY
    year, month, _ = civil(days)
    next_month = day_number(year, month + 1, 1) if month < 12 else day_number(year + 1, 1, 1)
    out[CALENDAR] = (days + 3) % 7
    out[CALENDAR + 1] = next_month - 1 - days
    if bars:
        angle = (seconds - days * DAY) * RADIANS_PER_SECOND
        out[HOURS] = math.sin(angle)
        out[HOURS + 1] = math.cos(angle)
        new_york = new_york_offset(seconds, year)
        in_week = (seconds + new_york + 3 * DAY) % WEEK
        if in_week <= FRIDAY_CLOSE:
            left = FRIDAY_CLOSE - in_week
        elif in_week < SUNDAY_OPEN:
            left = 0
        else:
            left = FRIDAY_CLOSE + WEEK - in_week
        out[HOURS + 2] = left / 60.0
        out[SESSIONS] = in_session(seconds, 9 * 3_600, 9, 18)
        out[SESSIONS + 1] = in_session(seconds, london_offset(seconds, year), 8, 17)
        out[SESSIONS + 2] = in_session(seconds, new_york, 8, 17)
