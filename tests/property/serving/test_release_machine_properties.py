"""Whatever happens in whatever order: the promises of the release machine and of its ledger."""

import math
from typing import Any

import msgspec
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from release_room import DAY_NS, EVIDENCE_DIGEST, NAME, QUICK, START_NS, approval, findings

from core.clock import SimulatedClock
from core.database import create_engine
from core.errors import BadInputError, RefusedError
from serving.release.findings import Findings
from serving.release.machine import EntryChecks, missing, next_transition, present_step, traffic_of
from serving.release.policy import ReleasePolicy
from serving.release.release_chain import replay
from serving.release.release_tables import head_table, releases_table, transitions_table
from serving.release.releases import Releases
from serving.release.states import (
    EDGES,
    OPEN,
    SCORED,
    TERMINAL,
    Cause,
    Release,
    ReleaseState,
    Transition,
    check_way,
)
from serving.traffic.policy import Mode

E_VALUES = st.one_of(st.floats(0.0, 30.0), st.sampled_from([0.0, 19.999, 20.0, 100.0, 1e300, math.inf, math.nan]))
COUNTS = st.integers(0, 40)
FOUND = st.one_of(
    st.none(),
    st.builds(
        findings, decisions=COUNTS, blocks=st.integers(0, 4), benefit=E_VALUES, harm=E_VALUES, calibration=E_VALUES
    ),
)


def release(state: ReleaseState, step: int = 0, **more: Any) -> Release:
    """A release in a state, with what it must have there."""
    usual: dict[str, Any] = {
        "release_id": f"{NAME}.2.1",
        "strategy": NAME,
        "version": "2",
        "model_digest": "2" * 64,
        "evidence_digest": EVIDENCE_DIGEST,
        "state": state,
        "step": step,
        "approval": 0 if state is ReleaseState.CANDIDATE else 2,
        "against": "1" * 64 if state in SCORED else "",
        "opened_ns": START_NS,
        "entered_ns": START_NS,
        "policy": QUICK.document(),
        "number": 1,
        "sequence": 1,
    }
    return Release(**(usual | more))


CHECKS = st.builds(
    EntryChecks,
    approval=st.one_of(st.none(), st.just(approval("2", 2)), st.just(approval("2", 9))),
    approvers=st.integers(0, 3),
    rejected=st.booleans(),
    champion=st.sampled_from(["", "1" * 64, "2" * 64, "3" * 64]),
    package_problem=st.sampled_from(["", "the digest of model.onnx differs"]),
    comparison_problem=st.sampled_from(["", "made for other features"]),
    scope_problem=st.sampled_from(["", "approved for paper"]),
)
RELEASES = st.one_of(
    st.sampled_from([state for state in ReleaseState if state is not ReleaseState.CANARY]).map(release),
    st.integers(0, 1).map(lambda step: release(ReleaseState.CANARY, step)),
)
POLICIES = st.builds(
    lambda first, eyes: msgspec.structs.replace(QUICK, first=first, four_eyes=eyes),
    st.sampled_from(["direct", "wait"]),
    st.booleans(),
)


@settings(max_examples=200)
@given(present=RELEASES, policy=POLICIES, found=FOUND, checks=CHECKS, age=st.floats(0.0, 40.0))
def test_one_decision(
    present: Release, policy: ReleasePolicy, found: Findings | None, checks: EntryChecks, age: float
) -> None:
    now = START_NS + int(age * DAY_NS)
    moved = next_transition(present, policy, found, now, checks)
    assert moved == next_transition(present, policy, found, now, checks)
    if present.state in TERMINAL:
        assert moved is None
    if moved is None:
        return
    check_way(present, moved)  # it is an edge, and one that the rules or a reviewer may take
    assert moved.reason and "\n" not in moved.reason
    forward = moved.to in OPEN | {ReleaseState.CHAMPION}
    if forward:  # nothing goes on without an approval that stands, nor with a package that does not hold
        assert checks.approval is not None and not (checks.rejected and present.state is not ReleaseState.CHAMPION)
        assert not checks.package_problem or present.state in (ReleaseState.CANDIDATE, ReleaseState.CHAMPION)
    if moved.to is ReleaseState.APPROVED and present.state is ReleaseState.CANDIDATE:
        assert checks.approvers >= (2 if policy.four_eyes else 1)
    if present.state in SCORED and forward and moved.cause is Cause.RULES:
        assert found is not None
        step = present_step(present, policy)
        assert found.decisions >= step.minimum_decisions and found.blocks >= step.minimum_blocks
        assert checks.champion == present.against and not checks.scope_problem
        harm = found.test("harm")
        assert harm is not None and not harm.largest_e_value >= 20.0
        if moved.to is ReleaseState.CHAMPION:
            benefit = found.test("benefit")
            assert present.step == 1 and benefit is not None and benefit.largest_e_value >= 20.0
    if moved.to is ReleaseState.EXPIRED and checks.champion == present.against and present.state in SCORED:
        assert age > present_step(present, policy).maximum_days
        assert missing(present, policy, found) or checks.scope_problem


@given(found=FOUND, step=st.integers(0, 1))
def test_more_evidence_of_harm_never_helps(found: Findings | None, step: int) -> None:
    checks = EntryChecks(approval=approval("2", 2), approvers=1, champion="1" * 64)
    present = release(ReleaseState.CANARY, step)
    if found is None:
        return
    harmful = findings(found.decisions, found.blocks, benefit=1e9, harm=20.0)
    moved = next_transition(present, QUICK, harmful, START_NS, checks)
    assert moved is not None and moved.to is ReleaseState.ROLLED_BACK


