"""Variance of a mean under serial dependence (heteroskedasticity and autocorrelation consistent).

Bartlett kernel: Newey & West, "A Simple, Positive Semi-Definite, Heteroskedasticity and Autocorrelation Consistent
Covariance Matrix", Econometrica 55 (1987), eq. 5. Lag choice: Newey & West, "Automatic Lag Selection in Covariance
Matrix Estimation", Review of Economic Studies 61 (1994), table II.B without prewhitening.

Equally weighted cosines: Müller, "A Theory of Robust Long-Run Variance Estimation", Journal of Econometrics 141 (2007);
number of terms and the t distribution as in Lazarus, Lewis, Stock & Watson, "HAR Inference: Recommendations for
Practice", Journal of Business & Economic Statistics 36 (2018), equations 4, 5 and 10.
"""

import math

import numpy as np

from training.statistics.inputs import Series


def autocovariances(values: Series, lags: int) -> Series:
    """Return the sample autocovariances of lags 0 to ``lags`` with the divisor T; float64 [lags + 1]."""
    centred = values - values.mean()
    steps = len(values)
    return np.array([centred[lag:] @ centred[: steps - lag] for lag in range(min(lags, steps - 1) + 1)]) / steps


def automatic_lags(values: Series) -> int:
    """Return the Newey-West (1994) number of Bartlett lags for a series [T]."""
    steps = len(values)
    horizon = min(int(4.0 * (steps / 100.0) ** (2.0 / 9.0)), steps - 1)
    gamma = autocovariances(values, horizon)
    level = gamma[0] + 2.0 * gamma[1:].sum()
    slope = 2.0 * (np.arange(1, len(gamma)) * gamma[1:]).sum()
    if gamma[0] <= 0.0 or level <= 0.0:
        # A series that nearly cancels itself: the plug-in has no scale, its own horizon is the fixed rule.
        return horizon
    return min(int(1.1447 * ((slope / level) ** 2 * steps) ** (1.0 / 3.0)), steps - 1)


def long_run_variance(values: Series, lags: int | None = None) -> float:
    """Return the Bartlett estimate of ``lim T var(mean)`` of a series [T]; ``lags`` None chooses them from the data."""
    chosen = automatic_lags(values) if lags is None else lags
    gamma = autocovariances(values, chosen)
    weights = 1.0 - np.arange(1, len(gamma)) / (chosen + 1.0)
    return max(float(gamma[0] + 2.0 * (weights * gamma[1:]).sum()), 0.0)


def standard_error_of_mean(values: Series, lags: int | None = None) -> float:
    """Return the Newey-West standard error of the mean of a series [T]."""
    return math.sqrt(long_run_variance(values, lags) / len(values))


def cosine_terms(steps: int, horizon: int = 1) -> int:
    """Return how many cosines enter the variance of a mean over T steps: ``0.41 T^(2/3)``, at least 2.

    Fewer where values overlap over ``horizon`` steps: the fastest cosine must be slow beside the overlap, or it would
    not see that neighbours are alike.
    """
    return max(min(int(0.41 * steps ** (2.0 / 3.0)), steps // (2 * horizon)), 2)


def cosine_variance(values: Series, terms: int) -> float:
    """Return the estimate of ``lim T var(mean)`` of a series [T] by its first cosine transforms; chi-square, ``terms``.

    The cosines add up to 0 over the series: the mean needs no subtraction, and takes no degree of freedom.
    """
    steps = len(values)
    angles = np.pi * np.outer(np.arange(1, terms + 1), np.arange(steps) + 0.5) / steps
    weights = np.sqrt(2.0 / steps) * np.cos(angles) @ values
    return float((weights**2).mean())
