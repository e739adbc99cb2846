"""A rollback killed with SIGKILL at every place: another process ends it in the same state, with the same records."""

import os
import shutil
import signal
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from serving_packages import approval_of, verified

from core import crash_points
from core.database import create_engine, migrate
from core.logging import quiet
from core.settings import Settings
from serving.release.approval import Approval, Decision, Scope
from serving.release.approvals import ApprovalLedger
from serving.release.bars import read_bars
from serving.release.evidence import VerifiedPackage
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.notifications import NotificationSink
from serving.release.releases import Releases
from serving.release.rollback import roll_back, strategy_folder
from serving.release.rollback_completion import Action, complete, resume_rollbacks
from serving.release.rollback_record import Positions, StepName, read_intent, read_records
from serving.release.rollback_steps import approvals_action, check_action, notification_action, release_action
from serving.release.signing import ApprovalKeys
from serving.release.states import Cause, ReleaseState, Transition
from serving.store import ModelStore
from serving.traffic.policy import Mode, Traffic
from tidegate.release_report.rollback import report_action, report_path
from tidegate.rollback_positions import positions_action

STRATEGY = "tidegate-test"
NOW = 1_800_000_000_000_000_000


class StandingClock:
    """One moment, so that two runs write the same bytes."""

    def time_ns(self) -> int:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here waits")


CLOCK = StandingClock()


def ledgers(state: Path) -> tuple[ApprovalLedger, Releases]:
    engine = create_engine(f"sqlite:///{state / 'platform.db'}")
    return ApprovalLedger(engine, CLOCK, ApprovalKeys(state / "keys")), Releases(engine, CLOCK)


