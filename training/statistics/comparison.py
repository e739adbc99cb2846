"""Is one forecast better than another on the same decisions?

Diebold & Mariano, "Comparing Predictive Accuracy", Journal of Business & Economic Statistics 13 (1995), section 1.1;
small samples as in Harvey, Leybourne & Newbold, "Testing the Equality of Prediction Mean Squared Errors", International
Journal of Forecasting 13 (1997), eq. 9, against Student's t with T - 1 degrees of freedom. The variance by cosines, and
its own t distribution: ``training.statistics.dependence``.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from core.errors import BadInputError
from training.statistics.dependence import (
    autocovariances,
    automatic_lags,
    cosine_terms,
    cosine_variance,
    long_run_variance,
)
from training.statistics.inputs import Series, checked_confidence, checked_series

Kernel = Literal["rectangular", "bartlett", "cosine"]


@dataclass(frozen=True)
class Comparison:
    """Mean difference of two losses, a less b: below 0, a is better.

    Args:
        value: mean of ``loss_a - loss_b`` per step.
        low: lower limit of its interval.
        high: upper limit.
        statistic: Diebold-Mariano statistic, with the small-sample correction where lags are summed.
        p_value: two-sided.
        p_better: one-sided, of "a is no better than b"; small where a is better.
        kernel: the one used: Bartlett where the rectangular one gave no positive variance.
        lags: autocovariances that entered; 0 for the cosines.
        freedom: degrees of freedom of Student's t.
        steps: T.
    """

    value: float
    low: float
    high: float
    statistic: float
    p_value: float
    p_better: float
    kernel: Kernel
    lags: int
    freedom: int
    steps: int


def diebold_mariano(
    loss_a: Any, loss_b: Any, horizon: int = 1, kernel: Kernel = "rectangular", confidence: float = 0.95
) -> Comparison:
    """Test whether two forecasts of the same decisions lose equally.

    Several instruments of one time are correlated: hand in the mean loss per decision time.

    Args:
        loss_a: float64 [T], lower is better, in order of time.
        loss_b: float64 [T].
        horizon: steps h that a label spans; optimal forecasts' errors are correlated over h - 1 lags.
        kernel: ``rectangular`` as published (h - 1 lags); ``bartlett`` with the automatic number of lags, not
            fewer than h - 1, where losses are correlated beyond their horizon (volatility clusters): it rejects too
            often in small samples; ``cosine`` for the same case keeps its size there, for a little power.
        confidence: of the interval.

    Raises:
        BadInputError: lengths differ, a horizon that is not from 1 to T / 2, fewer than 4 steps, bad values.
    """
    first, second = checked_series(loss_a, "the first losses", 4), checked_series(loss_b, "the second losses", 4)
    level = checked_confidence(confidence)
    steps = len(first)
    if len(second) != steps:
        raise BadInputError(f"the first losses have {steps} steps, the second {len(second)}: they must be paired")
    if kernel not in ("rectangular", "bartlett", "cosine"):
        raise BadInputError(f"no kernel named {kernel!r}: rectangular, bartlett or cosine")
    if not 1 <= horizon <= steps // 2:
        raise BadInputError(f"a horizon of {horizon} steps does not fit {steps} losses")
    difference = first - second
    value = float(difference.mean())
    lags, freedom, used, error = _error(difference, horizon, kernel)
    if error <= 1e-14 * float(np.abs(difference).max(initial=0.0)):
        # Losses that differ by nothing, or by a constant: no scatter to test against.
        statistic = 0.0 if value == 0.0 else math.copysign(math.inf, value)
    else:
        statistic = value / error
    half = float(stdtrit(freedom, 0.5 + level / 2.0)) * error
    p_better = float(stdtr(freedom, statistic))
    return Comparison(
        value=value,
        low=value - half,
        high=value + half,
        statistic=statistic,
        p_value=min(2.0 * float(stdtr(freedom, -abs(statistic))), 1.0),
        p_better=p_better,
        kernel=used,
        lags=lags,
        freedom=freedom,
        steps=steps,
    )


def _error(difference: Series, horizon: int, kernel: Kernel) -> tuple[int, int, Kernel, float]:
    """Return lags, degrees of freedom, the kernel that was used, and the standard error of the mean."""
    steps = len(difference)
    if kernel == "cosine":
        terms = cosine_terms(steps, horizon)
        return 0, terms, kernel, math.sqrt(cosine_variance(difference, terms) / steps)
    gamma = autocovariances(difference, horizon - 1)
    lags, used, variance = horizon - 1, kernel, float(gamma[0] + 2.0 * gamma[1:].sum())
    if kernel == "bartlett" or variance <= 0.0:
        used = "bartlett"
        lags = max(automatic_lags(difference), horizon - 1)
        variance = long_run_variance(difference, lags)
    correction = (steps + 1.0 - 2.0 * horizon + horizon * (horizon - 1.0) / steps) / steps
    return lags, steps - 1, used, math.sqrt(variance / steps / correction)
