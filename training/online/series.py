"""How a comparison went over time: money of both versions and of the account, e-values, bounds. For people to look at.

Everything is computed as ``findings_of`` computes it, from the same ledger rows; its last values are the findings.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.online.decisions import DecisionStep
from training.online.findings import Paths, calibration_rows, follow_both, known_classes
from training.online.rules import Comparison, OnlineRules
from training.statistics.sequential.calibration import calibration_process
from training.statistics.sequential.mean import confidence_sequence, e_process

Array = NDArray[np.float64]
Times = NDArray[np.int64]
_LOOKS = 80  # at which bounds are computed: more than a screen shows


@dataclass(frozen=True)
class ComparisonSeries:
    """One comparison: M compared steps that are over, B whole blocks, C times with a known class, K looks.

    Attributes:
        times: int64 [M], decision times, UTC nanoseconds.
        champion, challenger: float64 [M], summed net returns had each version traded every decision.
        account: float64 [M], what the account itself earned since the first compared decision.
        block_times: int64 [B], last decision of each block.
        benefit, harm: float64 [B], log e-values.
        calibration_times: int64 [C]; ``calibration``: float64 [C], log e-value.
        looks: int64 [K], number of blocks at each look.
        mean, low, high: float64 [K], of the difference a block; bounds before the first bet are NaN.
    """

    times: Times
    champion: Array
    challenger: Array
    account: Array
    block_times: Times
    benefit: Array
    harm: Array
    calibration_times: Times
    calibration: Array
    looks: Times
    mean: Array
    low: Array
    high: Array


def series_of(
    steps: list[DecisionStep], comparison: Comparison, rules: OnlineRules, paths: Paths | None = None
) -> ComparisonSeries | None:
    """Return how a comparison went over decision steps, oldest first.

    None before the first step that both versions answered is over. ``paths`` are those of ``follow_both``, if known.
    """
    paths = paths or follow_both(steps, comparison, rules)
    if not paths.steps:
        return None
    size = rules.block_steps
    count = len(paths.steps) // size
    blocks = paths.differences[: count * size].reshape(count, size).sum(axis=1)
    times = np.array([steps[index].time_ns for index in paths.steps], np.int64)
    equity = np.array([steps[index].equity for index in paths.steps])
    ends = np.array([steps[min(index + 1, len(steps) - 1)].equity or math.nan for index in paths.steps])
    looks = (
        np.unique(np.linspace(1, count, min(count, _LOOKS)).round().astype(np.int64)) if count else np.array([], int)
    )
    bounds = [confidence_sequence(blocks[:look], rules.settings.cutting, rules.settings.confidence) for look in looks]
    low, high = (np.array([pair[side] for pair in bounds]) for side in (0, 1))
    numbers, said, came = calibration_rows(steps, comparison.challenger, known_classes(steps, rules), rules)
    calibration = calibration_process(said, came, numbers).logs
    return ComparisonSeries(
        times=times,
        champion=np.cumsum(paths.champion.returns),
        challenger=np.cumsum(paths.challenger.returns),
        account=_filled(ends / equity[0] - 1.0),
        block_times=times[size - 1 : count * size : size],
        benefit=e_process(blocks, rules.settings.cutting).logs,
        harm=e_process(-blocks, rules.settings.cutting).logs,
        calibration_times=np.array([steps[number].time_ns for number in np.unique(numbers)], np.int64),
        calibration=calibration,
        looks=looks,
        mean=np.array([blocks[:look].mean() for look in looks]),
        low=np.where(np.isfinite(low), low, np.nan),
        high=np.where(np.isfinite(high), high, np.nan),
    )


def _filled(values: Array) -> Array:
    """Carry the last known value over steps whose equity is not noted."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return np.zeros(len(values))
    place = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return np.where(place >= 0, values[known[np.maximum(place, 0)]], 0.0)
