"""Figures that a loop reads for the guard: of this policy and fresh, or none."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from serving_packages import approval_of, verified

from core.clock import NANOSECONDS, SimulatedClock
from core.errors import UnavailableError
from serving.release.findings import TriggerKind
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Mode, Traffic
from tidegate.release_figures import SlowFigures
from tidegate.release_losses import Loss

STRATEGY = "tidegate-test"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelStore, Pointer]:
    """Version 2 in canary beside 1; the share was raised once."""
    folder = tmp_path_factory.mktemp("figures")
    store, approvals = ModelStore(folder / "serving"), []
    for number in (1, 2):
        package = verified(folder / str(number), bias=float(number), strategy=STRATEGY)
        store.add(package)
        approvals.append(approval_of(package, str(number), number))
    store.move(approvals[0])
    policy = store.pointer(STRATEGY)
    for share in (0.1, 0.3):
        traffic = Traffic(mode=Mode.CANARY, share=share, salt="r")
        policy = store.set_policy(STRATEGY, champion=approvals[0], challenger=approvals[1], traffic=traffic)
    assert policy is not None and policy.revision == 3
    return store, policy


def test_loss_and_drift_of_the_policy_in_force(place: tuple[ModelStore, Pointer], tmp_path: Path) -> None:
    store, policy = place
    clock, report, asked = SimulatedClock(1_000 * NANOSECONDS), tmp_path / "summary.json", list[int]()

    def losses(_: Pointer, since_revision: int) -> Sequence[Loss]:
        asked.append(since_revision)
        return [Loss(arm="challenger", version="2", share=0.015, decisions=12)]

    figures = SlowFigures(store, clock, lambda policy: None, losses, report)
    assert figures.measures(policy) == ()
    figures.refresh()
    assert asked == [2]  # the challenger came with revision 2; a larger share is no new role
    (loss,) = figures.measures(policy)
    assert (loss.kind, loss.arm, loss.version, loss.value) == (TriggerKind.LOSS, "challenger", "2", 0.015)

    report.write_text(json.dumps({"drifted": True, "share_drifted": 0.6, "share_threshold": 0.3}))
    figures.refresh()
    drift = next(m for m in figures.measures(policy) if m.kind is TriggerKind.DRIFT)
    assert (drift.arm, drift.version, drift.value, drift.limit, drift.crossed) == ("challenger", "2", 0.6, 0.3, True)
    os.utime(report, (1, 1))  # found before the challenger came: the release knew of it
    figures.refresh()
    assert [m.kind for m in figures.measures(policy)] == [TriggerKind.LOSS]
    report.write_text("{")
    figures.refresh()
    assert "`tidegate drift` again" in figures.troubles[f"drift of {STRATEGY}"]
    assert [m.kind for m in figures.measures(policy)] == [TriggerKind.LOSS]

    before = store.policy_at(STRATEGY, 2)
    assert before is not None and figures.measures(before) == ()  # of another revision
    clock.advance_to(1_031 * NANOSECONDS)
    assert figures.measures(policy) == ()  # nobody has read them for half a minute


def test_what_cannot_be_read_hides_nothing_else(place: tuple[ModelStore, Pointer], tmp_path: Path) -> None:
    store, policy = place
    report = tmp_path / "summary.json"
    report.write_text(json.dumps({"drifted": False, "share_drifted": 0.1, "share_threshold": 0.3}))

    def away(_: Pointer, since_revision: int) -> Sequence[Loss]:
        raise UnavailableError("the trader's ledger does not answer")

    figures = SlowFigures(store, SimulatedClock(NANOSECONDS), lambda policy: None, away, report)
    figures.refresh()
    assert figures.troubles == {f"loss of {STRATEGY}": "the trader's ledger does not answer"}
    assert [m.kind for m in figures.measures(policy)] == [TriggerKind.DRIFT]
