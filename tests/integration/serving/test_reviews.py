"""Decisions set in a registry without accounts: read once, complete or not at all, told on the version's page."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from review_room import ReviewRoom, register_version

from core.clock import SimulatedClock
from core.crash_points import VARIABLE
from core.database import create_engine, migrate
from core.errors import BadInputError, IntegrityError
from serving.release.approval import Approval, Authentication, Decision, Scope
from serving.release.review_requests import DAY_NS, RequestState, ReviewRequests, request_review
from serving.release.reviews import Outcome, remind
from serving.release.signing import ApprovalKeys

TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture
def room(
    registry: MlflowClient, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ReviewRoom]:
    monkeypatch.chdir(tmp_path)  # MLflow puts artifacts beside
    engine = create_engine(f"sqlite:///{tmp_path}/platform.db")
    migrate(engine)
    name = f"tidegate-{request.node.name.replace('_', '-')[:60]}"
    register_version(registry, name, tmp_path / "one")
    yield ReviewRoom(registry, name, engine, ApprovalKeys(tmp_path / "keys"), SimulatedClock(1_000 * DAY_NS))
    engine.dispose()


def records(room: ReviewRoom) -> list[Approval]:
    return room.ledger.verify_chain()


def test_a_decision_is_recorded_once_with_its_reason_and_told_on_the_page(room: ReviewRoom) -> None:
    assert room.watch() == []
    room.tag(approval="approved")
    assert room.watch() == [] and records(room) == []
    assert "without a reason nothing is recorded" in room.tags()["approval_status"]
    room.tag(approval_reason="the evidence holds")
    (decision,) = room.watch()
    assert (decision.outcome, decision.version) == (Outcome.RECORDED, "1")
    (record,) = records(room)
    assert (record.decision, record.scope, record.reason) == (Decision.APPROVED, Scope.PAPER, "the evidence holds")
    assert (record.user, record.authentication) == ("", Authentication.UNAUTHENTICATED)
    assert record.signed
    assert "approved for paper" in room.tags()["approval_status"]
    assert [room.watch() for _ in range(3)] == [[], [], []]
    # A changed mind is a second decision, and asks for a reason of its own.
    room.tag(approval="rejected")
    assert room.watch() == []
    assert "that of the last decision" in room.tags()["approval_status"]
    room.tag(approval_reason="it loses in trends")
    assert [d.outcome for d in room.watch()] == [Outcome.RECORDED]
    assert [r.decision for r in records(room)] == [Decision.APPROVED, Decision.REJECTED]
    # Emptied and set again, the same word is a decision again.
    room.client.delete_model_version_tag(room.name, "1", "approval")
    room.watch()
    room.tag(approval="rejected", approval_reason="still")
    room.watch()
    assert len(records(room)) == 3


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"approval": "yes", "approval_reason": "good"}, "set it to approved or rejected"),
        ({"approval": "approved", "approval_reason": "  "}, "without a reason"),
        ({"approval_scope": "demo", "approval": "approved", "approval_reason": "good"}, "set it to paper or live"),
    ],
)
def test_an_incomplete_form_records_nothing(room: ReviewRoom, tags: dict[str, str], words: str) -> None:
    room.tag(**tags)
    assert room.watch() == []
    assert records(room) == []
    assert words in room.tags()["approval_status"]


def test_nobody_known_approves_for_live_or_as_one_of_two(room: ReviewRoom) -> None:
    room.tag(approval_scope="live", approval="approved", approval_reason="good")
    (refused,) = room.watch()
    assert refused.outcome is Outcome.REFUSED and "somebody nobody knows" in refused.words
    assert room.watch() == []  # said once
    room.tag(approval_scope="paper")
    (refused,) = room.watch(four_eyes=True)
    assert "two people" in refused.words
    assert records(room) == []
    assert [alert.problem for alert in room.alerts.records()] == ["refused_decision", "refused_decision"]


def test_an_edited_package_is_refused_by_name_and_alerted_once(room: ReviewRoom) -> None:
    model = room.artifact("package/model.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    room.tag(approval="approved", approval_reason="good")
    (refused,) = room.watch()
    assert "model.onnx" in refused.words and room.watch() == []
    assert records(room) == []
    assert [alert.problem for alert in room.alerts.open()] == ["edited_artifact"]
    assert room.tags()["approval_status"] == refused.words


def test_a_version_that_was_taken_back_needs_a_new_decision(room: ReviewRoom) -> None:
    room.tag(approval="approved", approval_reason="good")
    (decision,) = room.watch()
    assert decision.record is not None
    room.ledger.append(
        strategy=room.name,
        version="1",
        model_digest=decision.record.model_digest,
        evidence_digest=decision.record.evidence_digest,
        decision=Decision.REJECTED,
        scope=Scope.PAPER,
        by="tidegate",
        reason="harm",
        authentication=Authentication.PLATFORM,
    )
    assert room.watch() == []
    tags = room.tags()
    assert "approval" not in tags and tags["approval_status"].startswith("taken back: harm")
    room.watch()
    room.tag(approval="approved", approval_reason="the cause is gone")
    (again,) = room.watch()
    assert again.record is not None
    assert room.ledger.standing(again.record.model_digest, strategy=room.name) == again.record


def test_a_broken_ledger_takes_no_decision_and_none_is_lost(room: ReviewRoom) -> None:
    room.tag(approval="approved", approval_reason="good")
    room.watch()
    with room.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE approvals_head SET hash = 'f'")
    room.tag(approval="rejected", approval_reason="bad")
    with pytest.raises(IntegrityError, match="ledger broken"):
        room.watch()
    with room.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE approvals_head SET hash = (SELECT hash FROM approvals)")
    assert [decision.outcome for decision in room.watch()] == [Outcome.RECORDED]


@pytest.mark.parametrize("point", ["approval.in_transaction", "approval.recorded"])
def test_a_watcher_killed_at_any_point_records_once(room: ReviewRoom, tmp_path: Path, point: str) -> None:
    room.tag(approval="approved", approval_reason="good")
    program = (
        "import sys; from pathlib import Path; from mlflow import MlflowClient\n"
        "from core.database import create_engine; from serving.release.approvals import ApprovalLedger\n"
        "from serving.release.reviews import watch_once; from serving.release.signing import ApprovalKeys\n"
        "uri, database, keys, name = sys.argv[1:]\n"
        "ledger = ApprovalLedger(create_engine(database), None, ApprovalKeys(Path(keys)))\n"
        "watch_once(MlflowClient(uri, uri), ledger, name)\n"
    )
    uri = str(room.client.tracking_uri)
    arguments = [uri, f"sqlite:///{tmp_path}/platform.db", str(tmp_path / "keys"), room.name]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env={**os.environ, VARIABLE: point}, cwd=tmp_path, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert "approval_status" not in room.tags()
    room.watch()
    room.watch()
    assert len(records(room)) == 1
    assert "approved for paper" in room.tags()["approval_status"]


def test_a_request_reminds_expires_and_is_settled_by_the_decision(room: ReviewRoom) -> None:
    requests = ReviewRequests(room.engine, room.clock)
    asked = request_review(room.client, requests, room.name, "1", requested_by="trainer", days=4, remind_days=1)
    assert request_review(room.client, requests, room.name, "1", requested_by="other").id == asked.id
    assert room.tags()["approval_status"].startswith("waiting for review until ")
    assert remind(room.client, requests, room.alerts) == []
    assert isinstance(room.clock, SimulatedClock)
    room.clock.advance_to(asked.requested_ns + 2 * DAY_NS)
    assert len(remind(room.client, requests, room.alerts)) == 1
    assert remind(room.client, requests, room.alerts) == []
    room.clock.advance_to(asked.due_ns)
    (words,) = remind(room.client, requests, room.alerts)
    assert "expired" in words and requests.waiting() == []
    assert [a.problem for a in room.alerts.records()] == ["review_waits", "review_expired"]
    second = request_review(room.client, requests, room.name, "1", requested_by="trainer", flow_run_id="run")
    room.tag(approval="rejected", approval_reason="too late")
    room.watch()
    (settled,) = requests.untold()
    assert (settled.id, settled.state, settled.decided_sequence) == (second.id, RequestState.REJECTED, 1)
    requests.told(settled)
    assert requests.untold() == []
    with pytest.raises(BadInputError, match="no version 9"):
        request_review(room.client, requests, room.name, "9", requested_by="trainer")
