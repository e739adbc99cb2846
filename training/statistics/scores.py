"""What a Brier score or a log loss is made of: reliability, resolution, uncertainty.

``score = reliability - resolution + uncertainty + within_group``. The first three are Murphy's ("A New Vector Partition
of the Probability Score", Journal of Applied Meteorology 12, 1973) and, for the log loss, Bröcker's ("Reliability,
Sufficiency, and the Decomposition of Proper Scores", Quarterly Journal of the Royal Meteorological Society 135, 2009),
over groups of similar forecasts. The forecasts of a group are not equal; what that costs or earns is the remainder
(Stephenson, Coelho & Jolliffe, "Two Extra Components in the Brier Score Decomposition", Weather and Forecasting 23,
2008), kept so that the sum is exact.

Even a forecast of nothing shows resolution in a finite sample, one part per group. The debiased terms take it off:
Ferro & Fricker, "A Bias-Corrected Decomposition of the Brier Score", QJRMS 138 (2012); for the log loss the first-order
bias of a plug-in entropy (Miller 1955), ``(K - 1) / 2n`` a group. Both leave the score itself unchanged.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.statistics.inputs import Matrix

Classes = NDArray[np.int64]
# A probability of 0 for what happened would cost infinity; the same floor as the evaluation's log loss.
LEAST_PROBABILITY = 1e-15
LEAST_ROWS = 5  # of a group: fewer say nothing about a frequency


@dataclass(frozen=True)
class Decomposition:
    """The parts of a mean score; nats for the log loss.

    Args:
        score: mean over rows, lower is better.
        reliability: cost of probabilities that are not the frequencies of their group; 0 is perfect.
        resolution: what groups earn by having different frequencies; higher is better.
        uncertainty: score of always forecasting the overall frequencies.
        within_group: remainder of forecasts that differ within a group; either sign.
        debiased_reliability: freed of sampling noise; can be slightly negative.
        debiased_resolution: freed of sampling noise; can be slightly negative.
        groups: groups of similar forecasts.
        rows: R.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_group: float
    debiased_reliability: float
    debiased_resolution: float
    groups: int
    rows: int

    @property
    def skill(self) -> float:
        """Share of the uncertainty that the forecast removes; 0 is no better than the overall frequencies."""
        return 1.0 - self.score / self.uncertainty if self.uncertainty > 0.0 else 0.0


@dataclass(frozen=True)
class _Groups:
    """Means per group: rows [G], forecasts and frequencies [G, K]; frequencies of all rows [K]."""

    rows: Matrix
    forecast: Matrix
    frequency: Matrix
    overall: Matrix


def checked_forecasts(probabilities: Any, outcomes: Any) -> tuple[Matrix, Classes]:
    """Return probabilities float64 [R, K] and classes int64 [R]; a series [R] of class 1's probability makes K = 2.

    Raises:
        BadInputError: shapes that do not fit, probabilities outside [0, 1] or not adding up to 1, unknown classes.
    """
    forecasts = np.asarray(probabilities, np.float64)
    if forecasts.ndim == 1:
        forecasts = np.column_stack([1.0 - forecasts, forecasts])
    happened = np.asarray(outcomes)
    if forecasts.ndim != 2 or forecasts.shape[1] < 2:
        raise BadInputError(f"probabilities must be [rows] or [rows, classes], not of shape {forecasts.shape}")
    if happened.shape != (len(forecasts),) or not len(forecasts):
        raise BadInputError(
            f"{len(forecasts)} forecasts and outcomes of shape {happened.shape}: one outcome a forecast"
        )
    if not (np.isfinite(forecasts).all() and (forecasts >= 0.0).all() and (forecasts <= 1.0).all()):
        raise BadInputError("a probability lies outside [0, 1] or is not finite")
    if np.abs(forecasts.sum(axis=1) - 1.0).max() > 1e-6:
        raise BadInputError("the probabilities of a row do not add up to 1")
    classes = happened.astype(np.int64)
    if (classes != happened).any() or classes.min() < 0 or classes.max() >= forecasts.shape[1]:
        raise BadInputError(f"outcomes must be whole numbers from 0 to {forecasts.shape[1] - 1}")
    return forecasts, classes


