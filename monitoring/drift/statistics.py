"""Distances between distributions, and thresholds that autocorrelation cannot fool.

A drift test with an asymptotic p-value fires on every large sample and on every autocorrelated one. Here the live
window is compared with what windows *of the same length* did inside the training history: the distance of the live
window is ranked among theirs, so that the false-alarm rate is the one asked for when nothing has changed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10
_FLOOR = 1e-4  # share given to an empty bin, the customary guard against log(0)


@dataclass(frozen=True)
class Calibration:
    """What windows of the live length look like inside the training history.

    Attributes:
        edges: float64 [F, BINS − 1], inner decile edges of the reference.
        reference_shares: float64 [F, BINS + 1], shares of the reference per bin; the last bin counts missing values.
        historical: float64 [W, F], population stability index of each historical window.
    """

    edges: NDArray[np.float64]
    reference_shares: NDArray[np.float64]
    historical: NDArray[np.float64]

    def thresholds(self, false_alarm_rate: float) -> NDArray[np.float64]:
        """Return per feature the index that historical windows exceed with the given rate, float64 [F]."""
        return np.quantile(self.historical, 1.0 - false_alarm_rate, axis=0)


def decile_edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nine inner decile edges of each column of ``values`` [R, F], NaN ignored, as float64 [F, 9]."""
    probabilities = np.arange(1, BINS) / BINS
    edges = np.zeros((values.shape[1], BINS - 1))
    for column in range(values.shape[1]):
        present = values[:, column][np.isfinite(values[:, column])]
        if len(present):
            edges[column] = np.quantile(present, probabilities)
    return edges


def bin_codes(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each value, int64 [R, F]; missing values go to bin ``BINS``."""
    codes = np.empty(values.shape, dtype=np.int64)
    for column in range(values.shape[1]):
        codes[:, column] = np.searchsorted(edges[column], values[:, column], side="right")
    codes[~np.isfinite(values)] = BINS
    return codes


def shares(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of rows per bin and column, float64 [F, BINS + 1]."""
    counts = np.stack([np.bincount(codes[:, column], minlength=BINS + 1) for column in range(codes.shape[1])])
    return counts / max(1, codes.shape[0])


def population_stability_index(reference: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the index ``Σ (c − r) ln(c / r)`` over the last axis of two arrays of shares.

    Siddiqi, *Credit Risk Scorecards* (2006), p. 155; it is the symmetrised Kullback–Leibler divergence.
    """
    r = np.maximum(reference, _FLOOR)
    c = np.maximum(current, _FLOOR)
    return np.sum((c - r) * np.log(c / r), axis=-1)


def calibrate(
    values: NDArray[np.float64], steps: NDArray[np.int64], window_steps: int, maximum_windows: int = 200
) -> Calibration:
    """Learn what windows of ``window_steps`` look like inside the reference.

    Args:
        values: float64 [R, F], rows of the training window in time order.
        steps: int64 [R], the decision step each row belongs to, ascending; rows of one step stay together.
        window_steps: length of the live window in steps.
        maximum_windows: evenly spaced window positions to use at most.

    Raises:
        ValueError: the reference is shorter than two live windows: nothing can be learnt from it.
    """
    first, count = int(steps[0]), int(steps[-1] - steps[0]) + 1
    if count < 2 * window_steps:
        raise ValueError(f"reference of {count} steps is shorter than two live windows of {window_steps} steps")
    edges = decile_edges(values)
    codes = bin_codes(values, edges)
    # Cumulative counts per step make any window two lookups: [steps + 1, F, BINS + 1].
    features = values.shape[1]
    per_step = np.zeros((count + 1, features, BINS + 1))
    for column in range(features):
        np.add.at(per_step[:, column, :], (steps - first + 1, codes[:, column]), 1.0)
    cumulative = np.cumsum(per_step, axis=0)
    reference = cumulative[-1] / cumulative[-1].sum(axis=-1, keepdims=True)
    starts = np.unique(np.linspace(0, count - window_steps, min(maximum_windows, count - window_steps + 1)).astype(int))
    window_counts = cumulative[starts + window_steps] - cumulative[starts]
    totals = np.maximum(window_counts.sum(axis=-1, keepdims=True), 1.0)
    return Calibration(edges, reference, population_stability_index(reference[None], window_counts / totals))
