"""Releases on a real registry: from approval to champion, and every way a version is stopped."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from release_room import DAY_NS, NAME, QUICK, START_NS, Desk, make_desk, make_registry

from core.errors import RefusedError, UnavailableError
from core.settings import MlflowSettings, Settings
from serving.release.advance import abandon, advance, open_release, promote_now, waiting_approvals
from serving.release.approvals import Scope
from serving.release.bars import read_bars
from serving.release.effects import resume_all
from serving.release.evidence import VerifiedPackage
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.rollback import roll_back, strategy_folder
from serving.release.states import Cause, ReleaseState, Transition
from serving.traffic.policy import Mode, Traffic

Registry = tuple[Settings, dict[str, VerifiedPackage]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return make_registry(tmp_path_factory.mktemp("release-story"))


@pytest.fixture
def desk(registry: Registry, tmp_path: Path) -> Iterator[Desk]:
    desk = make_desk(*registry, tmp_path, f"sqlite:///{tmp_path}/platform.db")
    yield desk
    desk.room.approvals.engine.dispose()


def champion_one(desk: Desk) -> None:
    desk.approve("1")
    assert desk.advance() == ["approved", "champion"]
    assert desk.served() == ("1", "", "champion", 0.0)


def in_shadow(desk: Desk, version: str = "2") -> None:
    champion_one(desk)
    desk.approve(version)
    assert desk.advance() == ["approved", "shadow"]


def test_a_better_model_goes_from_one_approval_to_champion(desk: Desk) -> None:
    in_shadow(desk)
    assert desk.served() == ("1", "2", "shadow", 0.0)
    assert desk.aliases() == {"champion": "1", "shadow": "2"}
    desk.find(9)
    assert desk.advance() == []
    desk.find(10)
    assert desk.advance() == ["canary step 1"]
    assert desk.served() == ("1", "2", "canary", 0.1)
    assert desk.aliases() == {"champion": "1", "challenger": "2"}
    desk.find(10)
    assert desk.advance() == ["canary step 2"]
    assert desk.served() == ("1", "2", "canary", 0.5)
    desk.find(500, benefit=19.9)
    assert desk.advance() == []
    desk.find(500, benefit=20.0)
    assert desk.advance() == ["champion"]
    assert desk.served() == ("2", "", "champion", 0.0)
    assert desk.aliases() == {"champion": "2"}
    assert desk.tags("1")["release.state"] == "retired"
    assert desk.tags("2")["release.state"] == "champion"
    story = desk.tags("2")["release.timeline"].splitlines()
    assert [line.split("  ")[1] for line in story] == [
        "new → candidate",
        "candidate → approved",
        "approved → shadow",
        "shadow → canary step 1",
        "canary → canary step 2",
        "canary → champion",
    ]
    assert "e-value of benefit 20" in story[-1]
    records = desk.room.releases.verify()
    assert [record.after for record in records if record.version == "1"] == [
        "candidate",
        "approved",
        "champion",
        "retired",
    ]
    assert desk.room.releases.unfinished() == []
    assert desk.advance() == []


def test_a_worse_model_is_stopped_in_canary_and_barred(desk: Desk) -> None:
    in_shadow(desk)
    desk.find(10)
    desk.advance()
    desk.find(12, harm=25.0)
    assert desk.advance() == ["rolled_back"]
    assert desk.served() == ("1", "", "champion", 0.0)
    assert desk.aliases() == {"champion": "1"}
    assert desk.tags("2")["release.state"] == "rolled_back"
    last = desk.room.releases.history(f"{NAME}.2.1")[-1]
    assert last.figures["trigger"] == {"test": "harm", "value": 25.0, "limit": 20.0}
    assert last.figures["findings"]["difference"]["low"] is None  # minus infinity has no JSON
    (bar,) = read_bars(strategy_folder(desk.room.store, NAME))
    assert (bar.version, waiting_approvals(desk.room, NAME)) == ("2", [])
    assert desk.advance() == []
    desk.approve("2")  # somebody has looked again
    assert desk.advance() == ["approved", "shadow"]
    assert desk.room.releases.current(NAME).release_id == f"{NAME}.2.2"  # type: ignore[union-attr]


@pytest.mark.parametrize("test", ["harm", "calibration"])
def test_harm_and_calibration_stop_a_version_in_shadow(desk: Desk, test: str) -> None:
    in_shadow(desk)
    desk.find(1, **{test: 1000.0})
    assert desk.advance() == ["rolled_back"]
    assert desk.served() == ("1", "", "champion", 0.0)


def test_a_withdrawn_approval_ends_a_release(desk: Desk) -> None:
    in_shadow(desk)
    desk.find(10, benefit=100.0)
    desk.reject("2")
    assert desk.advance() == ["rejected"]
    assert desk.served() == ("1", "", "champion", 0.0)
    assert "shadow" not in desk.aliases()


def test_a_release_expires_after_its_days(desk: Desk) -> None:
    in_shadow(desk)
    desk.clock.advance_to(START_NS + 10 * DAY_NS)
    assert desk.advance() == []
    desk.clock.advance_to(START_NS + 10 * DAY_NS + 1)
    desk.find(3)
    assert desk.advance() == ["expired"]
    assert "3 of 10 decisions" in desk.tags("2")["release.reason"]
    assert desk.served() == ("1", "", "champion", 0.0)


def test_a_damaged_package_gets_no_traffic(desk: Desk) -> None:
    in_shadow(desk)
    folder = desk.room.store.package_folder(NAME, desk.packages["2"].evidence_digest)
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert desk.advance() == ["rejected"]
    assert "digest of model.onnx" in desk.tags("2")["release.reason"]
    assert desk.served() == ("1", "", "champion", 0.0)


def test_one_release_at_a_time_and_the_next_follows(desk: Desk) -> None:
    in_shadow(desk)
    third = desk.approve("3")
    with pytest.raises(RefusedError, match=r"version 2 of tidegate-test is being released \(shadow\)"):
        open_release(desk.room, third, QUICK)
    before = desk.room.releases.verify()
    assert desk.advance() == []  # it waits
    assert desk.room.releases.verify() == before
    assert [approval.version for approval in waiting_approvals(desk.room, NAME)] == ["3"]
    present = desk.room.releases.current(NAME)
    assert present is not None
    abandon(desk.room, present, actor="operator", reason="the next one is better")
    assert desk.served() == ("1", "", "champion", 0.0)
    assert desk.advance() == ["approved", "shadow"]
    assert desk.served() == ("1", "3", "shadow", 0.0)


def test_a_person_promotes_at_once_and_it_says_so(desk: Desk) -> None:
    in_shadow(desk)
    present = desk.room.releases.current(NAME)
    assert present is not None
    assert (
        promote_now(desk.room, present, actor="operator", reason="the champion's data source ends").state == "champion"
    )
    assert desk.served() == ("2", "", "champion", 0.0)
    record = desk.room.releases.history(present.release_id)[-1]
    assert (record.cause, record.actor, record.figures["manual"]) == ("operator", "operator", True)
    with pytest.raises(RefusedError, match="is champion: there is nothing to promote"):
        promote_now(desk.room, desk.room.releases.champion(NAME), actor="operator", reason="again")  # type: ignore[arg-type]


def test_approved_again_for_another_scope(desk: Desk) -> None:
    champion_one(desk)
    revision = desk.room.store.pointer(NAME).revision  # type: ignore[union-attr]
    desk.approve("1", Scope.LIVE)
    assert desk.advance() == ["champion"]
    pointer = desk.room.store.pointer(NAME)
    assert pointer is not None and pointer.approval is not None
    assert (pointer.version, pointer.approval.scope, pointer.revision) == ("1", Scope.LIVE, revision + 1)
    desk.approve("2")
    desk.advance()
    desk.find(5)
    desk.approve("2", Scope.LIVE)
    assert desk.advance() == ["shadow"]  # the comparison goes on
    pointer = desk.room.store.pointer(NAME)
    assert pointer is not None and pointer.challenger is not None
    assert pointer.challenger.approval.scope is Scope.LIVE


def test_beside_a_live_champion_a_version_for_paper_is_scored_and_does_not_trade(desk: Desk) -> None:
    desk.approve("1", Scope.LIVE)
    desk.approve("2")
    assert desk.advance() == ["approved", "champion", "approved", "shadow"]
    desk.find(10)
    assert desk.advance() == []
    desk.approve("2", Scope.LIVE)
    assert desk.advance() == ["shadow", "canary step 1"]  # it stands on the newer approval before it trades
    assert desk.room.releases.get(f"{NAME}.2.1").approval == 3


def test_an_experiment_and_a_release_do_not_share_decisions(desk: Desk) -> None:
    champion_one(desk)
    room, third = desk.room, desk.approve("3")
    champion = room.store.pointer(NAME)
    assert champion is not None
    room.store.add(desk.packages["3"])
    share = Traffic(mode=Mode.AB, share=0.5, salt="spring")
    room.store.set_policy(NAME, champion=champion.approval, challenger=third, traffic=share)
    assert desk.advance() == ["approved"]  # it waits, and the experiment goes on
    assert desk.served() == ("1", "3", "ab", 0.5)
    present = room.releases.current(NAME)
    assert present is not None
    with pytest.raises(RefusedError, match="`tidegate traffic end` first"):
        promote_now(room, present, actor="operator", reason="now")
    assert desk.served() == ("1", "3", "ab", 0.5)
    room.store.set_policy(NAME, champion=champion.approval)
    assert desk.advance() == ["shadow"]


def test_a_first_champion_can_be_left_to_a_person(desk: Desk) -> None:
    desk.policy = msgspec.structs.replace(QUICK, first="wait")
    desk.approve("1")
    assert desk.advance() == ["approved"]
    assert desk.served() == ("", "", "", 0.0)
    present = desk.room.releases.current(NAME)
    assert present is not None and present.state is ReleaseState.APPROVED
    promote_now(desk.room, present, actor="operator", reason="the desk is ready")
    assert desk.served() == ("1", "", "champion", 0.0)


def test_two_pairs_of_eyes(desk: Desk) -> None:
    champion_one(desk)
    desk.policy = msgspec.structs.replace(QUICK, four_eyes=True)
    desk.approve("2")
    assert desk.advance() == []
    assert [release.version for release in desk.room.releases.candidates(NAME)] == ["2"]
    desk.approve("2")  # the same person twice is one
    assert desk.advance() == []
    desk.approve("2", by="another")
    assert desk.advance() == ["approved", "shadow"]


def test_the_hand_over_is_a_blend_over_market_time(desk: Desk) -> None:
    desk.policy = msgspec.structs.replace(
        QUICK, canary=QUICK.canary[:1], hand_over=msgspec.structs.replace(QUICK.hand_over, hours=1.0)
    )
    in_shadow(desk)
    for _ in range(2):
        desk.find(10)
        desk.advance()
    pointer = desk.room.store.pointer(NAME)
    assert pointer is not None and pointer.traffic.blend is not None
    blend = pointer.traffic.blend
    assert (blend.first, blend.weight, blend.start_ns) == (0.1, 1.0, START_NS + 1)
    assert blend.end_ns == START_NS + 1 + 3_600_000_000_000
    desk.find(10, time_ns=blend.end_ns - 1)
    assert desk.advance() == []
    desk.find(10, time_ns=blend.end_ns)
    assert desk.advance() == ["champion"]


def test_the_release_keeps_the_rules_it_began_with(desk: Desk) -> None:
    in_shadow(desk)
    desk.policy = msgspec.structs.replace(
        QUICK, canary=(), shadow=msgspec.structs.replace(QUICK.shadow, minimum_decisions=1)
    )
    desk.find(9)
    assert desk.advance() == []
    desk.find(10)
    assert desk.advance() == ["canary step 1"]


def test_while_the_registry_is_away_the_policy_is_in_force_and_the_rest_follows(desk: Desk, tmp_path: Path) -> None:
    in_shadow(desk)
    there = desk.room
    away = MlflowSettings(tracking_uri=f"sqlite:///{tmp_path}/empty.db")  # it answers that it knows no such model
    desk.room = replace(there, settings=there.settings.model_copy(update={"mlflow": away}))
    desk.find(10)
    with pytest.raises(UnavailableError, match="registry could not be told"):
        desk.advance()
    assert desk.served() == ("1", "2", "canary", 0.1)
    assert [release.words for release in there.releases.unfinished()] == ["canary step 1"]
    desk.room = there
    assert desk.aliases() == {"champion": "1", "shadow": "2"}
    assert [release.words for release in resume_all(there)] == ["canary step 1"]
    assert desk.aliases() == {"champion": "1", "challenger": "2"}
    assert resume_all(there) == [] and advance(there, "tidegate-other", QUICK, desk.watch) == []


def test_of_many_who_carry_on_at_once_each_step_is_taken_once(desk: Desk) -> None:
    in_shadow(desk)
    desk.find(10)
    barrier, reached = threading.Barrier(4), list[str]()

    def carry_on() -> None:
        barrier.wait()
        reached.extend(desk.advance())

    threads = [threading.Thread(target=carry_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reached == ["canary step 1"]
    assert desk.served() == ("1", "2", "canary", 0.1)
    assert desk.room.store.pointer(NAME).revision == 3  # type: ignore[union-attr]
    assert desk.aliases() == {"champion": "1", "challenger": "2"}
    desk.room.releases.verify()
    assert desk.room.releases.unfinished() == []


def test_a_rollback_goes_before_a_release_that_was_not_applied(desk: Desk) -> None:
    in_shadow(desk)
    before = desk.room.releases.current(NAME)
    assert before is not None
    onward = Transition(to=ReleaseState.CANARY, cause=Cause.RULES, reason="exit tests hold")
    desk.room.releases.append(before.release_id, onward, actor="tidegate")  # killed here: not applied
    trigger = Trigger(
        kind=TriggerKind.ERRORS, severity=Severity.CRITICAL, strategy=NAME, arm="challenger",
        value=1.0, limit=0.05, time_ns=START_NS, words="every answer failed",
    )  # fmt: skip
    roll_back(desk.room.store, NAME, trigger, actor="guard", clock=desk.clock)
    revision = desk.room.store.pointer(NAME).revision  # type: ignore[union-attr]
    with pytest.raises(RefusedError, match="was rolled back"):
        desk.advance()  # its records are not written yet: nothing moves, and nothing gets traffic
    assert desk.served() == ("1", "", "champion", 0.0)
    taken_back = Transition(to=ReleaseState.ROLLED_BACK, cause=Cause.ROLLBACK, reason="every answer failed")
    desk.room.releases.append(before.release_id, taken_back, actor="guard")
    assert desk.advance() == []
    assert desk.room.store.pointer(NAME).revision == revision  # type: ignore[union-attr]
    assert desk.tags("2")["release.state"] == "rolled_back"
    assert desk.room.releases.unfinished() == []
