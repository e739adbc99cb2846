"""A clock that jumps, or a feed from another time, stops new risk until it was steady for a while."""

from pathlib import Path

from desk_parts import make_desk

from core.clock import SimulatedClock
from core.domain import Heartbeat
from trading.feeds.clock_watch import STEADY_SECONDS, ClockWatch

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


class Ticks:
    """The machine's monotonic seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pass_time(clock: SimulatedClock, ticks: Ticks, seconds: float, jump: float = 0.0) -> None:
    ticks.now += seconds
    clock._now += round((seconds + jump) * SECOND)  # a wall clock can also run back


def test_jumps_are_noticed_and_forgotten(tmp_path: Path) -> None:
    clock, ticks = SimulatedClock(START), Ticks()
    with make_desk(tmp_path, clock) as parts:
        watch = ClockWatch(clock, parts.degradation, monotonic=ticks)
        pass_time(clock, ticks, 3600.0)
        watch.look()
        assert parts.degradation.no_new_risk() == ""
        for jump in (30.0, -30.0):
            pass_time(clock, ticks, 0.1, jump)
            watch.look()
            assert f"{jump:+.1f} s" in parts.degradation.no_new_risk()
        pass_time(clock, ticks, STEADY_SECONDS - 0.1)
        watch.look()
        assert parts.degradation.no_new_risk()
        pass_time(clock, ticks, 0.2)
        watch.look()
        assert parts.degradation.no_new_risk() == ""
        kinds = [(record.what, record.over) for record in parts.degraded()]
        assert kinds == [("clock", False), ("clock", False), ("clock", True)]


def test_a_feed_from_another_time_is_noticed(tmp_path: Path) -> None:
    clock, ticks = SimulatedClock(START), Ticks()
    with make_desk(tmp_path, clock) as parts:
        watch = ClockWatch(clock, parts.degradation, monotonic=ticks)
        watch.on_heartbeat(Heartbeat(START - SECOND, START))
        assert parts.degradation.no_new_risk() == ""
        watch.on_heartbeat(Heartbeat(START + 3600 * SECOND, START))
        assert "+3600.0 s from the clock" in parts.degradation.no_new_risk()


def test_an_accelerated_clock_may_run_as_fast_as_it_should(tmp_path: Path) -> None:
    clock, ticks = SimulatedClock(START), Ticks()
    with make_desk(tmp_path, clock) as parts:
        watch = ClockWatch(clock, parts.degradation, speed=60.0, monotonic=ticks)
        pass_time(clock, ticks, 1.0, 59.5)
        watch.look()
        assert parts.degradation.no_new_risk() == ""
