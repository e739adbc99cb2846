"""What one feature alone tells out of fold, compiled: class shares within bins, learnt on training rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from training.splits import Split

BINS = 10
MISSING = BINS  # the bin of rows without a value
_PRIOR = 20.0  # rows of the base rate that each bin starts with: a thin bin must not shout

Codes = NDArray[np.uint8]
Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class Answers:
    """Answers to K questions about R rows, uint8 [R, K] each: does the row count, and is the answer yes."""

    counts: Bits
    yes: Bits


@numba.njit(cache=True)
def skill_sums(  # pragma: no cover - compiled
    codes: Codes,
    counts: Bits,
    yes: Bits,
    weights: NDArray[np.float64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log loss, in nats, of the bins' shares on the test rows and that of the training share; [K] each.

    All questions go through in one pass: a row's bin is looked up once, its answers lie side by side.
    """
    questions = counts.shape[1]
    asked = np.zeros((BINS + 1, questions))
    hits = np.zeros((BINS + 1, questions))
    for row in train:
        code, weight = codes[row], weights[row]
        for k in range(questions):
            asked[code, k] += weight * counts[row, k]
            hits[code, k] += weight * yes[row, k]
    base = (hits.sum(axis=0) + 1.0) / (asked.sum(axis=0) + 2.0)
    share = (hits + _PRIOR * base) / (asked + _PRIOR)
    if_no, if_yes = -np.log(1.0 - share), -np.log(share)
    base_no, base_yes = -np.log(1.0 - base), -np.log(base)
    loss, reference = np.zeros(questions), np.zeros(questions)
    for row in test:
        code = codes[row]
        for k in range(questions):
            right, wrong = float(yes[row, k]), float(counts[row, k] - yes[row, k])
            loss[k] += right * if_yes[code, k] + wrong * if_no[code, k]
            reference[k] += right * base_yes[k] + wrong * base_no[k]
    return loss, reference


def bin_codes(values: NDArray[np.float32], train: NDArray[np.int64]) -> Codes:
    """Return each row's bin, uint8 [R]: equal shares of the training rows that have a value; ``MISSING`` where NaN."""
    learnt = values[train]
    learnt = learnt[np.isfinite(learnt)]
    if not len(learnt):
        return np.full(len(values), MISSING, np.uint8)
    edges = np.quantile(learnt, np.arange(1, BINS) / BINS)
    codes = np.searchsorted(edges, values, side="right").astype(np.uint8)
    codes[~np.isfinite(values)] = MISSING
    return codes


def skills(
    coded: Sequence[Codes], answers: Answers, weights: NDArray[np.float64], folds: Sequence[Split]
) -> NDArray[np.float64]:
    """Return the log-loss skill over all test rows for each question, float64 [K]; 0 where no test row counts.

    Args:
        coded: per fold, the rows' bins.
        answers: to K questions about the same rows.
        weights: float64 [R], of training rows.
        folds: the splits.
    """
    loss, reference = np.zeros(answers.yes.shape[1]), np.zeros(answers.yes.shape[1])
    for codes, fold in zip(coded, folds, strict=True):
        part = skill_sums(codes, answers.counts, answers.yes, weights, fold.train, fold.test)
        loss += part[0]
        reference += part[1]
    return np.where(reference > 0.0, 1.0 - loss / np.where(reference > 0.0, reference, 1.0), 0.0)


def separation(values: NDArray[np.float32], folds: Sequence[Split]) -> float:
    """Return how well the values tell test from training rows, in the fold where they do worst.

    It is the area under the ROC curve (the Mann-Whitney statistic), mirrored to be at least 0.5. A clock, a row number
    or a level that only ever rises is near 1 in every fold.
    """
    worst = 1.0
    for fold in folds:
        train, test = values[fold.train], values[fold.test]
        train, test = np.sort(train[np.isfinite(train)]), test[np.isfinite(test)]
        if not len(train) or not len(test):
            return 0.5
        below = np.searchsorted(train, test, side="left") + np.searchsorted(train, test, side="right")
        area = float(below.mean() / (2.0 * len(train)))
        worst = min(worst, max(area, 1.0 - area))
    return worst
