"""The Sharpe ratio as an estimate: its error, its probability, and what a search of many trials expects by luck.

All ratios are per step (never annualised), with the standard deviation of T - 1 degrees of freedom.

- Standard error under independent returns of any shape: Mertens, "Comments on variance of the IID estimator in
  Lo (2002)" (2002); Bailey & López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15 (2012), eq. 7.
- Robust to autocorrelation: the delta method of Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal 58
  (2002), with the Newey-West long-run variance of the ratio's influence function.
- Probabilistic Sharpe ratio and minimum track record length: Bailey & López de Prado (2012), eq. 11 and 13.
- Deflated Sharpe ratio: Bailey & López de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40
  (2014), eq. 1 (expected maximum) and 2 (probability).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from core.errors import BadInputError
from training.statistics.dependence import standard_error_of_mean
from training.statistics.inputs import Series, checked_confidence, checked_matrix, checked_series

EULER_MASCHERONI = 0.5772156649015329
# Below this multiple of the largest value a spread is rounding, not risk.
ROUNDING = 1e-13


@dataclass(frozen=True)
class Moments:
    """What the error of a Sharpe ratio depends on.

    Args:
        steps: number of returns T.
        sharpe: mean over standard deviation, per step.
        skewness: third standardised moment.
        kurtosis: fourth standardised moment; 3 for a normal distribution.
    """

    steps: int
    sharpe: float
    skewness: float = 0.0
    kurtosis: float = 3.0

    @property
    def standard_error(self) -> float:
        """Standard error under independent, identically distributed returns (Mertens 2002)."""
        spread = 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2
        return math.sqrt(max(spread, 0.0) / (self.steps - 1))


@dataclass(frozen=True)
class ProbabilisticSharpe:
    """A Sharpe ratio with its interval and the probability that the true one exceeds a benchmark.

    ``low`` and ``high`` are the limits of the robust interval; ``robust_probability`` rests on the same error.
    """

    value: float
    low: float
    high: float
    benchmark: float
    probability: float
    robust_probability: float
    standard_error: float
    robust_standard_error: float
    moments: Moments


@dataclass(frozen=True)
class DeflatedSharpe:
    """The best trial's Sharpe ratio against the one that luck alone would have found.

    Args:
        sharpe: of the selected returns, per step.
        benchmark: expected maximum of ``effective_trials`` trials without skill, per step.
        probability: that the true ratio exceeds the benchmark (the deflated Sharpe ratio of the paper).
        robust_probability: the same with the autocorrelation-robust standard error; never read the larger one alone.
        standard_error: under independent returns.
        robust_standard_error: under autocorrelated returns.
        effective_trials: as given.
        trial_deviation: standard deviation of the trials' ratios; 0 for a single trial.
        deviation: the one used: not below what T returns without skill scatter by themselves.
        moments: of the selected returns.
    """

    sharpe: float
    benchmark: float
    probability: float
    robust_probability: float
    standard_error: float
    robust_standard_error: float
    effective_trials: float
    trial_deviation: float
    deviation: float
    moments: Moments


def sharpe_ratios(matrix: Any) -> NDArray[np.float64]:
    """Return the Sharpe ratio of each column of returns [T, K], per step; 0 for a column that never moves from 0.

    Raises:
        BadInputError: no matrix of finite returns, or a column constant at another value.
    """
    returns = checked_matrix(matrix, "the matrix of trial returns")
    mean, deviation = returns.mean(axis=0), returns.std(axis=0, ddof=1)
    flat = deviation <= ROUNDING * np.abs(returns).max(axis=0)
    constant = np.flatnonzero(flat & (returns[0] != 0.0))
    if len(constant):
        raise BadInputError(f"column {constant[0]} of the trial returns is constant: it has no Sharpe ratio")
    return np.where(flat, 0.0, mean / np.where(flat, 1.0, deviation))


def moments_of(returns: Any) -> Moments:
    """Return the moments of returns [T]; a series that never moves from 0 has a ratio of 0 and normal moments.

    Raises:
        BadInputError: fewer than 3 finite returns, or constant ones.
    """
    series = checked_series(returns, "the returns")
    deviation = float(series.std(ddof=1))
    if deviation <= ROUNDING * float(np.abs(series).max()):
        if series[0] != 0.0:
            raise BadInputError("the returns are constant: they have no Sharpe ratio")
        return Moments(len(series), 0.0)
    centred = series - series.mean()
    variance = float((centred**2).mean())
    return Moments(
        len(series),
        float(series.mean()) / deviation,
        float((centred**3).mean()) / variance**1.5,
        float((centred**4).mean()) / variance**2,
    )


def robust_standard_error(returns: Any, lags: int | None = None) -> float:
    """Return the standard error of the Sharpe ratio of returns [T] under autocorrelation.

    With ``lags`` 0 it is Mertens' formula with T in place of T - 1. None chooses the lags from the data.

    Raises:
        BadInputError: fewer than 3 finite returns, or constant ones.
    """
    series = checked_series(returns, "the returns")
    moments = moments_of(series)
    if not series.any():
        return moments.standard_error
    score = (series - series.mean()) / series.std()
    # Influence of one return on mean / deviation: through the mean, less half the ratio through the variance.
    influence: Series = score - moments.sharpe / 2.0 * (score**2 - 1.0)
    return standard_error_of_mean(influence, lags)


def probability_above(moments: Moments, benchmark: float, standard_error: float | None = None) -> float:
    """Return the probability that the true Sharpe ratio exceeds ``benchmark`` (Bailey & López de Prado 2012, eq. 11).

    Args:
        moments: of the returns.
        benchmark: per step.
        standard_error: another one than that of independent returns.
    """
    error = moments.standard_error if standard_error is None else standard_error
    distance = moments.sharpe - benchmark
    if error <= 0.0:
        return float(distance > 0.0) if distance else 0.5
    return float(ndtr(distance / error))


def probabilistic_sharpe(returns: Any, benchmark: float = 0.0, confidence: float = 0.95) -> ProbabilisticSharpe:
    """Return the Sharpe ratio of returns [T], its interval, and the probability that it exceeds ``benchmark``.

    Raises:
        BadInputError: fewer than 3 finite returns, constant ones, or a confidence outside (0, 1).
    """
    level = checked_confidence(confidence)
    moments = moments_of(returns)
    robust = robust_standard_error(returns)
    half = float(ndtri(0.5 + level / 2.0)) * robust
    return ProbabilisticSharpe(
        value=moments.sharpe,
        low=moments.sharpe - half,
        high=moments.sharpe + half,
        benchmark=benchmark,
        probability=probability_above(moments, benchmark),
        robust_probability=probability_above(moments, benchmark, robust),
        standard_error=moments.standard_error,
        robust_standard_error=robust,
        moments=moments,
    )


def minimum_track_record(moments: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return the number of steps after which the ratio would exceed ``benchmark`` with ``confidence``.

    Bailey & López de Prado (2012), eq. 13; infinite where the observed ratio does not exceed the benchmark.

    Raises:
        BadInputError: a confidence outside (0, 1).
    """
    level = checked_confidence(confidence)
    distance = moments.sharpe - benchmark
    if distance <= 0.0:
        return math.inf
    spread = moments.standard_error**2 * (moments.steps - 1)
    return 1.0 + spread * (float(ndtri(level)) / distance) ** 2


