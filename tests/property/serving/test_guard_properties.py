"""The guard over random figures: it never flaps, a critical trigger acts at once, and nothing without a figure."""

import itertools
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import NANOSECONDS
from serving.release.approval import Approval, Decision, Scope
from serving.release.cooldown import CoolDown
from serving.release.findings import Severity, TriggerKind
from serving.release.guard import Episode, Key, Seen, Verdict, decide
from serving.release.rollback import FLAT
from serving.release.triggers import Limits, Measure, RollbackParameters, judge
from serving.traffic.pointer import Pointer, Standing
from serving.traffic.policy import Mode, Traffic

STRATEGY = "tidegate-test"
TICK_NS = NANOSECONDS // 4
PARAMETERS = RollbackParameters(warning_ticks=3, cool_down_seconds=10.0)
KINDS = (TriggerKind.LATENCY, TriggerKind.ERRORS, TriggerKind.MISSING, TriggerKind.LOSS)


def standing(version: int) -> Standing:
    draft = Approval(
        sequence=version,
        time_ns=version,
        strategy=STRATEGY,
        version=str(version),
        model_digest=f"{version:064d}",
        evidence_digest=f"{version:064d}",
        decision=Decision.APPROVED,
        scope=Scope.PAPER,
        by="reviewer",
        reason="test",
        previous_hash="0" * 64,
    )
    return Standing.of(msgspec.structs.replace(draft, hash=draft.computed_hash()), "linear")


def policy(champion: int, challenger: int | None, flat: str = "", revision: int = 1) -> Pointer:
    first = standing(champion)
    return Pointer(
        strategy=STRATEGY,
        revision=revision,
        version="" if flat else first.version,
        model_digest="" if flat else first.model_digest,
        evidence_digest="" if flat else first.evidence_digest,
        approval=None if flat else first.approval,
        challenger=standing(challenger) if challenger is not None else None,
        traffic=Traffic(mode=Mode.CANARY, share=0.1, salt="r") if challenger is not None else Traffic(),
        flat=flat,
    )


def measure(kind: TriggerKind, arm: str, version: str, value: float | None) -> Measure:
    return Measure(kind=kind, strategy=STRATEGY, arm=arm, version=version, value=value)


VALUES = st.one_of(st.none(), st.sampled_from([math.nan, math.inf, 0.0, 0.015, 0.06, 0.3]), st.floats(0, 0.4))
LOOKS = st.lists(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(["champion", "challenger"]), VALUES), max_size=4),
    min_size=1,
    max_size=80,
)


class World:
    """Champions 9, 8, 7 … of a history, a challenger that people approve again and again, and the guard's memory."""

    def __init__(self, parameters: RollbackParameters) -> None:
        self.parameters = parameters
        self.champion, self.challenger, self.flat, self.revision = 9, 100, "", 1
        self.cool_down = CoolDown()
        self.episodes: dict[Key, Episode] = {}
        self.champions_taken: list[int] = []  # times

    def look(self, now_ns: int, figures: list[tuple[TriggerKind, str, float | None]]) -> tuple[Seen, Verdict]:
        current = policy(self.champion, None if self.flat else self.challenger, self.flat, self.revision)
        versions = {"champion": str(self.champion), "challenger": str(self.challenger)}
        unique = {(kind, arm): measure(kind, arm, versions[arm], value) for kind, arm, value in figures}
        seen = Seen(policy=current, measures=tuple(unique.values()), cool_down=self.cool_down, now_ns=now_ns)
        verdict = decide(seen, self.episodes, self.parameters)
        self.episodes = verdict.episodes
        if verdict.act is not None:
            self.revision += 1
            if verdict.to == FLAT:
                self.flat = verdict.act.words
            elif verdict.act.arm == "champion":
                self.champion -= 1
                self.champions_taken.append(now_ns)
            self.challenger += 1
            self.cool_down = CoolDown(now_ns + round(self.parameters.cool_down_seconds * NANOSECONDS), "000001")
        return seen, verdict


@settings(max_examples=60)
@given(LOOKS)
def test_never_flaps_and_never_acts_without_a_figure(looks: list[list[tuple[TriggerKind, str, float | None]]]) -> None:
    world = World(PARAMETERS)
    for number, figures in enumerate(looks):
        now = 1_000 * NANOSECONDS + number * TICK_NS
        was_flat = world.flat
        seen, verdict = world.look(now, figures)
        if verdict.act is not None:
            act = verdict.act
            assert not was_flat
            assert act.value is not None and math.isfinite(act.value)
            assert act.limit is not None and act.value >= PARAMETERS.clear * act.limit
            assert any(m.version == verdict.version and m.value == act.value for m in seen.measures)
    taken = world.champions_taken
    assert all(
        later - earlier >= PARAMETERS.cool_down_seconds * NANOSECONDS for earlier, later in itertools.pairwise(taken)
    )


