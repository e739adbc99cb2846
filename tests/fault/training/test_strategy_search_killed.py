"""A strategy search ended by SIGKILL again and again, between and inside generations, finds what a living one finds."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.files import read_json
from training.trials import Status, TrialLedger

PROCESS = Path(__file__).with_name("strategy_search_process.py")
ROOT = PROCESS.parents[3]
# Two generations in, a batch is killed after two of its five windows; and so on to the last write.
DEATHS = ("window:7", "saved:1", "recorded:1", "window:8", "validation:1", "result:1")
IDENTITIES = {"trial", "trials", "ledger", "evidence", "verdict"}  # rows of lost attempts shift ids and count as trials

pytestmark = pytest.mark.heavy


def run(folder: Path, *lives: str) -> list[int]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(PROCESS), str(folder), *lives], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("life ")]


def result(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("reports/search/strategy/*/result.json")
    return read_json(path)


def found(value: Any) -> Any:
    """A result without the identities of ledger rows."""
    if isinstance(value, dict):
        return {key: found(item) for key, item in value.items() if key not in IDENTITIES}
    return [found(item) for item in value] if isinstance(value, list) else value


def test_a_search_killed_at_every_kind_of_place_ends_as_one_that_was_not(tmp_path: Path) -> None:
    assert run(tmp_path / "whole", "end") == [0]
    assert run(tmp_path / "killed", *DEATHS, "end") == [signal.SIGKILL] * len(DEATHS) + [0]
    whole, killed = result(tmp_path / "whole"), result(tmp_path / "killed")
    assert killed["digest"] == whole["digest"]
    assert found(killed) == found(whole), "hall of fame, choices of the folds, plateau, unseen span, every generation"
    assert killed["evidence"]["series"] == whole["evidence"]["series"]

    with TrialLedger(f"sqlite:///{tmp_path}/killed/trials.db") as ledger:
        rows = ledger.trials(study=killed["study"])
        assert ledger.verify(killed["lineage"]) == []
    research = [row for row in rows if row.parameters["span"] == "research"]
    statuses = Counter(row.status for row in research)
    assert set(statuses) == {Status.COMPLETED, Status.LOST} and statuses[Status.LOST] > 20
    done = [row for row in research if row.status is Status.COMPLETED]
    assert len({row.number for row in done}) == len(done) == whole["evidence"]["series"], "none lost, none doubled"
    lost = {row.number for row in research if row.status is Status.LOST}
    assert lost <= {row.number for row in done}, "what a kill cut off was tried again"
    assert all(row.attempt == 2 for row in done if row.number in lost)
    looks = Counter(row.status for row in rows if row.parameters["span"] == "unseen")
    assert looks == {Status.LOST: 3, Status.COMPLETED: 3}
