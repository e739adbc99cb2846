"""The kill drill in short: every named place is struck, and nothing is lost, doubled or left unknown."""

from pathlib import Path

import pytest

from core.crash_points import TRADER_POINTS
from tidegate.drill.report import figures
from tidegate.drill.run import run_kill_drill

TRIES = 3  # a place that a session happened not to pass (a cancellation, say) gets another session


@pytest.mark.drill
def test_struck_at_every_place_nothing_is_lost_and_nothing_sent_twice(tmp_path: Path) -> None:
    left = tuple(TRADER_POINTS)
    first = orders = 0
    for _ in range(TRIES):
        seeds = range(first, first + (len(left) + 1) // 2)
        result = run_kill_drill(
            seeds, 2, tmp_path / "failures", lambda *_: None, points=left, steps=16, postgres=False, deepest=1
        )
        assert [seed.problems for seed in result.failures] == []
        found = figures(result)
        orders += found["orders"]
        left = tuple(found["points_never_struck"])
        first += 1000
        if not left:
            break
    assert left == ()
    assert orders > 300