@given(kind=st.sampled_from(KINDS), arm=st.sampled_from(["champion", "challenger"]), value=st.floats(0.3, 1e6))
def test_critical_acts_at_the_first_look(kind: TriggerKind, arm: str, value: float) -> None:
    _, verdict = World(PARAMETERS).look(1, [(kind, arm, value)])
    assert verdict.act is not None
    assert (verdict.act.kind, verdict.act.arm, verdict.act.severity) == (kind, arm, Severity.CRITICAL)
    assert verdict.to is None


@given(kind=st.sampled_from(KINDS), arm=st.sampled_from(["champion", "challenger"]), looks=st.integers(1, 8))
def test_warning_acts_after_enough_looks_in_a_row(kind: TriggerKind, arm: str, looks: int) -> None:
    limit = PARAMETERS.limits(kind)
    assert limit is not None and limit.warning is not None
    world = World(PARAMETERS)
    for number in range(1, looks + 1):
        _, verdict = world.look(number, [(kind, arm, limit.warning * 1.1)])
        assert (verdict.act is not None) == (number == PARAMETERS.warning_ticks)
        if verdict.act is not None:
            return


def test_in_a_cool_down_a_champion_goes_to_flat_for_money_only() -> None:
    for kind, to in ((TriggerKind.LATENCY, "stays"), (TriggerKind.ERRORS, "stays"), (TriggerKind.LOSS, FLAT)):
        world = World(PARAMETERS)
        world.cool_down = CoolDown(100 * NANOSECONDS, "000007")
        _, verdict = world.look(NANOSECONDS, [(kind, "champion", 1.0)])
        if to == FLAT:
            assert verdict.act is not None and verdict.to == FLAT
            continue
        assert verdict.act is None
        assert len(verdict.notify) == 1
        assert "cool-down after rollback 000007 for 99 more seconds" in verdict.notify[0][1]
        _, again = world.look(2 * NANOSECONDS, [(kind, "champion", 1.0)])
        assert again.notify == ()  # told once
        _, after = world.look(101 * NANOSECONDS, [(kind, "champion", 1.0)])
        assert after.act is not None and after.to is None


def test_both_arms_slow_takes_back_what_came_last() -> None:
    world = World(PARAMETERS)
    slow: list[tuple[TriggerKind, str, float | None]] = [
        (TriggerKind.LATENCY, arm, 1.0) for arm in ("champion", "challenger")
    ]
    _, verdict = world.look(1, slow)
    assert verdict.act is not None and verdict.act.arm == "challenger"
    assert world.champion == 9


@given(st.lists(st.floats(0.0, 0.03), min_size=2, max_size=40))
def test_hysteresis_ends_only_below_the_clearing_share(values: list[float]) -> None:
    parameters = RollbackParameters(error_rate=Limits(warning=0.01))
    before: Severity | None = None
    for value in values:
        trigger = judge(measure(TriggerKind.ERRORS, "champion", "9", value), parameters, before, 1)
        if before is None:
            assert (trigger is not None) == (value > 0.01)
        else:
            assert (trigger is not None) == (value >= 0.01 * parameters.clear)
        before = trigger.severity if trigger is not None else None


def test_switched_off_or_of_a_version_that_is_gone_nothing_is_taken_back() -> None:
    off = World(msgspec.structs.replace(PARAMETERS, automatic=False))
    _, verdict = off.look(1, [(TriggerKind.LOSS, "champion", 1.0)])
    assert verdict.act is None and "rollback.automatic" in verdict.notify[0][1]
    stale = Seen(
        policy=policy(9, None),
        measures=(measure(TriggerKind.LOSS, "challenger", "100", 1.0), measure(TriggerKind.LOSS, "champion", "8", 1.0)),
        cool_down=CoolDown(),
        now_ns=1,
    )
    assert decide(stale, {}, PARAMETERS) == Verdict(episodes={})


@pytest.mark.parametrize(
    "wrong",
    [
        {"clear": 0.0},
        {"warning_ticks": 0},
        {"loss": {"warning": 0.02, "critical": 0.01}},
        {"error_rate": {"critical": -1.0}},
        {"positions": "burn"},
        {"unknown": 1},
        {"tick_seconds": 0.0},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    from core.errors import BadInputError

    with pytest.raises(BadInputError, match="rollback parameters"):
        RollbackParameters.read({"rollback": wrong})
