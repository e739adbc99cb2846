"""How far probabilities are from frequencies, freed of sampling noise, with an interval.

The expected calibration error (Naeini, Cooper & Hauskrecht, AAAI 2015) of a perfect forecast is not 0 in a finite
sample: each bin adds its own noise. Debiasing follows Kumar, Liang & Ma, "Verified Uncertainty Calibration", NeurIPS 32
(2019), section 4.1, with one change: the noise of a bin is not the binomial one but that of a block bootstrap over
decision times, since rows of one time, and neighbouring times, are not independent.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from core.errors import BadInputError
from training.statistics.inputs import Matrix, checked_confidence
from training.statistics.interval import Interval
from training.statistics.resampling import CHUNK_VALUES, block_draws, draw_counts
from training.statistics.scores import checked_forecasts, quantile_groups

Norm = Literal["l1", "l2"]


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability diagram: what was said, what happened, and how far that could be off.

    The limits are percentiles of the draws; a bin in which all outcomes are alike has none that differ.
    """

    forecast: float
    frequency: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Calibration:
    """Calibration error, mean over classes: 0.02 is two percentage points off on average.

    Args:
        value: debiased error, at least 0.
        low: lower limit of its interval, at least 0.
        high: upper limit.
        plain: without debiasing, what is usually reported; grows with the number of bins and shrinks with rows.
        p_value: of perfect calibration in every bin of every class.
        classes: debiased error with its interval, one per class; a single one for probabilities [R].
        diagrams: the bins of each of these classes, with an interval around what happened.
        bins: bins asked for per class.
        rows: R.
    """

    value: float
    low: float
    high: float
    plain: float
    p_value: float
    classes: tuple[Interval, ...]
    diagrams: tuple[tuple[Bin, ...], ...]
    bins: int
    rows: int


