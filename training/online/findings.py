"""From the trader's ledger to what a release decides on: paired outcomes, tests, bounds, figures of both versions."""

import math
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from core.database import create_engine
from serving.release.findings import ArmFigures, Bounds, Findings, SequentialTest
from serving.traffic.policy import Arm
from training.online.counterfactual import CounterfactualPath, is_compared
from training.online.decisions import Answer, DecisionStep, decided, read_steps
from training.online.outcomes import outcome_classes
from training.online.rules import Comparison, OnlineRules
from training.statistics.sequential.calibration import calibration_process, spaced
from training.statistics.sequential.mean import EProcess, confidence_sequence, e_process

Array = NDArray[np.float64]
_KEPT = 16  # comparisons whose newest findings are kept in this process
_newest: dict[tuple[sa.URL, Comparison, OnlineRules], tuple[tuple[int, int, int], Findings]] = {}
_WHOLE_EQUITY = 1.0  # bounds before the first bet: nothing is known, and a block cannot be shown as infinite


def findings_of(database: sa.Engine | str, comparison: Comparison, rules: OnlineRules) -> Findings:
    """Compare two versions over the decisions of a strategy.

    The same ledger gives the same findings; more decisions only add to them: blocks that are complete stay as they are.
    Asked again before another decision was made, the answer is the one of before: services ask every few seconds.

    Args:
        database: the trader's ledger, migrated, or its URL.
        comparison: of whom, and since when.
        rules: sizing, limits, levels and blocks.

    Returns:
        Tests and bounds over the whole comparison, counts and figures of its present step. ``time_ns`` is the newest
        decision. Without any compared decision the e-values are 1 and the bounds a whole equity wide.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away.
    """
    engine = create_engine(database) if isinstance(database, str) else database
    try:
        made = decided(engine, comparison.strategy, comparison.since_ns)
        key = (engine.url, comparison, rules)
        kept = _newest.get(key)
        if kept is not None and kept[0] == made:
            return kept[1]
        findings = found(read_steps(engine, comparison.strategy, comparison.since_ns), comparison, rules)
    finally:
        if isinstance(database, str):
            engine.dispose()
    while len(_newest) >= _KEPT:
        _newest.pop(next(iter(_newest)), None)
    _newest[key] = made, findings
    return findings


@dataclass(frozen=True)
class Paths:
    """Both versions over the compared steps that are over: index into the steps, returns and costs, float64 [M]."""

    steps: tuple[int, ...]
    champion: CounterfactualPath
    challenger: CounterfactualPath

    @property
    def differences(self) -> Array:
        return np.array(self.challenger.returns) - np.array(self.champion.returns)


def found(
    steps: list[DecisionStep], comparison: Comparison, rules: OnlineRules, paths: Paths | None = None
) -> Findings:
    """Return the findings of decision steps, oldest first; ``paths`` are those of ``follow_both``, if known."""
    paths = paths or follow_both(steps, comparison, rules)
    settings = rules.settings
    size = rules.block_steps
    count = len(paths.steps) // size
    blocks = paths.differences[: count * size].reshape(count, size).sum(axis=1)
    begin = comparison.step_since_ns if comparison.step_since_ns is not None else comparison.since_ns
    begun = [steps[paths.steps[index * size]].time_ns >= begin for index in range(count)]
    classes = known_classes(steps, rules)
    known, pending = _counts(steps, comparison, rules, begin, paths)
    alphas, cutting = rules.alphas, settings.cutting
    return Findings(
        time_ns=steps[-1].time_ns if steps else 0,
        decisions=known,
        pending=pending,
        blocks=sum(begun),
        difference=_bounds(blocks, rules),
        tests=(
            _test("benefit", e_process(blocks, cutting), alphas.benefit, count),
            _test("harm", e_process(-blocks, cutting), alphas.harm, count),
            _calibration(steps, comparison.challenger, classes, rules),
        ),
        arms=(
            _figures(Arm.CHAMPION, comparison.champion, paths.champion, paths, steps, begin, classes),
            _figures(Arm.CHALLENGER, comparison.challenger, paths.challenger, paths, steps, begin, classes),
        ),
    )


def follow_both(steps: list[DecisionStep], comparison: Comparison, rules: OnlineRules) -> Paths:
    """Let both versions trade from the first decision that both of them answered."""
    champion, challenger = (
        CounterfactualPath(comparison.strategy, digests, rules.sizing, rules.limits)
        for digests in (
            (comparison.champion, comparison.challenger),
            (comparison.challenger, comparison.champion),
        )
    )
    both = {comparison.champion, comparison.challenger}
    compared = [index for index, step in enumerate(steps) if is_compared(step)]
    first = next((n for n, index in enumerate(compared) if _pairs(steps[index], both)), len(compared))
    over: list[int] = []
    for index in compared[first:]:
        step = steps[index]
        paid = champion.decide(step), challenger.decide(step)
        if index + 1 == len(steps):
            break  # not over yet
        champion.mark(step, steps[index + 1].instruments, paid[0])
        challenger.mark(step, steps[index + 1].instruments, paid[1])
        over.append(index)
    return Paths(tuple(over), champion, challenger)


