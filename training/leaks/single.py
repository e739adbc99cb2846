"""What one feature alone tells out of fold, compiled: class shares within bins, learnt on training rows."""

import math
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from training.splits import Split

BINS = 10
MISSING = BINS  # the bin of rows without a value
_PRIOR = 20.0  # rows of the base rate that each bin starts with: a thin bin must not shout

Answers = NDArray[np.int8]  # [R]: 1 yes, 0 no, -1 the row does not count
Codes = NDArray[np.uint8]


@numba.njit(cache=True)
def skill_sums(  # pragma: no cover - compiled
    codes: Codes, answers: Answers, weights: NDArray[np.float64], train: NDArray[np.int64], test: NDArray[np.int64]
) -> tuple[float, float]:
    """Return the log loss, in nats, of the bins' shares on the test rows and that of the training share alone."""
    count = np.zeros(BINS + 1)
    hits = np.zeros(BINS + 1)
    right, asked = 0.0, 0.0
    for row in train:
        answer = answers[row]
        if answer >= 0:
            count[codes[row]] += weights[row]
            hits[codes[row]] += weights[row] * answer
            asked += weights[row]
            right += weights[row] * answer
    base = (right + 1.0) / (asked + 2.0)
    yes, no = np.empty(BINS + 1), np.empty(BINS + 1)
    for index in range(BINS + 1):
        share = (hits[index] + _PRIOR * base) / (count[index] + _PRIOR)
        yes[index], no[index] = -np.log(share), -np.log(1.0 - share)
    base_yes, base_no = -math.log(base), -math.log(1.0 - base)
    loss, reference = 0.0, 0.0
    for row in test:
        answer = answers[row]
        if answer == 1:
            loss += float(yes[codes[row]])
            reference += base_yes
        elif answer == 0:
            loss += float(no[codes[row]])
            reference += base_no
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
    coded: Sequence[Codes], answers: Sequence[Answers], weights: NDArray[np.float64], folds: Sequence[Split]
) -> list[float]:
    """Return the log-loss skill over all test rows for each of the answers; 0 where no test row counts.

    Args:
        coded: per fold, the rows' bins.
        answers: questions about the same rows.
        weights: float64 [R], of training rows.
        folds: the splits.
    """
    result: list[float] = []
    for answer in answers:
        parts = [skill_sums(c, answer, weights, f.train, f.test) for c, f in zip(coded, folds, strict=True)]
        loss, reference = (sum(column) for column in zip(*parts, strict=True))
        result.append(1.0 - loss / reference if reference > 0 else 0.0)
    return result


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
