"""Variance of a mean under serial dependence (heteroskedasticity and autocorrelation consistent).

Bartlett kernel: Newey & West, "A Simple, Positive Semi-Definite, Heteroskedasticity and Autocorrelation Consistent
Covariance Matrix", Econometrica 55 (1987), eq. 5. Lag choice: Newey & West, "Automatic Lag Selection in Covariance
Matrix Estimation", Review of Economic Studies 61 (1994), table II.B without prewhitening.
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