def _pairs(step: DecisionStep, both: set[str]) -> int:
    """Return for how many instruments of a step both versions answered."""
    return sum(both <= seen.answers.keys() for seen in step.instruments.values())


def _counts(
    steps: list[DecisionStep], comparison: Comparison, rules: OnlineRules, begin: int, paths: Paths
) -> tuple[int, int]:
    """Return the paired decisions since the step began whose outcome is known, and those still open."""
    both = {comparison.champion, comparison.challenger}
    over = set(paths.steps)
    known = pending = 0
    for index, step in enumerate(steps):
        if step.time_ns < begin or not is_compared(step):
            continue
        pairs = _pairs(step, both)
        if index in over and index + rules.sizing.horizon < len(steps):
            known += pairs
        else:
            pending += pairs
    return known, pending


def _bounds(blocks: Array, rules: OnlineRules) -> Bounds:
    low, high = confidence_sequence(blocks, rules.settings.cutting, rules.settings.confidence)
    return Bounds(
        mean=float(blocks.mean()) if len(blocks) else 0.0,
        low=max(low, -_WHOLE_EQUITY),
        high=min(high, _WHOLE_EQUITY),
        confidence=rules.settings.confidence,
    )


def _test(name: str, process: EProcess, alpha: float, observations: int) -> SequentialTest:
    return SequentialTest(
        name=name,
        e_value=process.value,
        largest_e_value=process.largest,
        threshold=1.0 / alpha,
        rejected=process.rejected_at(alpha) is not None,
        observations=observations,
    )


def known_classes(steps: list[DecisionStep], rules: OnlineRules) -> dict[tuple[int, str], int]:
    """Return the classes that came true, by number of the step and instrument; none where they cannot be told."""
    return outcome_classes(steps, rules.sizing) if rules.outcomes_known else {}


def calibration_rows(
    steps: list[DecisionStep], digest: str, classes: dict[tuple[int, str], int], rules: OnlineRules
) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """Return what a version said of decisions a whole horizon apart, and what came true.

    Returns:
        Numbers of the steps int64 [C], probabilities float64 [C, 3], classes int64 [C].
    """
    rows = [
        (index, answer.probabilities, classes[index, name])
        for index, name, answer in _answers(steps, digest)
        if (index, name) in classes
    ]
    numbers = np.array([row[0] for row in rows], np.int64)
    chosen = spaced(numbers, rules.sizing.horizon)
    said = np.array([row[1] for row in rows], np.float64).reshape(-1, 3)
    return numbers[chosen], said[chosen], np.array([row[2] for row in rows], np.int64)[chosen]


def _calibration(
    steps: list[DecisionStep], digest: str, classes: dict[tuple[int, str], int], rules: OnlineRules
) -> SequentialTest:
    numbers, said, came = calibration_rows(steps, digest, classes, rules)
    process = calibration_process(said, came, numbers)
    return _test("calibration", process, rules.alphas.calibration, len(process.logs))


def _answers(steps: list[DecisionStep], digest: str) -> list[tuple[int, str, Answer]]:
    """Return what a version said itself, in order of time and instrument."""
    return [
        (index, name, step.instruments[name].answers[digest])
        for index, step in enumerate(steps)
        for name in sorted(step.instruments)
        if digest in step.instruments[name].answers
    ]


def _figures(
    arm: Arm,
    digest: str,
    path: CounterfactualPath,
    paths: Paths,
    steps: list[DecisionStep],
    begin: int,
    classes: dict[tuple[int, str], int],
) -> ArmFigures:
    """Return one version's sums over the compared steps since the present one began."""
    inside = [number for number, index in enumerate(paths.steps) if steps[index].time_ns >= begin]
    over = {paths.steps[number] for number in inside}
    said = [(index, name, answer) for index, name, answer in _answers(steps, digest) if index in over]
    losses = [
        -math.log(max(answer.probabilities[classes[index, name]], 1e-12))
        for index, name, answer in said
        if (index, name) in classes
    ]
    return ArmFigures(
        arm=arm.value,
        model_version=said[-1][2].version if said else "",
        model_digest=digest,
        decisions=len(said),
        traded=sum(answer.traded for _, _, answer in said),
        net_return=sum(path.returns[number] for number in inside),
        cost=sum(path.costs[number] for number in inside),
        log_loss=sum(losses) / len(losses) if losses else None,
    )
