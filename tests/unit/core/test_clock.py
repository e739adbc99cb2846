"""Times survive every representation; the simulated clock wakes sleepers in order."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SimulatedClock, from_rfc3339, to_datetime, to_ns, to_rfc3339


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000_000))
def test_rfc3339_round_trip_keeps_every_nanosecond(time_ns: int) -> None:
    assert from_rfc3339(to_rfc3339(time_ns)) == time_ns


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_datetime_round_trip(moment: datetime) -> None:
    assert to_datetime(to_ns(moment)) == moment


@pytest.mark.parametrize("text", ["", "2020-01-01", "2020-01-01T00:00:00.1234567891Z", "2020-01-01T00:00:00.12", "x"])
def test_what_is_no_rfc3339_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_rfc3339(text)


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_ns(datetime(2020, 1, 1))


async def test_sleepers_wake_in_the_order_of_their_due_times() -> None:
    clock = SimulatedClock(1_000)
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper(name, s)) for name, s in (("late", 3.0), ("early", 1.0), ("middle", 2.0))]
    await asyncio.sleep(0)
    clock.advance_to(2_000_001_000)
    await asyncio.sleep(0.01)
    assert woken == ["early", "middle"]
    clock.advance_to(500)  # time never runs back
    assert clock.time_ns() == 2_000_001_000
    clock.advance_to(9_000_000_000)
    await asyncio.gather(*tasks)
    assert woken == ["early", "middle", "late"]
