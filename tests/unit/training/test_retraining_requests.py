"""A reason asks once; a retraining that did not come to an end answers nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import IntegrityError, RefusedError
from training.retraining.reasons import Reason, ReasonKind
from training.retraining.requests import Outcome, RetrainingRecord

DRIFT = Reason(ReasonKind.DRIFT, "k1", 0.4, 0.3, "drift")
AGE = Reason(ReasonKind.AGE, "k2", 31.0, 30.0, "old")
HOUR = 3_600_000_000_000


def answered(record: RetrainingRecord, outcome: Outcome, now: int = 0) -> None:
    with record.open_request([DRIFT], now) as asked:
        record.end(asked, outcome, "3", "done", now)


def test_an_answered_reason_does_not_ask_again(tmp_path: Path) -> None:
    record = RetrainingRecord(tmp_path, "tidegate-test")
    assert record.unanswered([DRIFT, AGE]) == [DRIFT, AGE]
    answered(record, Outcome.NEW_VERSION)
    assert RetrainingRecord(tmp_path, "tidegate-test").unanswered([DRIFT, AGE]) == [AGE]
    assert RetrainingRecord(tmp_path, "tidegate-other").unanswered([DRIFT]) == [DRIFT]


def test_a_failure_answers_nothing(tmp_path: Path) -> None:
    record = RetrainingRecord(tmp_path, "tidegate-test")
    answered(record, Outcome.FAILED)
    assert record.unanswered([DRIFT]) == [DRIFT]
    answered(record, Outcome.NOTHING_NEW)
    assert record.unanswered([DRIFT]) == []


def test_a_person_may_always_ask(tmp_path: Path) -> None:
    record = RetrainingRecord(tmp_path, "tidegate-test")
    wish = Reason(ReasonKind.MANUAL, "k3", None, None, "new broker")
    with record.open_request([wish], 0) as asked:
        record.end(asked, Outcome.NEW_VERSION, "3", "done", 0)
    assert record.unanswered([wish]) == [wish]


def test_the_pause_counts_from_the_newest_end(tmp_path: Path) -> None:
    record = RetrainingRecord(tmp_path, "tidegate-test")
    assert record.pause_left_seconds(0, 12.0) == 0.0
    answered(record, Outcome.NOTHING_NEW, now=10 * HOUR)
    assert record.pause_left_seconds(13 * HOUR, 12.0) == 9 * 3600.0
    assert record.pause_left_seconds(23 * HOUR, 12.0) == 0.0


def test_two_retrainings_at_once_are_refused(tmp_path: Path) -> None:
    record, other = (RetrainingRecord(tmp_path, "tidegate-test") for _ in range(2))
    with record.open_request([DRIFT], 0), pytest.raises(RefusedError, match="under way"), other.open_request([AGE], 1):
        raise AssertionError("two at once")
    assert [request.asked.reasons for request in record.requests()] == [(DRIFT,)]


def test_a_killed_retraining_is_asked_for_again_and_its_torn_line_is_cut_off(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path\n"
        "from training.retraining.reasons import Reason, ReasonKind\n"
        "from training.retraining.requests import RetrainingRecord\n"
        "record = RetrainingRecord(Path(sys.argv[1]), 'tidegate-test')\n"
        "with record.open_request([Reason(ReasonKind.DRIFT, 'k1', 0.4, 0.3, 'drift')], 0):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, env={**os.environ})
    assert done.returncode == -9
    with (tmp_path / "tidegate-test.jsonl").open("ab") as stream:
        stream.write(b'{"type": "ended", "requ')
    record = RetrainingRecord(tmp_path, "tidegate-test")
    assert record.unanswered([DRIFT]) == [DRIFT]
    answered(record, Outcome.NEW_VERSION)
    assert [request.ended is not None for request in record.requests()] == [False, True]
    assert record.unanswered([DRIFT]) == []


def test_a_damaged_record_is_said(tmp_path: Path) -> None:
    record = RetrainingRecord(tmp_path, "tidegate-test")
    answered(record, Outcome.NEW_VERSION)
    path = tmp_path / "tidegate-test.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"asked"', b'"axked"', 1))
    with pytest.raises(IntegrityError, match="damaged"):
        record.unanswered([DRIFT])