@given(step=st.integers(0, 2), hours=st.floats(0.1, 48.0))
def test_traffic_of_every_state_can_be_carried_out(step: int, hours: float) -> None:
    policy = msgspec.structs.replace(QUICK, hand_over=msgspec.structs.replace(QUICK.hand_over, hours=hours))
    for state in ReleaseState:
        present = release(state, step if state is ReleaseState.CANARY else 0, market_ns=START_NS)
        traffic = traffic_of(present, policy)
        traffic.check(challenger=state in SCORED)
        assert (traffic.mode is Mode.CHAMPION) == (state not in SCORED)
        if state is ReleaseState.CANARY and step < 2:
            assert traffic.share == policy.canary[step].share


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["open", "rules", "rules", "rules", "manual", "abandon", "rollback", "reject", "reinstate"]),
        st.sampled_from("1234"),
        FOUND,
        st.floats(0.0, 12.0),
    ),
    max_size=25,
)


@settings(max_examples=25)
@given(actions=ACTIONS)
def test_the_ledger_holds_whatever_is_asked(actions: list[tuple[str, str, Findings | None, float]]) -> None:
    engine = create_engine("sqlite:///:memory:")
    for table in (transitions_table, releases_table, head_table):
        table.create(engine)
    clock = SimulatedClock(START_NS)
    ledger = Releases(engine, clock)
    ended: dict[str, Release] = {}
    for number, (action, version, found, days) in enumerate(actions, start=1):
        clock.advance_to(clock.time_ns() + int(days * DAY_NS))
        before = ledger.records()
        try:
            act(ledger, action, version, found, number, clock)
        except (RefusedError, BadInputError):
            assert ledger.records() == before  # refused: nothing was changed
        every = ledger.releases(NAME)
        assert sum(one.state is ReleaseState.CHAMPION for one in every) <= 1
        assert sum(one.open for one in every) <= 1
        for one in every:
            assert one.approval > 0 or one.state not in OPEN | {ReleaseState.CHAMPION}
            assert ended.get(one.release_id, one) == one  # what has ended stays as it is
            if one.state in TERMINAL:
                ended[one.release_id] = one
        records = ledger.verify(before)
        assert set(replay(records)) == {one.release_id for one in every}
        assert [(r.before, r.after) for r in records if (r.before or None, r.after) not in WAYS] == []
    engine.dispose()


WAYS = {(str(edge.before) if edge.before else None, edge.after) for edge in EDGES}


def act(
    ledger: Releases, action: str, version: str, found: Findings | None, number: int, clock: SimulatedClock
) -> None:
    """Do one thing to a ledger, as the rooms around it do."""
    present, champion = ledger.current(NAME), ledger.champion(NAME)
    standing = champion.model_digest if champion else ""
    end = {"manual": ReleaseState.CHAMPION, "abandon": ReleaseState.RETIRED}
    if action == "open":
        ledger.open(
            strategy=NAME,
            version=version,
            model_digest=version * 64,
            evidence_digest=EVIDENCE_DIGEST,
            policy=QUICK.document(),
            cause=Cause.REVIEWER,
            reason="approved",
            actor="reviewer",
        )
    elif action == "reinstate":
        ledger.reinstate(approval(version, number), reason="the champion before", actor="guard")
    elif action == "rules":
        asked = [present] if present else ledger.candidates(NAME)
        for one in asked[:1]:
            checks = EntryChecks(approval=approval(one.version, max(one.approval, 1)), approvers=1, champion=standing)
            moved = next_transition(one, ReleasePolicy.of(one.policy), found, clock.time_ns(), checks)
            if moved is not None:
                ledger.append(one.release_id, moved, actor="tidegate", expected=one.sequence)
    elif action == "rollback":
        one = present or champion
        if one is not None:
            moved = Transition(to=ReleaseState.ROLLED_BACK, cause=Cause.ROLLBACK, reason="latency")
            ledger.append(one.release_id, moved, actor="guard")
    elif action == "reject":
        moved = Transition(to=ReleaseState.REJECTED, cause=Cause.REVIEWER, reason="a leak")
        ledger.append(f"{NAME}.{version}.1", moved, actor="reviewer")
    else:
        moved = Transition(to=end[action], cause=Cause.OPERATOR, reason="because")
        ledger.append(f"{NAME}.{version}.1", moved, actor="operator")


def test_no_way_leads_out_of_an_end() -> None:
    assert {edge.before for edge in EDGES}.isdisjoint(TERMINAL)
    assert {edge.after for edge in EDGES} == set(ReleaseState)


def test_the_database_itself_gives_one_place_to_one_release() -> None:
    engine = create_engine("sqlite:///:memory:")
    releases_table.create(engine)
    row = {"strategy": NAME, "state": "champion", "sequence": 1, "content": "{}", "applied": 0, "bento": ""}
    with engine.connect() as connection:
        connection.execute(releases_table.insert().values(release_id="a", champion_place=NAME, **row))
        try:
            connection.execute(releases_table.insert().values(release_id="b", champion_place=NAME, **row))
        except sa.exc.IntegrityError:  # type: ignore[attr-defined]
            return
    raise AssertionError("two champions")
