"""What happened after each forecast, and how far the probabilities were from it."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES, Panel
from training.backtest.model.predictions import Forecasts
from training.backtest.model.scope import Part
from training.dataset import labels_frame
from training.evaluation.metrics import log_loss_rows, reliability
from training.labels import make_labels
from training.labels.primary import primary_rule, take_side
from training.parameters import Parameters
from training.statistics.calibration import calibration_error

LEAST_ROWS = 200  # fewer say nothing about a probability


class Bins(msgspec.Struct, frozen=True):
    """One bin of a reliability diagram."""

    probability: float
    frequency: float
    count: int


class ForecastQuality(msgspec.Struct, frozen=True):
    """How good the probabilities were on some rows.

    ``skill`` is log loss under that of the class frequencies of the same rows, which nobody could know: a hard
    reference. ``error`` is the debiased calibration error with its 95 % interval.
    """

    kind: str
    rows: int
    log_loss: float
    reference: float
    skill: float
    error: float
    error_low: float
    error_high: float
    classes: dict[str, list[Bins]]


def forecast_quality(
    panel: Panel, first: int, last: int, forecasts: Forecasts, parts: tuple[Part, ...], parameters: Parameters
) -> tuple[ForecastQuality, ...]:
    """Judge the forecasts of the rows ``first`` to ``last``; labels end inside the range.

    Returns:
        One for each kind of part that has enough rows, in the order of time.
    """
    end_ns = int(panel.time_ns[last - 1]) + 1
    rows, instruments, labels = _labels(panel, end_ns, first, forecasts, parameters)
    result: list[ForecastQuality] = []
    for kind in dict.fromkeys(part.kind for part in parts):
        inside = np.zeros(len(rows), np.bool_)
        for part in parts:
            if part.kind == kind:
                inside |= (rows >= part.first) & (rows < part.last)
        if int(inside.sum()) < LEAST_ROWS:
            continue
        probabilities = forecasts.probabilities[rows[inside], instruments[inside]]
        result.append(_judge(kind, probabilities, labels[inside], rows[inside], parameters))
    return tuple(result)


def _labels(
    panel: Panel, end_ns: int, first: int, forecasts: Forecasts, parameters: Parameters
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """Return row of the range, instrument and class of every labelled bar that has a forecast."""
    labels = make_labels(panel, parameters.costs, parameters.labels, end_ns)
    rows = labels.step - first
    kept = (rows >= 0) & ~np.isnan(forecasts.probabilities[np.maximum(rows, 0), labels.instrument, 0])
    classes = labels.label
    if forecasts.sides is not None:
        rule = primary_rule(parameters.labels, (parameters.labels.primary.feature,))
        assert rule is not None
        sides = rule.sides_of(forecasts.sides[np.maximum(rows, 0), labels.instrument])
        columns: dict[str, Any] = take_side(labels_frame(labels), sides)
        classes, kept = columns["label"], kept & (sides != 0)
    return rows[kept], labels.instrument[kept], classes[kept]


def _judge(
    kind: str,
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int8],
    rows: NDArray[np.int64],
    parameters: Parameters,
) -> ForecastQuality:
    loss = float(log_loss_rows(probabilities, labels).mean())
    shares = np.bincount(labels, minlength=len(CLASSES)) / len(labels)
    known = shares[shares > 0]
    reference = float(-(known * np.log(known)).sum())
    options = parameters.evaluation
    bins = options.calibration_bins
    scaled = probabilities / probabilities.sum(axis=1, keepdims=True)  # float32 answers add up to 1 only nearly
    error = calibration_error(
        scaled, labels, rows, bins, block=max(options.block_length, 2 * parameters.labels.horizon), draws=200,
        seed=parameters.seed,
    )  # fmt: skip
    diagram = {
        name: [Bins(row["probability"], row["frequency"], int(row["count"])) for row in values]
        for name, values in reliability(probabilities, labels, bins).items()
    }
    skill = 1.0 - loss / reference if reference > 0 else 0.0
    return ForecastQuality(kind, len(labels), loss, reference, skill, error.value, error.low, error.high, diagram)