def brier_decomposition(probabilities: Any, outcomes: Any, groups: int = 10) -> Decomposition:
    """Return the parts of the Brier score.

    Args:
        probabilities: float64 [R] of class 1 (score in [0, 1]) or [R, K] of every class (sum of squares, in [0, 2]).
        outcomes: int [R], the class that happened.
        groups: groups of about equal size to form; more than two classes share them (``groups ** (1 / (K - 1))`` a
            class).

    Raises:
        BadInputError: see ``checked_forecasts``; fewer than one group.
    """
    forecasts, classes = checked_forecasts(probabilities, outcomes)
    scale = 0.5 if np.ndim(probabilities) == 1 else 1.0
    found = _group(forecasts, classes, groups)
    share = found.rows / len(classes)
    score = float(((forecasts - np.eye(forecasts.shape[1])[classes]) ** 2).sum(axis=1).mean())
    reliability = float(share @ ((found.forecast - found.frequency) ** 2).sum(axis=1))
    resolution = float(share @ ((found.frequency - found.overall) ** 2).sum(axis=1))
    uncertainty = float((found.overall * (1.0 - found.overall)).sum())
    noise = (found.frequency * (1.0 - found.frequency)).sum(axis=1) / np.maximum(found.rows - 1.0, 1.0)
    excess, whole = float(share @ noise), uncertainty / max(len(classes) - 1, 1)
    return _decomposition(found, scale, (score, reliability, resolution, uncertainty), excess, excess - whole)


def log_loss_decomposition(probabilities: Any, outcomes: Any, groups: int = 10) -> Decomposition:
    """Return the parts of the log loss in nats; arguments and errors as in ``brier_decomposition``."""
    forecasts, classes = checked_forecasts(probabilities, outcomes)
    found = _group(forecasts, classes, groups)
    share = found.rows / len(classes)
    chosen = np.take_along_axis(forecasts, classes[:, None], axis=1)[:, 0]
    score = float(-np.log(np.maximum(chosen, LEAST_PROBABILITY)).mean())
    reliability = float(share @ _divergence(found.frequency, found.forecast))
    resolution = float(share @ _divergence(found.frequency, found.overall))
    uncertainty = float(-(found.overall * np.log(np.maximum(found.overall, LEAST_PROBABILITY))).sum())
    # Expected divergence of n frequencies from their own probabilities: (classes present - 1) / 2n.
    free = (int((found.overall > 0.0).sum()) - 1) / (2.0 * len(classes))
    excess = len(found.rows) * free
    return _decomposition(found, 1.0, (score, reliability, resolution, uncertainty), excess, excess - free)


def _decomposition(
    found: _Groups, scale: float, parts: tuple[float, float, float, float], reliable: float, resolved: float
) -> Decomposition:
    score, reliability, resolution, uncertainty = parts
    return Decomposition(
        score=scale * score,
        reliability=scale * reliability,
        resolution=scale * resolution,
        uncertainty=scale * uncertainty,
        within_group=scale * (score - reliability + resolution - uncertainty),
        debiased_reliability=scale * (reliability - reliable),
        debiased_resolution=scale * (resolution - resolved),
        groups=len(found.rows),
        rows=int(found.rows.sum()),
    )


def _divergence(frequency: Matrix, forecast: Matrix) -> Matrix:
    """Return the Kullback-Leibler divergence of each row of frequencies from its forecast, in nats; float64 [G]."""
    ratio = np.maximum(frequency, LEAST_PROBABILITY) / np.maximum(forecast, LEAST_PROBABILITY)
    return np.where(frequency > 0.0, frequency * np.log(ratio), 0.0).sum(axis=1)


def _group(forecasts: Matrix, classes: Classes, groups: int) -> _Groups:
    if groups < 1:
        raise BadInputError(f"{groups} groups of forecasts: at least one is needed")
    number = _group_of(forecasts, groups)
    count = int(number.max()) + 1
    rows = np.bincount(number, minlength=count).astype(np.float64)
    happened = np.eye(forecasts.shape[1])[classes]

    def means(values: Matrix) -> Matrix:
        return np.column_stack([np.bincount(number, column, count) for column in values.T]) / rows[:, None]

    return _Groups(rows, means(forecasts), means(happened), happened.mean(axis=0))


def _group_of(forecasts: Matrix, groups: int) -> Classes:
    """Return the group of each row: quantiles of every class but the likeliest; small groups join their neighbour."""
    classes = forecasts.shape[1]
    each = groups if classes == 2 else max(2, round(groups ** (1.0 / (classes - 1))))
    dropped = int(forecasts.mean(axis=0).argmax())
    code = np.zeros(len(forecasts), np.int64)
    for column in (index for index in range(classes) if index != dropped):
        code = code * each + quantile_groups(forecasts[:, column], each)
    _, code, rows = np.unique(code, return_inverse=True, return_counts=True)
    joined = np.empty(len(rows), np.int64)
    number, filled = 0, 0
    for index, size in enumerate(rows):
        if filled >= LEAST_ROWS and rows[index:].sum() >= LEAST_ROWS:
            number, filled = number + 1, 0
        joined[index], filled = number, filled + int(size)
    return joined[code]


def quantile_groups(values: Matrix, groups: int) -> Classes:
    """Return groups of about equal size, equal values together; int64 [R]."""
    edges = np.unique(np.quantile(values, np.arange(1, groups) / groups))
    return np.searchsorted(edges, values, side="right")
