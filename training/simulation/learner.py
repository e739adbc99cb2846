"""The fast learner of simulated searches: multinomial logistic regression with a ridge, over prepared folds.

It stands for the platform's trees and networks, which take minutes where it takes milliseconds: like them it is fitted
on a purged training window, sees missing values and outliers, overfits a noisy window, and is calibrated afterwards by
the platform's own progressive calibration. A share of the trials of every search fits the real ``XgboostForecaster``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.splits import Split

Array = NDArray[np.float64]
CLIP = 6.0  # standard deviations, as in the networks
_STEPS = 12
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class PreparedFold:
    """One fold, standardised by its own training rows; shared by all trials of a search.

    ``train`` is float64 [N, K + 1] and ``test`` [M, K + 1], the last column being the constant; ``products`` is
    ``train' train`` [K + 1, K + 1].
    """

    train: Array
    test: Array
    labels: NDArray[np.int8]
    products: Array


def prepare(dataset: Dataset, fold: Split) -> PreparedFold:
    """Standardise a fold's features by its training rows; missing values become the mean."""
    train = dataset.features[fold.train].astype(np.float64)
    test = dataset.features[fold.test].astype(np.float64)
    mean = np.nanmean(train, axis=0)
    deviation = np.nanstd(train, axis=0)
    scale = np.where(deviation > 1e-12, 1.0 / np.maximum(deviation, 1e-12), 0.0)

    def standard(values: Array) -> Array:
        clipped = np.clip(np.nan_to_num((values - mean) * scale, nan=0.0), -CLIP, CLIP)
        return np.column_stack([clipped, np.ones(len(values))])

    left = standard(train)
    return PreparedFold(left, standard(test), dataset.label[fold.train], left.T @ left)


def fit_predict(fold: PreparedFold, columns: NDArray[np.int64], penalty: float, share: float) -> Array:
    """Fit on the newest ``share`` of the training rows and return probabilities [M, 3] of the test rows.

    Quasi-Newton steps with the Hessian at the class frequencies, ``S ⊗ X'X`` with ``S = diag(p) - p p'`` of the two
    sides: predictions of returns stay near the frequencies, so it is nearly exact and is factored once.

    Args:
        fold: of ``prepare``.
        columns: int64 [k], indices of the features used.
        penalty: ridge, as a share of the rows; the constant is not shrunk.
        share: of the training rows, in (0, 1].
    """
    used = np.append(columns, fold.train.shape[1] - 1)
    first = round(len(fold.labels) * (1.0 - share))
    matrix, labels = np.ascontiguousarray(fold.train[first:, used]), fold.labels[first:]
    products = fold.products[np.ix_(used, used)] if first == 0 else matrix.T @ matrix
    targets = np.column_stack([labels == 0, labels == 2]).astype(np.float64)
    frequencies = (targets.sum(axis=0) + 1.0) / (len(labels) + 3.0)
    ridge = np.full(len(used), penalty * len(labels))
    ridge[-1] = 1e-9 * len(labels)
    values, vectors = np.linalg.eigh(np.diag(frequencies) - np.outer(frequencies, frequencies))
    inverses = [np.linalg.inv(value * products + np.diag(ridge)) for value in values]
    weights = np.zeros((len(used), 2))
    weights[-1] = np.log(frequencies / (1.0 - frequencies.sum()))
    for _ in range(_STEPS):
        gradient = (matrix.T @ (_sides(matrix @ weights) - targets) + ridge[:, None] * weights) @ vectors
        step = np.column_stack([inverse @ gradient[:, n] for n, inverse in enumerate(inverses)]) @ vectors.T
        weights -= step
        if np.abs(step).max() < _TOLERANCE:
            break
    sides = _sides(fold.test[:, used] @ weights)
    return np.column_stack([sides[:, 0], 1.0 - sides.sum(axis=1), sides[:, 1]])


def _sides(logits: Array) -> Array:
    """Return the probabilities of short and long from their log-odds against flat, [N, 2]."""
    # Column by column: reductions over an axis of two took half of a fit.
    short, long = logits[:, 0], logits[:, 1]
    largest = np.maximum(np.maximum(short, long), 0.0)
    powers = np.exp(logits - largest[:, None])
    return powers / (powers[:, 0] + powers[:, 1] + np.exp(-largest))[:, None]
