"""The kernel's integer calendar against the standard library and the time zone database."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import slow_features
from hypothesis import given
from hypothesis import strategies as st

from core.clock import to_ns
from features.kernel.calendar import calendar_features, civil, day_number
from features.kernel.columns import COLUMNS

SPRING_AND_AUTUMN = [
    datetime(year, month, day, tzinfo=UTC) + timedelta(minutes=minutes)
    for year in (1999, 2006, 2007, 2015, 2024, 2026)
    for month, day in ((3, 8), (3, 14), (3, 27), (3, 31), (4, 1), (4, 7), (10, 25), (10, 31), (11, 1), (11, 7))
    for minutes in (59, 60, 61, 359, 360, 361, 419, 420, 421, 1260, 1320)
]


def clock_features(moment: datetime) -> dict[str, float]:
    out = np.zeros(len(COLUMNS))
    calendar_features(to_ns(moment), True, out)
    return dict(zip(COLUMNS, out, strict=True))


@given(st.dates(date(1900, 1, 1), date(2200, 12, 31)))
def test_civil_and_day_number_agree_with_datetime(day: date) -> None:
    days = (day - date(1970, 1, 1)).days
    assert civil(days) == (day.year, day.month, day.day)
    assert day_number(day.year, day.month, day.day) == days


@given(
    st.datetimes(datetime(1996, 1, 1), datetime(2037, 12, 31)).map(
        lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
    )
)
def test_clock_features_agree_with_the_time_zone_database(moment: datetime) -> None:
    check(moment)


def test_clock_features_around_changes_of_the_clock() -> None:
    for moment in SPRING_AND_AUTUMN:
        check(moment)


def check(moment: datetime) -> None:
    actual = clock_features(moment)
    for name, value in slow_features.calendar_of(to_ns(moment)).items():
        assert actual[name] == pytest.approx(value, abs=1e-9), (name, moment)


def test_market_week() -> None:
    friday_close = datetime(2026, 6, 5, 21, 0, tzinfo=UTC)  # 17:00 in New York, summer
    assert clock_features(friday_close)["minutes_to_weekend"] == 0
    assert clock_features(friday_close + timedelta(hours=30))["minutes_to_weekend"] == 0
    assert clock_features(friday_close - timedelta(hours=1))["minutes_to_weekend"] == 60
    assert clock_features(friday_close + timedelta(days=2))["minutes_to_weekend"] == 5 * 24 * 60


def test_month_end() -> None:
    assert clock_features(datetime(2024, 2, 1, tzinfo=UTC))["days_to_month_end"] == 28
    assert clock_features(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))["days_to_month_end"] == 0
