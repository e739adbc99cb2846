"""Do the features at the end of the data still look like those the model was validated on?

The last window of decision times is compared with all before it by the population stability index (Siddiqi, *Credit
Risk Scorecards*, 2006, p. 155), and the index is ranked among those of earlier windows of the same length against the
same reference: features are autocorrelated, and a table's threshold would fire on every one of them (docs/adr/0006).
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset

Array = NDArray[np.float64]
_BINS = 10
_FLOOR = 1e-4
_FALSE_ALARMS = 0.05
_WINDOWS = 200
_SHARE = 0.05  # of the history that counts as the present


class FeatureShift(msgspec.Struct, frozen=True, kw_only=True):
    """One feature that moved more than its own history."""

    feature: str
    index: float
    threshold: float


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """The present against the past; ``typical`` is the share that a window of the past shows in 95 of 100 cases."""

    window_steps: int
    features: int
    share: float  # of features whose index exceeds 95 % of their past
    typical: float
    moved: tuple[FeatureShift, ...]  # the largest first, at most ten


def drift_at_cutoff(dataset: Dataset) -> Drift:
    """Compare the last window of a dataset with its history."""
    order = np.argsort(dataset.time_ns, kind="stable")
    axis, step = np.unique(dataset.time_ns[order], return_inverse=True)
    window = max(int(len(axis) * _SHARE), 20)
    if len(axis) < 4 * window:
        return Drift(window_steps=window, features=0, share=0.0, typical=0.0, moved=())
    past = len(axis) - window
    starts = np.unique(np.linspace(0, past - window, _WINDOWS).astype(np.int64))
    # Row counts at the edge of each step: any window is two look-ups in prefix sums.
    edges = np.searchsorted(step, np.arange(len(axis) + 1))
    count = dataset.features.shape[1]
    index, earlier = np.zeros(count), np.zeros((len(starts), count))
    for column in range(count):
        values = dataset.features[order, column]
        codes = _codes(values, values[: edges[past]])
        sums = np.zeros((len(codes) + 1, _BINS + 1))
        for code in range(_BINS + 1):
            np.cumsum(codes == code, out=sums[1:, code])
        reference = _shares(sums[edges[past]])
        index[column] = _index(reference, _shares(sums[-1] - sums[edges[past]]))
        windows = sums[edges[starts + window]] - sums[edges[starts]]
        earlier[:, column] = _index(reference, _shares(windows))
    thresholds = np.quantile(earlier, 1.0 - _FALSE_ALARMS, axis=0)
    moved = [
        FeatureShift(feature=name, index=float(index[n]), threshold=float(thresholds[n]))
        for n, name in enumerate(dataset.feature_names)
        if index[n] > thresholds[n]
    ]
    return Drift(
        window_steps=window,
        features=count,
        share=float((index > thresholds).mean()),
        typical=float(np.quantile((earlier > thresholds).mean(axis=1), 1.0 - _FALSE_ALARMS)),
        moved=tuple(sorted(moved, key=lambda shift: (-shift.index, shift.feature))[:10]),
    )


def _codes(values: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the reference's decile of each value; missing values are a bin of their own."""
    known = reference[np.isfinite(reference)]
    inner = np.quantile(known, np.arange(1, _BINS) / _BINS) if len(known) else np.zeros(_BINS - 1)
    return np.where(np.isfinite(values), np.searchsorted(inner, values, side="right"), _BINS).astype(np.int64)


def _shares(counts: Array) -> Array:
    return np.maximum(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1.0), _FLOOR)


def _index(reference: Array, current: Array) -> Array:
    return ((current - reference) * np.log(current / reference)).sum(axis=-1)
