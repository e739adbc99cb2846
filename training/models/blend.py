"""The blend: a linear pool of the components, weighted by out-of-fold log score, then calibrated.

Weights maximise the pooled out-of-fold log likelihood on the simplex (optimal prediction pools: Geweke and Amisano,
Journal of Econometrics 164, 2011; stacking of predictive distributions: Yao et al., Bayesian Analysis 13, 2018),
found by expectation maximisation, which needs no step size and never leaves the simplex.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.models.calibration import Slopes
from training.splits import Split
from training.walkforward import OutOfFold, final_slopes, progressive_calibration, progressively

Probabilities = NDArray[np.float64]
_ROUNDS = 500
_PRIOR_SHARE = 0.02  # equal weights count as this share of the rows: a tie must not be settled by noise


@dataclass(frozen=True)
class Blend:
    """Weights by component (sorted by name) and the calibration slopes of their pool."""

    weights: dict[str, float]
    slopes: Slopes


def pool_weights(
    components: NDArray[np.float64], labels: NDArray[np.int8], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return simplex weights [K] that maximise the weighted log likelihood of the pool of [K, N, 3] predictions."""
    count = len(components)
    likelihood = np.take_along_axis(components, labels.astype(np.int64)[None, :, None], axis=2)[:, :, 0]
    share = weights / weights.sum()
    pool = np.full(count, 1.0 / count)
    for _ in range(_ROUNDS):
        responsibility = pool[:, None] * likelihood
        responsibility /= np.maximum(responsibility.sum(axis=0, keepdims=True), 1e-300)
        updated = (responsibility @ share + _PRIOR_SHARE / count) / (1.0 + _PRIOR_SHARE)
        if np.abs(updated - pool).max() < 1e-10:
            break
        pool = updated
    # Rounded like the calibration: the last digits are noise and must not move a digest.
    rounded = np.round(pool, 6)
    return rounded / rounded.sum()


def blend(dataset: Dataset, folds: list[Split], components: dict[str, OutOfFold]) -> tuple[OutOfFold, Blend]:
    """Pool components' calibrated out-of-fold predictions, walking forward; return them and the final blend.

    Args:
        dataset: the rows.
        folds: the splits the components were tested on.
        components: out-of-fold predictions by name, all for the same test rows.
    """
    names = sorted(components)
    first = components[names[0]]
    rows, fold = first.rows, first.fold
    stacked = np.stack([components[name].calibrated for name in names])
    labels, weights = dataset.label[rows], dataset.weights[rows]
    equal = np.full(len(names), 1.0 / len(names))
    pooled = progressively(
        dataset,
        rows,
        fold,
        equal,
        lambda known: pool_weights(stacked[:, known], labels[known], weights[known]),
        lambda pool, here: np.tensordot(pool, stacked[:, here], axes=1),
    )
    calibrated = progressive_calibration(dataset, folds, rows, fold, pooled)
    final = pool_weights(stacked, labels, weights)
    predictions = OutOfFold(rows, fold, pooled, calibrated)
    slopes = final_slopes(dataset, folds, predictions, np.tensordot(final, stacked, axes=1))
    return predictions, Blend({name: float(weight) for name, weight in zip(names, final, strict=True)}, slopes)