def expected_maximum(trials: float) -> float:
    """Return the expected maximum of ``trials`` independent standard normal values (False Strategy theorem).

    Bailey & López de Prado (2014), eq. 1; 0 for a single one. ``trials`` need not be whole.

    Raises:
        BadInputError: fewer than one, or not finite.
    """
    if not (math.isfinite(trials) and trials >= 1.0):
        raise BadInputError(f"{trials} trials: the effective number of trials must be finite and at least 1")
    if trials == 1.0:
        return 0.0
    first, second = ndtri(1.0 - 1.0 / trials), ndtri(1.0 - 1.0 / (trials * math.e))
    return max(float((1.0 - EULER_MASCHERONI) * first + EULER_MASCHERONI * second), 0.0)


def expected_maximum_sharpe(deviation: float, trials: float) -> float:
    """Return the best Sharpe ratio that ``trials`` independent trials without skill show on average.

    Args:
        deviation: standard deviation of the trials' ratios.
        trials: effective number of independent trials, at least 1.

    Raises:
        BadInputError: a negative deviation, or fewer than one trial.
    """
    if not (math.isfinite(deviation) and deviation >= 0.0):
        raise BadInputError(f"the deviation of the trials' Sharpe ratios is {deviation}; it must be finite and not < 0")
    return deviation * expected_maximum(trials)


def deflated_sharpe(returns: Any, trial_sharpes: Any, effective_trials: float) -> DeflatedSharpe:
    """Return the deflated Sharpe ratio of the selected returns.

    The trials' deviation enters with a floor of ``1 / sqrt(T - 1)``, the scatter of T returns without skill. Trials
    that are variants of one idea scatter less among themselves than each does around its true ratio; with an effective
    number that has already been reduced for their correlation, their own scatter would count the correlation twice and
    let luck through.

    Args:
        returns: float64 [T], of the trial that was selected.
        trial_sharpes: float64 [K], per step, of every trial that could have been selected, itself among them.
        effective_trials: number of independent trials, at least 1 (``effective.effective_trials``).

    Raises:
        BadInputError: too few or constant returns, no trial, values that are not finite, fewer than one trial.
    """
    sharpes = checked_series(trial_sharpes, "the trials' Sharpe ratios", 1)
    moments = moments_of(returns)
    robust = robust_standard_error(returns)
    trial_deviation = float(sharpes.std(ddof=1)) if len(sharpes) > 1 else 0.0
    deviation = max(trial_deviation, 1.0 / math.sqrt(moments.steps - 1))
    benchmark = expected_maximum_sharpe(deviation, effective_trials)
    return DeflatedSharpe(
        sharpe=moments.sharpe,
        benchmark=benchmark,
        probability=probability_above(moments, benchmark),
        robust_probability=probability_above(moments, benchmark, robust),
        standard_error=moments.standard_error,
        robust_standard_error=robust,
        effective_trials=float(effective_trials),
        trial_deviation=trial_deviation,
        deviation=deviation,
        moments=moments,
    )
