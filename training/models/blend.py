"""The blend: components' out-of-fold predictions combined, then calibrated.

``pool`` is a linear pool whose weights maximise the pooled out-of-fold log likelihood on the simplex (optimal
prediction pools: Geweke and Amisano, Journal of Econometrics 164, 2011; stacking of predictive distributions: Yao et
al., Bayesian Analysis 13, 2018), found by expectation maximisation, which needs no step size and never leaves the
simplex. ``stacking`` is a logistic regression on the components' log-odds (``training.models.stacking``).

Either is fitted on predictions for rows that no component was fitted on, and walks forward: what combines fold ``k``
was fitted on the folds before it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.model_parameters import BlendParameters
from training.models import blend_graph
from training.models.calibration import Slopes
from training.models.stacking import LogisticStack, fit_stack
from training.splits import Split
from training.walkforward import OutOfFold, class_frequencies, final_slopes, progressive_calibration, progressively

Probabilities = NDArray[np.float64]
_ROUNDS = 500
_PRIOR_SHARE = 0.02  # equal weights count as this share of the rows: a tie must not be settled by noise


@dataclass(frozen=True)
class LinearPool:
    """Weights [K] on the simplex."""

    weights: NDArray[np.float64]

    def combine(self, stacked: Probabilities, frequencies: Probabilities) -> Probabilities:
        """Return the weighted mean of components' probabilities [K, N, 3]; it needs no frequencies."""
        return np.tensordot(self.weights, stacked, axes=1)

    def shares(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return the weight of each component."""
        return {name: float(weight) for name, weight in zip(names, self.weights, strict=True)}


@dataclass(frozen=True)
class Blend:
    """What combines the components (sorted by name), and the calibration slopes of what it says."""

    names: tuple[str, ...]
    combination: LinearPool | LogisticStack
    slopes: Slopes

    @property
    def weights(self) -> dict[str, float]:
        """What each component counts: one number, or one a question in a stack."""
        return self.combination.shares(self.names)

    def answer(self, stacked: Probabilities, frequencies: Probabilities) -> Probabilities:
        """Return calibrated probabilities [N, 3] from those of the components [K, N, 3] and the frequencies [3]."""
        return self.slopes.around(frequencies).apply(self.combination.combine(stacked, frequencies))

    def graph(self, models: dict[str, Any], frequencies: Probabilities) -> Any:
        """Return the graphs of the components, by name, as one that answers as ``answer`` does."""
        calibration = self.slopes.around(frequencies)
        if isinstance(self.combination, LinearPool):
            weights = self.combination.weights.tolist()
            parts = [(name, models[name], weight) for name, weight in zip(self.names, weights, strict=True)]
            return blend_graph.merge(parts, calibration)
        matrices = self.combination.matrices()
        stacked = [(name, models[name], matrix) for name, matrix in zip(self.names, matrices, strict=True)]
        return blend_graph.stack(stacked, self.combination.bias(frequencies), calibration)


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


def blend(
    dataset: Dataset,
    folds: list[Split],
    components: dict[str, OutOfFold],
    options: BlendParameters | None = None,
) -> tuple[OutOfFold, Blend]:
    """Combine components' calibrated out-of-fold predictions, walking forward; return them and the final blend.

    Args:
        dataset: the rows.
        folds: the splits the components were tested on.
        components: out-of-fold predictions by name, all for the same test rows.
        options: pool or stacking; a pool when not given.
    """
    chosen = options or BlendParameters()
    names = tuple(sorted(components))
    first = components[names[0]]
    rows, fold = first.rows, first.fold
    stacked = np.stack([components[name].calibrated for name in names])
    labels, weights = dataset.label[rows], dataset.weights[rows]
    frequencies = np.stack([class_frequencies(dataset, split.train) for split in folds])[fold]

    def fitted(known: NDArray[np.bool_] | slice) -> LinearPool | LogisticStack:
        if chosen.method == "pool":
            return LinearPool(pool_weights(stacked[:, known], labels[known], weights[known]))
        return fit_stack(stacked[:, known], frequencies[known], labels[known], weights[known], chosen.ridge)

    equal = np.full(len(names), 1.0 / len(names))
    start = LinearPool(equal) if chosen.method == "pool" else LogisticStack(equal, equal)
    combined = progressively(
        dataset,
        rows,
        fold,
        start,
        fitted,
        lambda combination, here: combination.combine(stacked[:, here], frequencies[here]),
    )
    calibrated = progressive_calibration(dataset, folds, rows, fold, combined)
    final = fitted(slice(None))
    predictions = OutOfFold(rows, fold, combined, calibrated)
    slopes = final_slopes(dataset, folds, predictions, final.combine(stacked, frequencies))
    return predictions, Blend(names, final, slopes)
