"""The FX week, holidays, roll-over; TARGET days; fixing times."""

from datetime import date

import numpy as np
import pytest

from core.clock import from_rfc3339, to_rfc3339
from core.errors import BadInputError
from data.calendar import (
    ForexCalendar,
    calendar_of,
    easter_sunday,
    fixing_days,
    fixing_ns,
    target_days,
    target_holidays,
)
from data.granularity import DAY, HOUR, MINUTE

CALENDAR = ForexCalendar()


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2014-05-04T20:59:59Z", False),  # Sunday, New York in summer time
        ("2014-05-04T21:00:00Z", True),
        ("2014-05-09T20:59:59Z", True),
        ("2014-05-09T21:00:00Z", False),
        ("2014-01-05T21:59:59Z", False),  # winter: an hour later in UTC
        ("2014-01-05T22:00:00Z", True),
        ("2014-05-03T12:00:00Z", False),  # Saturday
        ("2014-12-24T21:59:59Z", True),
        ("2014-12-24T22:00:00Z", False),  # Christmas begins at 17:00 on its eve
        ("2014-12-25T21:59:59Z", False),
        ("2014-12-25T22:00:00Z", True),
        ("2014-12-31T22:30:00Z", False),
        ("2015-01-01T22:00:00Z", True),
        ("2014-12-26T12:00:00Z", True),
    ],
)
def test_market_hours(moment: str, is_open: bool) -> None:
    assert CALENDAR.open_at(from_rfc3339(moment)) is is_open


def test_next_open_over_a_weekend_and_a_holiday() -> None:
    assert to_rfc3339(CALENDAR.next_open(from_rfc3339("2014-05-10T12:00:00Z")))[:16] == "2014-05-11T21:00"
    assert to_rfc3339(CALENDAR.next_open(from_rfc3339("2014-12-25T00:00:00Z")))[:16] == "2014-12-25T22:00"
    # Christmas on a Friday runs into the weekend
    assert to_rfc3339(CALENDAR.next_open(from_rfc3339("2015-12-25T00:00:00Z")))[:16] == "2015-12-27T22:00"
    now = from_rfc3339("2014-05-06T12:00:00Z")
    assert CALENDAR.next_open(now) == now


def test_a_plain_week_has_120_hours_and_one_with_a_change_of_clocks_too() -> None:
    for monday in ("2014-05-05T00:00:00Z", "2014-03-10T00:00:00Z", "2014-11-03T00:00:00Z"):
        middle = from_rfc3339(monday)
        assert len(CALENDAR.expected_starts(middle - 2 * DAY, middle + 5 * DAY, HOUR)) == 120
        assert len(CALENDAR.expected_starts(middle - 2 * DAY, middle + 5 * DAY, MINUTE)) == 7200


def test_days_touch_six_utc_dates_a_week() -> None:
    start = from_rfc3339("2014-05-04T00:00:00Z")
    days = CALENDAR.expected_starts(start, start + 7 * DAY, DAY)
    assert [(day // DAY + 3) % 7 for day in days.tolist()] == [6, 0, 1, 2, 3, 4]


def test_rollover_window_follows_new_york() -> None:
    moments = ["2014-05-06T20:54:59Z", "2014-05-06T20:55:00Z", "2014-05-06T21:14:59Z", "2014-05-06T21:15:00Z"]
    times = np.array([from_rfc3339(moment) for moment in moments])
    assert CALENDAR.in_rollover(times).tolist() == [False, True, True, False]
    winter = np.array([from_rfc3339("2014-01-07T22:01:00Z"), from_rfc3339("2014-01-07T21:01:00Z")])
    assert CALENDAR.in_rollover(winter).tolist() == [True, False]


def test_metals_rest_an_hour_a_day() -> None:
    metals = calendar_of("METAL")
    moments = ["2014-05-06T20:59:59Z", "2014-05-06T21:00:00Z", "2014-05-06T21:59:59Z", "2014-05-06T22:00:00Z"]
    assert [metals.open_at(from_rfc3339(moment)) for moment in moments] == [True, False, False, True]
    start = from_rfc3339("2014-05-03T00:00:00Z")
    assert len(metals.expected_starts(start, start + 7 * DAY, HOUR)) == 115


def test_open_time_between_moments() -> None:
    friday, monday = from_rfc3339("2014-05-09T20:00:00Z"), from_rfc3339("2014-05-11T22:00:00Z")
    between = CALENDAR.open_ns_between(np.array([friday, monday]), np.array([monday, monday + HOUR]))
    assert between.tolist() == [2 * HOUR, HOUR]
    assert CALENDAR.open_ns_between(np.empty(0, np.int64), np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("year", "expected"),
    [(1999, date(1999, 4, 4)), (2008, date(2008, 3, 23)), (2011, date(2011, 4, 24)), (2026, date(2026, 4, 5))],
)
def test_easter(year: int, expected: date) -> None:
    assert easter_sunday(year) == expected


def test_target_days_are_exactly_the_published_ones() -> None:
    from data.sources import LoadOptions, find_source

    batch = next(iter(find_source("ecb").load(None, ("EUR_USD",), None, None, LoadOptions())))
    published = fixing_days(batch.event_ns)
    assert np.array_equal(published, target_days(date(1999, 1, 4), date(2026, 10, 30)))


def test_target_history() -> None:
    assert date(1999, 4, 2) not in target_holidays(1999)
    assert date(1999, 12, 31) in target_holidays(1999)
    assert date(2001, 12, 31) in target_holidays(2001)
    assert date(2002, 12, 31) not in target_holidays(2002)
    assert {date(2014, 4, 18), date(2014, 4, 21), date(2014, 5, 1), date(2014, 12, 26)} < target_holidays(2014)
    with pytest.raises(BadInputError, match="1998"):
        target_holidays(1998)


def test_fixing_times_follow_berlin() -> None:
    days = np.array([date(2020, 1, 2).toordinal(), date(2020, 7, 1).toordinal()]) - date(1970, 1, 1).toordinal()
    event, arrival = fixing_ns(days)
    assert [to_rfc3339(int(moment))[11:16] for moment in event] == ["13:15", "12:15"]
    assert [to_rfc3339(int(moment))[11:16] for moment in arrival] == ["15:00", "14:00"]
    assert np.array_equal(fixing_days(event), days)
