"""Out-of-fold predictions: every model is judged, calibrated and blended on rows that no fit of it has seen.

Calibration and blending are learnt too, so they walk forward as well: what is applied to fold ``k`` was fitted on the
predictions of the folds before it, purged of labels that end inside fold ``k``. The first fold has nothing before it
and stays as the model said it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset, TrainingData
from training.labels.primary import allowed, only_side, side_frequencies
from training.memory import give_back
from training.models.calibration import Slopes, fit_slopes
from training.models.interface import Forecaster
from training.splits import Split

Probabilities = NDArray[np.float64]
Rows = NDArray[np.int64]
Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class OutOfFold:
    """Predictions for M test rows, ordered as in the dataset.

    ``rows`` indexes the dataset, ``fold`` counts from 0, ``raw`` is what the model said and ``calibrated`` what its
    calibration at that time made of it; both float64 [M, 3].
    """

    rows: Rows
    fold: NDArray[np.int64]
    raw: Probabilities
    calibrated: Probabilities


def walk_forward(
    dataset: Dataset,
    folds: list[Split],
    create: Callable[[], Forecaster],
    report: Callable[[int, float, Forecaster], None],
) -> OutOfFold:
    """Fit each fold and predict its test rows: a new model, or the one before, refitted, where it is incremental.

    Args:
        dataset: the rows.
        folds: the splits, in time order.
        create: returns an unfitted model.
        report: called after each fold with its number, the test rows' log loss and the model.
    """
    answers: list[Probabilities] = []
    model: Forecaster | None = None
    for fold in folds:
        train = fold.train
        model = next_model(model, create, lambda lookback, rows=train: dataset.training_data(rows, lookback))
        answer = model.predict_proba(dataset.view(fold.test, model.lookback))
        report(fold.number, log_loss(answer, dataset.label[fold.test]), model)
        answers.append(answer)
    rows = np.concatenate([fold.test for fold in folds])
    numbers = np.concatenate([np.full(len(fold.test), fold.number, np.int64) for fold in folds])
    raw = np.concatenate(answers)
    calibrated = progressive_calibration(dataset, folds, rows, numbers, raw)
    return OutOfFold(rows, numbers, raw, calibrated)


def next_model(
    previous: Forecaster | None, create: Callable[[], Forecaster], data: Callable[[int], TrainingData]
) -> Forecaster:
    """Return a new model fitted on ``data(lookback)``, or ``previous``, refitted on it, where that is incremental.

    An incremental model has seen the rows of earlier training windows, all of which lie before the test window too.
    """
    give_back()
    if previous is not None and previous.incremental:
        previous.refit(data(previous.lookback))
        return previous
    model = create()
    model.fit(data(model.lookback))
    return model


def log_loss(probabilities: Probabilities, labels: NDArray[np.int8]) -> float:
    """Return the mean negative log likelihood of the labels, in nats."""
    chosen = np.take_along_axis(probabilities, labels.astype(np.int64)[:, None], axis=1)
    return float(-np.log(np.maximum(chosen, 1e-15)).mean())


def earlier(dataset: Dataset, rows: Rows, fold: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
    """Return which test rows were known before fold ``number`` began: earlier folds, purged; bool [M]."""
    start = dataset.time_ns[rows[fold == number]].min()
    return (fold < number) & (dataset.label_end_ns[rows] < start)


def progressively(
    dataset: Dataset,
    rows: Rows,
    fold: NDArray[np.int64],
    start: Fitted,
    fit: Callable[[NDArray[np.bool_]], Fitted],
    apply: Callable[[Fitted, NDArray[np.bool_]], Probabilities],
) -> Probabilities:
    """Apply to each fold what was fitted on the folds before it, to the first fold ``start``; float64 [M, 3]."""
    answer = np.empty((len(rows), 3))
    for number in np.unique(fold):
        known = earlier(dataset, rows, fold, int(number))
        here = fold == number
        answer[here] = apply(fit(known) if known.any() else start, here)
    return answer


def class_frequencies(dataset: Dataset, rows: Rows) -> Probabilities:
    """Return the weighted class frequencies of rows, with one imagined row a class: unlikely is not impossible; [3].

    Of meta-labels they are such that what is left of them on either side is how often that side paid.
    """
    if dataset.side is not None:
        return side_frequencies(dataset.label[rows], dataset.side[rows], dataset.weights[rows])
    counts = np.bincount(dataset.label[rows], weights=dataset.weights[rows], minlength=3) + 1.0
    return counts / counts.sum()


def progressive_calibration(
    dataset: Dataset, folds: list[Split], rows: Rows, fold: NDArray[np.int64], raw: Probabilities
) -> Probabilities:
    """Return predictions calibrated with what was known before their fold, and kept to the side of meta-labels."""
    frequencies = np.stack([class_frequencies(dataset, split.train) for split in folds])
    calibrated = progressively(
        dataset,
        rows,
        fold,
        Slopes(),
        lambda known: _slopes(dataset, rows[known], raw[known], frequencies[fold[known]]),
        lambda slopes, here: slopes.around(frequencies[fold[here][0]]).apply(raw[here]),
    )
    return only_side(calibrated, None if dataset.side is None else dataset.side[rows])


def final_slopes(dataset: Dataset, folds: list[Split], predictions: OutOfFold, raw: Probabilities) -> Slopes:
    """Fit the slopes of the final model on all out-of-fold predictions ``raw``."""
    frequencies = np.stack([class_frequencies(dataset, split.train) for split in folds])
    return _slopes(dataset, predictions.rows, raw, frequencies[predictions.fold])


def _slopes(dataset: Dataset, rows: Rows, raw: Probabilities, frequencies: Probabilities) -> Slopes:
    possible = None if dataset.side is None else allowed(dataset.side[rows])
    return fit_slopes(raw, frequencies, dataset.label[rows], dataset.weights[rows], possible)