def approved(ledger: ApprovalLedger, package: VerifiedPackage, version: str) -> Approval:
    return ledger.append(
        strategy=STRATEGY,
        version=version,
        model_digest=package.model_digest,
        evidence_digest=package.evidence_digest,
        decision=Decision.APPROVED,
        scope=Scope.PAPER,
        by="reviewer",
        reason="read",
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 were champions, version 3 is in canary; store, ledgers and keys of one state directory."""
    state = tmp_path_factory.mktemp("template") / "state"
    (state / "serving").mkdir(parents=True)
    engine = create_engine(f"sqlite:///{state / 'platform.db'}")
    migrate(engine)
    engine.dispose()
    ledger, releases = ledgers(state)
    store = ModelStore(state / "serving")
    approvals: list[Approval] = []
    for number in (1, 2, 3):
        package = verified(state.parent / str(number), bias=float(number), strategy=STRATEGY)
        store.add(package)
        approvals.append(approved(ledger, package, str(number)))
    first, second, third = approvals
    store.move(first)
    store.move(second)
    store.set_policy(
        STRATEGY, champion=second, challenger=third, traffic=Traffic(mode=Mode.CANARY, share=0.25, salt="release")
    )
    release = releases.open(
        strategy=STRATEGY,
        version="3",
        model_digest=third.model_digest,
        evidence_digest=third.evidence_digest,
        policy={},
        cause=Cause.REVIEWER,
        reason="approved",
        actor="tidegate",
    )
    for to, cause in ((ReleaseState.APPROVED, Cause.REVIEWER), (ReleaseState.SHADOW, Cause.RULES)):
        draft = Transition(to=to, cause=cause, reason="test", approval=3, against=second.model_digest)
        release = releases.append(release.release_id, draft, actor="tidegate")
    draft = Transition(to=ReleaseState.CANARY, cause=Cause.RULES, reason="test")
    releases.append(release.release_id, draft, actor="tidegate")
    assert approval_of(package, "3").model_digest == third.model_digest
    return state


def steps(state: Path) -> Mapping[StepName, Action]:
    """Every step but the registry's: it is away, and stays pending."""
    settings = Settings(state_directory=state)
    return {
        StepName.POSITIONS: positions_action(settings),
        StepName.NOTIFICATION: notification_action(NotificationSink(state), lambda r: report_path(state, r).name),
        StepName.CHECK: check_action(lambda strategy: {}, 1.0, CLOCK.time_ns),
        StepName.APPROVALS: approvals_action(lambda: ledgers(state)[0]),
        StepName.RELEASE: release_action(lambda: ledgers(state)[1]),
        StepName.REPORT: report_action(state),
    }


def trigger(arm: str) -> Trigger:
    return Trigger(
        kind=TriggerKind.ERRORS,
        severity=Severity.CRITICAL,
        strategy=STRATEGY,
        arm=arm,
        value=0.5,
        limit=0.05,
        time_ns=NOW,
        words=f"{arm} failed on half of its requests",
    )


def take_back(state: Path, arm: str) -> None:
    store = ModelStore(state / "serving")
    record = roll_back(store, STRATEGY, trigger(arm), actor="guard", clock=CLOCK, positions=Positions.FLATTEN)
    complete(store, record, steps(state), CLOCK)


def killed_at(place: str, state: Path, arm: str) -> None:
    """Roll back in a child that dies at a place."""
    child = os.fork()
    if child == 0:
        try:
            crash_points.arm(place)
            with quiet():
                take_back(state, arm)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"{place} was not reached"


def outcome(state: Path) -> dict[str, Any]:
    """Everything a rollback leaves behind."""
    store, (ledger, releases) = ModelStore(state / "serving"), ledgers(state)
    folder = strategy_folder(store, STRATEGY)
    (record,) = read_records(folder)
    assert read_intent(folder) is None
    assert len({step.name for step in record.steps}) == len(record.steps)
    releases.verify()
    return {
        "policy": store.pointer(STRATEGY),
        "policies": sorted(path.name for path in (folder / "policies").iterdir()),
        "bars": read_bars(folder),
        "record": msgspec.structs.replace(record, steps=()),
        "steps": [(step.name, step.words.replace(str(state), "")) for step in record.steps],
        "pending": record.pending,
        "approvals": ledger.verify_chain(),
        "transitions": releases.records(),
        "releases": [(release.release_id, release.state) for release in releases.releases()],
        "notifications": NotificationSink(state).read(),
        "kill switch": (state / "control" / "kill-switch.json").read_bytes(),
        "report": report_path(state, record).exists(),
        "left over": sorted(path.name for path in folder.iterdir() if path.name.endswith(".partial")),
    }


PLACES = (
    "rollback.intended",
    "rollback.barred",
    "rollback.policy_written",
    "rollback.in_force",
    *(f"rollback.step_done:{number}" for number in range(1, 7)),
    *(f"rollback.step_written:{number}" for number in (1, 3, 5)),
)


@pytest.mark.parametrize("arm", ["challenger", "champion"])
def test_killed_anywhere_it_ends_the_same(arm: str, template: Path, tmp_path: Path) -> None:
    with quiet():
        reference = tmp_path / "reference"
        shutil.copytree(template, reference)
        take_back(reference, arm)
        expected = outcome(reference)
        version = "2" if arm == "challenger" else "1"
        assert expected["policy"].version == version and expected["policy"].revision == 4
        assert expected["pending"] == (StepName.REGISTRY, StepName.REPORT)
        assert len(expected["notifications"]) == 1
        rejected = [record.version for record in expected["approvals"] if record.decision is Decision.REJECTED]
        assert rejected == (["3"] if arm == "challenger" else ["2", "3"])
        # A champion's way back is the same code: three places are enough there.
        for place in PLACES if arm == "challenger" else PLACES[1:4]:
            state = tmp_path / place.replace(":", "-")
            shutil.copytree(template, state)
            killed_at(place, state, arm)
            for _ in range(2):  # once to end it, once more to show that nothing is doubled
                resume_rollbacks(ModelStore(state / "serving"), steps(state), CLOCK)
                assert outcome(state) == expected, place
            shutil.rmtree(state)
