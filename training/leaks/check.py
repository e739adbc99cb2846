"""All leak checks of a data set and its folds, as the offline gate asks for them.

Three kinds. *Time* is checked exactly: spans, label ends, holdout. *Single features* are checked for skill that is too
good to be true, alone and out of fold, and for skill that vanishes when the feature is one row older although it was
strong: that is what a column does that was aligned one bar too late. *Adversarial*: a feature that tells test from
training rows almost surely is a clock, and a model can learn eras by it.

A leak that adds less than noise, or a strong honest signal that lasts for a single bar, cannot be told apart from data
alone; the limits say where the line is drawn.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.labels import FLAT, LONG
from training.leaks import single, spans
from training.leaks.report import FeatureCheck, LeakLimits, LeakReport, LeakRule
from training.splits import Split

# What a feature is asked, and whether that is about the way price moved or about how far.
QUESTIONS = {
    "label_direction": "direction",
    "label_movement": "movement",
    "next_direction": "direction",
    "next_movement": "movement",
}
MAXIMUM_ROWS = 40_000  # of the feature checks: beyond it every n-th decision time is looked at


def check_leaks(dataset: Dataset, folds: Sequence[Split], seed: int, limits: LeakLimits | None = None) -> LeakReport:
    """Look for what the rows should not know.

    Args:
        dataset: the rows.
        folds: the splits the model is judged by.
        seed: of the rotations.
        limits: from where a finding is a leak; the defaults are argued in ``LeakLimits``.
    """
    limits = limits or LeakLimits()
    rules = [
        spans.overlaps(dataset, folds),
        spans.purge_removed(dataset, folds),
        spans.label_ends(dataset),
        spans.holdout(dataset),
    ]
    rows, thinned = _thin(dataset, folds)
    weights = dataset.weights[rows]
    answers = _answers(dataset, rows)
    generator = np.random.default_rng(seed)
    shares = generator.uniform(0.1, 0.9, limits.draws)
    # The questions about the rows themselves come first, then the same about each rotation.
    together = _side_by_side([answers, *(answers[_rotation(dataset, rows, share)] for share in shares)])
    plain = single.Answers(together.counts[:, : len(QUESTIONS)].copy(), together.yes[:, : len(QUESTIONS)].copy())
    order, before = _previous(dataset)
    checks: list[FeatureCheck] = []
    strongest = np.zeros(len(QUESTIONS))
    for column, name in enumerate(dataset.feature_names):
        values = dataset.features[:, column]
        older = np.full(len(values), np.nan, np.float32)
        older[order] = np.where(before >= 0, values[np.maximum(before, 0)], np.nan)
        now, lagged = values[rows], older[rows]
        coded = [single.bin_codes(now, fold.train) for fold in thinned]
        found = single.skills(coded, together, weights, thinned).reshape(-1, len(QUESTIONS))
        strongest = np.maximum(strongest, found[1:].max(axis=0, initial=0.0))
        coded = [single.bin_codes(lagged, fold.train) for fold in thinned]
        again = single.skills(coded, plain, weights, thinned)
        apart = single.separation(now, thinned)
        checks.append(FeatureCheck(name, _by_question(found[0]), _by_question(again), apart))
    noise = _by_question(strongest)
    rules += feature_rules(checks, noise, limits)
    return LeakReport(tuple(rules), tuple(checks), noise, len(rows), seed)


def judge_again(report: LeakReport, limits: LeakLimits) -> tuple[LeakRule, ...]:
    """Return a report's rules by other limits: what is exact stays, what was measured of each feature is judged anew.

    The number of rotations is that of the report: ``limits.draws`` is of the next one.
    """
    if not report.features:
        return report.rules
    judged = {rule.name: rule for rule in feature_rules(report.features, report.noise, limits)}
    return tuple(judged.get(rule.name, rule) for rule in report.rules)


def _by_question(values: NDArray[np.float64]) -> dict[str, float]:
    return {question: float(value) for question, value in zip(QUESTIONS, values, strict=True)}


def _side_by_side(answers: Sequence[NDArray[np.int8]]) -> single.Answers:
    table = np.concatenate(answers, axis=1)
    return single.Answers((table >= 0).astype(np.uint8), (table == 1).astype(np.uint8))


def feature_rules(checks: Sequence[FeatureCheck], noise: Mapping[str, float], limits: LeakLimits) -> list[LeakRule]:
    """Return the rules about single features, by these limits."""
    rules: list[LeakRule] = []
    for question, about in QUESTIONS.items():
        limit = max(getattr(limits, about), noise[question])
        suspect = max(getattr(limits, f"suspect_{about}"), noise[question])
        skill = {check.name: check.skill[question] for check in checks}
        best = max(skill, key=lambda name: (skill[name], name))
        what = question.replace("_", " ")
        words = f"{best} alone has a skill of {skill[best]:+.1%} for the {what} (noise reaches {noise[question]:+.1%})"
        rules.append(LeakRule(f"{question}_skill", skill[best] <= limit, skill[best], limit, words))
        lost = {
            check.name: 1.0 - max(check.lagged[question], 0.0) / check.skill[question]
            for check in checks
            if check.skill[question] > suspect
        }
        worst = max(lost, key=lambda name: (lost[name], name)) if lost else None
        value, most = (0.0 if worst is None else lost[worst]), 1.0 - limits.retained
        words = (
            f"no feature is strong enough for the {what} to be suspect"
            if worst is None
            else f"{worst}, one row older, loses {value:.0%} of its skill of {skill[worst]:+.1%} for the {what}"
        )
        rules.append(LeakRule(f"{question}_shift", value <= most, value, most, words))
    clock = max(checks, key=lambda check: (check.time_separation, check.name))
    rules.append(
        LeakRule(
            "time",
            clock.time_separation <= limits.time_separation,
            clock.time_separation,
            limits.time_separation,
            f"{clock.name} tells test from training rows with an area under the curve of {clock.time_separation:.3f} "
            "in every fold",
        )
    )
    return rules


def _answers(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return the answers to ``QUESTIONS``, int8 [n, K]: 1 yes, 0 no, -1 the row does not count.

    About the label: which way price moved, among rows that moved beyond cost, and whether it did. About the next bar,
    which a label of many bars would drown: which way it went, and whether it went further than its volatility's median.
    Of a meta-label the way is its side where it paid and the other one where it did not.
    """
    label, side = dataset.label[rows], None if dataset.side is None else dataset.side[rows]
    if side is None:
        direction, movement = np.where(label == FLAT, -1, label == LONG), label != FLAT
    else:
        direction = np.where(side == 0, -1, (side > 0) == (label != FLAT))
        movement = np.where(side == 0, -1, label != FLAT)
    step = dataset.economics["step_return"][rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.abs(step) / dataset.economics["volatility"][rows]
    known = np.isfinite(size)
    middle = np.median(size[known]) if known.any() else 0.0
    next_direction = np.where(np.isfinite(step) & (step != 0.0), step > 0.0, -1)
    next_movement = np.where(known, size > middle, -1)
    return np.column_stack([direction, movement, next_direction, next_movement]).astype(np.int8)


def _previous(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all rows ordered by instrument and time, and the row before each of its instrument; -1: none."""
    order = np.lexsort((dataset.time_ns, dataset.instrument))
    before = np.concatenate([[-1], order[:-1]])
    first = np.concatenate([[True], np.diff(dataset.instrument[order]) != 0])
    return order, np.where(first, -1, before)


def _rotation(dataset: Dataset, rows: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Return whose answers each row gets when those of each instrument move by a share of its rows, int64 [n].

    What binds answers to features is cut; their own autocorrelation stays, and what the instruments have in common.
    """
    source = np.empty(len(rows), np.int64)
    instrument = dataset.instrument[rows]
    for index in np.unique(instrument):
        own = np.flatnonzero(instrument == index)
        source[own] = np.roll(own, int(share * len(own)))
    return source


def _thin(dataset: Dataset, folds: Sequence[Split]) -> tuple[NDArray[np.int64], list[Split]]:
    """Return the rows to look at, and the folds in positions among them."""
    every = -(-len(dataset.label) // MAXIMUM_ROWS)
    if every == 1:
        return np.arange(len(dataset.label)), list(folds)
    _, step = np.unique(dataset.time_ns, return_inverse=True)
    keep = step % every == 0
    place = np.cumsum(keep) - 1
    thinned = [
        Split(fold.number, place[fold.train[keep[fold.train]]], place[fold.test[keep[fold.test]]], fold.test_window)
        for fold in folds
    ]
    return np.flatnonzero(keep), thinned