def calibration_error(
    probabilities: Any,
    outcomes: Any,
    times: Any = None,
    bins: int = 10,
    norm: Norm = "l1",
    block: float = 1.0,
    draws: int = 1_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Calibration:
    """Return the debiased calibration error with its interval; class by class for several classes.

    The calibration of the likeliest class alone is that of its probability [R] against "it happened" [R].

    Args:
        probabilities: float64 [R] of class 1, or [R, K] of every class.
        outcomes: int [R], the class that happened.
        times: [R] decision time of each row, drawn together; None: every row is a time of its own, in order.
        bins: bins of about equal size; equal probabilities share a bin.
        norm: ``l1``: mean distance; ``l2``: root of the mean squared distance.
        block: expected length in decision times of a block that is drawn; the steps a label spans, or more.
        draws: bootstrap samples, at least 100.
        seed: of the draws.
        confidence: of the interval.

    Raises:
        BadInputError: bad probabilities or outcomes, fewer than one bin, fewer than 100 draws, an unknown norm.
    """
    forecasts, happened = checked_forecasts(probabilities, outcomes)
    level = checked_confidence(confidence)
    if bins < 1 or draws < 100:
        raise BadInputError(f"{bins} bins and {draws} draws: at least 1 bin and 100 draws are needed")
    if norm not in ("l1", "l2"):
        raise BadInputError(f"no norm named {norm!r}: l1 or l2")
    axis = np.arange(len(happened)) if times is None else np.asarray(times)
    if axis.shape != happened.shape:
        raise BadInputError(f"{len(happened)} rows and times of shape {axis.shape}: one time a row")
    columns = [1] if np.ndim(probabilities) == 1 else list(range(forecasts.shape[1]))
    gaps, rows = _sums(forecasts, happened, columns, axis, bins)
    drawn_gaps, drawn_rows = _draw(gaps, rows, block, draws, seed)
    gap, share = _means(gaps.sum(axis=0), rows.sum(axis=0))
    star, star_share = _means(drawn_gaps, drawn_rows)
    noise = star.std(axis=0, ddof=1)
    plain = _error(gap, share, norm)
    debiased = _debiased(gap, share, noise, norm)
    # In the world of the draws the observed gaps are the truth: the spread of debiased draws around the plain error is
    # that of the debiased error around the true one.
    distance = _debiased(star, star_share, noise, norm) - plain
    # What bins of a perfectly calibrated forecast would show: an error that noise reaches keeps 0 in its interval.
    noise_alone = _error(star - gap, star_share, norm)
    mean = _interval(debiased.mean(), distance.mean(axis=1), plain.mean(), noise_alone.mean(axis=1), level)
    return Calibration(
        value=mean.value,
        low=mean.low,
        high=mean.high,
        plain=float(plain.mean()),
        p_value=(1 + int((noise_alone.mean(axis=1) >= plain.mean()).sum())) / (1 + draws),
        classes=tuple(
            _interval(debiased[k], distance[:, k], plain[k], noise_alone[:, k], level) for k in range(len(columns))
        ),
        diagrams=tuple(
            _diagram(forecasts[:, column], gap[k], star[:, k], bins, level) for k, column in enumerate(columns)
        ),
        bins=bins,
        rows=len(happened),
    )


def _sums(
    forecasts: Matrix, happened: NDArray[np.int64], columns: list[int], axis: NDArray[Any], bins: int
) -> tuple[Matrix, Matrix]:
    """Return per decision time and bin the sum of forecast less outcome, and of rows; both float64 [T, K, B]."""
    _, step = np.unique(axis, return_inverse=True)
    shape = (int(step.max()) + 1, len(columns), bins)
    gaps, rows = np.zeros(shape), np.zeros(shape)
    for place, column in enumerate(columns):
        forecast = forecasts[:, column]
        group = quantile_groups(forecast, bins)
        np.add.at(gaps[:, place], (step, group), forecast - (happened == column))
        np.add.at(rows[:, place], (step, group), 1.0)
    return gaps, rows


def _diagram(forecast: Matrix, gap: Matrix, star: Matrix, bins: int, level: float) -> tuple[Bin, ...]:
    """Return the bins that hold rows; ``gap`` [B] is forecast less outcome, ``star`` [D, B] that of draws."""
    group = quantile_groups(forecast, bins)
    rows = np.bincount(group, minlength=bins)
    said = np.bincount(group, forecast, minlength=bins) / np.maximum(rows, 1)
    upper, lower = np.quantile(star, [0.5 - level / 2.0, 0.5 + level / 2.0], axis=0)
    return tuple(
        Bin(
            forecast=float(said[b]),
            frequency=min(max(float(said[b] - gap[b]), 0.0), 1.0),
            low=min(max(float(said[b] - lower[b]), 0.0), 1.0),
            high=min(max(float(said[b] - upper[b]), 0.0), 1.0),
            rows=int(rows[b]),
        )
        for b in np.flatnonzero(rows)
    )


def _draw(gaps: Matrix, rows: Matrix, block: float, draws: int, seed: int) -> tuple[Matrix, Matrix]:
    """Return the sums of both arrays over each draw of decision times; float64 [D, K, B]."""
    steps = len(gaps)
    data = np.concatenate([gaps.reshape(steps, -1), rows.reshape(steps, -1)], axis=1)
    chunk = max(CHUNK_VALUES // steps, 1)
    parts = [draw_counts(drawn) @ data for drawn in block_draws(steps, block, draws, seed, "stationary", chunk)]
    total = np.concatenate(parts).reshape(draws, 2, *gaps.shape[1:])
    return total[:, 0], total[:, 1]


def _means(gaps: Matrix, rows: Matrix) -> tuple[Matrix, Matrix]:
    """Return the mean gap of each bin and the bin's share of the rows of its class; [..., K, B]."""
    return gaps / np.maximum(rows, 1.0), rows / np.maximum(rows.sum(axis=-1, keepdims=True), 1.0)


def _error(gap: Matrix, share: Matrix, norm: Norm) -> Matrix:
    if norm == "l1":
        return (share * np.abs(gap)).sum(axis=-1)
    return np.sqrt((share * gap**2).sum(axis=-1))


def _debiased(gap: Matrix, share: Matrix, noise: Matrix, norm: Norm) -> Matrix:
    """Return the error less the part that bins with this noise [K, B] add on their own; at least 0."""
    if norm == "l2":
        return np.sqrt(np.maximum((share * (gap**2 - noise**2)).sum(axis=-1), 0.0))
    size = np.abs(gap)
    scale = np.maximum(noise, 1e-300)
    # Mean of |X| for X normal around the observed gap: what the gap would look like with the noise once more.
    again = noise * np.sqrt(2.0 / np.pi) * np.exp(-0.5 * (size / scale) ** 2) + size * (1.0 - 2.0 * ndtr(-size / scale))
    return np.maximum((share * (2.0 * size - again)).sum(axis=-1), 0.0)


def _interval(value: float, distance: Matrix, plain: float, noise_alone: Matrix, level: float) -> Interval:
    upper, lower = np.quantile(distance, [0.5 - level / 2.0, 0.5 + level / 2.0])
    low = max(float(value - lower), 0.0) if plain > np.quantile(noise_alone, level) else 0.0
    return Interval(float(value), min(low, float(value)), max(float(value - upper), float(value)))
