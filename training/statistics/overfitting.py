"""Probability of backtest overfitting by combinatorially symmetric cross-validation (CSCV).

Bailey, Borwein, López de Prado & Zhu, "The Probability of Backtest Overfitting", Journal of Computational Finance 20
(2017), section 2: the rows are cut into S blocks, each half of the blocks once is the sample in which the best trial is
chosen and its complement the one in which that trial is ranked. Every score used here is a function of sums, so that a
split costs one row of a product of matrices.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.statistics.inputs import Matrix, checked_matrix
from training.statistics.sharpe import ROUNDING

Score = Literal["sharpe", "mean"]
# Values of one chunk of splits [C, K]: about 16 MiB each, whatever the number of splits and trials.
CHUNK_VALUES = 2**21
MOST_BLOCKS = 20  # 184,756 splits; two blocks more are four times as many


@dataclass(frozen=True)
class Overfitting:
    """How the trial that is best in one half of the data fares in the other.

    Args:
        probability: share of splits in which the chosen trial is at or below the median of the other half (PBO).
        logits: float64 [S], logit of the relative rank of the chosen trial, one per split.
        selected: int64 [S], column chosen in each split.
        in_sample: float64 [S], score of the chosen trial where it was chosen.
        out_of_sample: float64 [S], its score in the other half.
        slope: of the regression of ``out_of_sample`` on ``in_sample`` (performance degradation).
        intercept: of the same regression.
        determination: R² of the same regression.
        probability_of_loss: share of splits in which the chosen trial's score is below 0 in the other half.
        dominated: share of splits in which the chosen trial is below the mean of all trials in the other half.
        blocks: number of blocks.
        trials: number of columns K.
    """

    probability: float
    logits: NDArray[np.float64]
    selected: NDArray[np.int64]
    in_sample: NDArray[np.float64]
    out_of_sample: NDArray[np.float64]
    slope: float
    intercept: float
    determination: float
    probability_of_loss: float
    dominated: float
    blocks: int
    trials: int


@dataclass(frozen=True)
class _Sums:
    """Sums per block: rows [S], values and squares [S, K] of the columns less their means [K]."""

    rows: NDArray[np.float64]
    values: Matrix
    squares: Matrix
    mean: NDArray[np.float64]
    least_deviation: NDArray[np.float64]

    def scores(self, members: Matrix, score: Score) -> Matrix:
        """Return the score of each column over the blocks that are 1 in ``members`` [C, S]; float64 [C, K]."""
        rows = (members @ self.rows)[:, None]
        centred = (members @ self.values) / rows
        mean = centred + self.mean
        if score == "mean":
            return mean
        variance = ((members @ self.squares) / rows - centred**2) * rows / (rows - 1.0)
        # A trial that does not move within the half has no risk to divide by: the floor keeps 0 / 0 at 0.
        return mean / np.sqrt(np.maximum(variance, self.least_deviation**2))


def probability_of_overfitting(matrix: Any, blocks: int = 16, score: Score = "sharpe") -> Overfitting:
    """Return the probability of backtest overfitting of a search.

    Args:
        matrix: float64 [T, K], returns (higher is better) of every trial on common times, in order of time.
        blocks: even number S of blocks, 2 to 20; ``S! / (S/2)!²`` splits. Rows that do not divide go one each to
            the first blocks.
        score: what the search maximised: the Sharpe ratio, or the mean.

    Raises:
        BadInputError: fewer than 2 trials, fewer than 2 rows a block, an odd number of blocks, a constant column.
    """
    if blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise BadInputError(f"{blocks} blocks: cross-validation needs an even number from 2 to {MOST_BLOCKS}")
    if score not in ("sharpe", "mean"):
        raise BadInputError(f"no score named {score!r}: sharpe or mean")
    returns = checked_matrix(matrix, "the matrix of trial returns", 2 * blocks, 2)
    sums = _block_sums(returns, blocks, score)
    trials = returns.shape[1]
    logits, selected, inside, outside, average = [], [], [], [], []
    for members in _splits(blocks, max(CHUNK_VALUES // trials, 1)):
        chosen_by = sums.scores(members, score)
        judged_by = sums.scores(1.0 - members, score)
        best = chosen_by.argmax(axis=1)
        rows = np.arange(len(best))
        own = judged_by[rows, best]
        # Copies of one trial differ by the rounding of the product; they are ties.
        rounding = (1e-10 * np.abs(own))[:, None]
        below = (judged_by < own[:, None] - rounding).sum(axis=1)
        equal = (judged_by <= own[:, None] + rounding).sum(axis=1) - below
        # Relative rank in (0, 1), trials of equal score sharing the middle of their ranks (section 2.2).
        rank = (below + (equal + 1.0) / 2.0) / (trials + 1.0)
        logits.append(np.log(rank / (1.0 - rank)))
        selected.append(best)
        inside.append(chosen_by[rows, best])
        outside.append(own)
        average.append(judged_by.mean(axis=1))
    in_sample, out_of_sample = np.concatenate(inside), np.concatenate(outside)
    logit = np.concatenate(logits)
    slope, intercept, determination = _regression(in_sample, out_of_sample)
    return Overfitting(
        probability=float((logit <= 0.0).mean()),
        logits=logit,
        selected=np.concatenate(selected).astype(np.int64),
        in_sample=in_sample,
        out_of_sample=out_of_sample,
        slope=slope,
        intercept=intercept,
        determination=determination,
        probability_of_loss=float((out_of_sample < 0.0).mean()),
        dominated=float((out_of_sample < np.concatenate(average)).mean()),
        blocks=blocks,
        trials=trials,
    )


def _block_sums(returns: Matrix, blocks: int, score: Score) -> _Sums:
    edges = np.array([len(part) for part in np.array_split(np.arange(len(returns)), blocks)]).cumsum()
    starts = np.concatenate([[0], edges[:-1]])
    mean = returns.mean(axis=0)
    deviation = returns.std(axis=0)
    flat = deviation <= ROUNDING * np.abs(returns).max(axis=0)
    constant = np.flatnonzero(flat & (returns[0] != 0.0))
    if len(constant) and score == "sharpe":
        raise BadInputError(f"column {constant[0]} of the trial returns is constant: it has no Sharpe ratio")
    centred = returns - mean
    return _Sums(
        rows=np.diff(np.concatenate([[0], edges])).astype(np.float64),
        values=np.add.reduceat(centred, starts, axis=0),
        squares=np.add.reduceat(centred**2, starts, axis=0),
        mean=mean,
        least_deviation=np.where(flat, 1.0, 1e-6 * deviation),
    )


def _splits(blocks: int, chunk: int) -> Iterator[Matrix]:
    """Yield the halves of the blocks as rows of 0 and 1, in lexicographic order, ``chunk`` at a time."""
    halves = combinations(range(blocks), blocks // 2)
    for _ in range(math.ceil(math.comb(blocks, blocks // 2) / chunk)):
        part = np.array(list(islice(halves, chunk)))
        members = np.zeros((len(part), blocks))
        members[np.arange(len(part))[:, None], part] = 1.0
        yield members


def _regression(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return slope, intercept and R² of ``y`` on ``x``; a slope of 0 where ``x`` does not vary."""
    centred_x, centred_y = x - x.mean(), y - y.mean()
    spread_x, spread_y = float(centred_x @ centred_x), float(centred_y @ centred_y)
    if spread_x <= 0.0:
        return 0.0, float(y.mean()), 0.0
    together = float(centred_x @ centred_y)
    slope = together / spread_x
    return (
        slope,
        float(y.mean() - slope * x.mean()),
        together**2 / (spread_x * spread_y) if spread_y > 0.0 else 0.0,
    )
