"""Sharpe statistics against the figures printed in the papers, and against formulas written another way."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from core.errors import BadInputError
from training.statistics.dependence import automatic_lags, long_run_variance
from training.statistics.sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum,
    expected_maximum_sharpe,
    minimum_track_record,
    moments_of,
    probabilistic_sharpe,
    probability_above,
    robust_standard_error,
    sharpe_ratios,
)


def skewed_returns(steps: int = 800, seed: int = 4) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return 0.0004 + 0.01 * (generator.standard_t(5, steps) - 0.3 * (generator.exponential(1.0, steps) - 1.0))


def test_the_deflated_ratio_of_the_paper() -> None:
    """Bailey & López de Prado (2014), numerical example: 100 trials, yearly ratio 2.5 over five years of days."""
    found = Moments(steps=1250, sharpe=2.5 / math.sqrt(250), skewness=-3.0, kurtosis=10.0)
    scatter = math.sqrt(0.5 / 250)
    benchmark = expected_maximum_sharpe(scatter, 100)
    assert benchmark == pytest.approx(0.1132, abs=5e-5)
    assert probability_above(found, benchmark) == pytest.approx(0.9004, abs=5e-5)
    assert probability_above(found, expected_maximum_sharpe(scatter, 46)) == pytest.approx(0.9505, abs=5e-5)


def test_the_probabilistic_ratio_of_the_paper() -> None:
    """Bailey & López de Prado (2012), section 4.2: two years of months, first as if normal, then with their shape."""
    ratio = 0.036 / 0.079
    assert probability_above(Moments(24, ratio), 0.0) == pytest.approx(0.982, abs=1e-3)
    assert probability_above(Moments(24, ratio, -2.448, 10.164), 0.0) == pytest.approx(0.913, abs=1e-3)


@pytest.mark.parametrize(
    ("per_year", "skewness", "kurtosis", "years"),
    [(252, 0.0, 3.0, 2.73), (52, 0.0, 3.0, 2.83), (12, 0.0, 3.0, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_the_track_records_of_the_paper(per_year: int, skewness: float, kurtosis: float, years: float) -> None:
    """Bailey & López de Prado (2012), section 5: a yearly ratio of 2 against 1 with 95 % confidence."""
    found = Moments(100, 2.0 / math.sqrt(per_year), skewness, kurtosis)
    steps = minimum_track_record(found, 1.0 / math.sqrt(per_year), 0.95)
    assert steps / per_year == pytest.approx(years, abs=0.006)


def test_after_the_minimum_track_record_the_probability_is_the_confidence() -> None:
    found = Moments(500, 0.08, -0.7, 6.0)
    steps = minimum_track_record(found, 0.02, 0.9)
    later = Moments(round(steps), 0.08, -0.7, 6.0)
    assert probability_above(later, 0.02) == pytest.approx(0.9, abs=1e-3)
    assert minimum_track_record(found, 0.08) == math.inf


@pytest.mark.parametrize("trials", [5, 20, 100, 1000])
def test_the_expected_maximum_is_near_the_integral(trials: int) -> None:
    exact = integrate.quad(lambda x: x * trials * stats.norm.pdf(x) * stats.norm.cdf(x) ** (trials - 1), -12, 12)[0]
    assert expected_maximum(trials) == pytest.approx(exact, rel=0.03)


def test_one_trial_expects_nothing_and_more_expect_more() -> None:
    values = [expected_maximum(trials) for trials in (1.0, 1.01, 1.5, 2.0, 3.0, 10.0, 1e6)]
    assert values[0] == 0.0
    assert values == sorted(values)


def test_moments_are_those_of_scipy() -> None:
    returns = skewed_returns()
    found = moments_of(returns)
    assert found.sharpe == pytest.approx(returns.mean() / np.sqrt(returns.var(ddof=1)))
    assert found.skewness == pytest.approx(stats.skew(returns))
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))


def test_without_lags_the_robust_error_is_that_of_independent_returns() -> None:
    returns = skewed_returns()
    found = moments_of(returns)
    ratio = robust_standard_error(returns, 0) / found.standard_error
    assert ratio == pytest.approx(1.0, rel=3e-3)  # T against T - 1, and the ratio's own degrees of freedom


def test_the_robust_error_is_that_of_the_method_of_moments() -> None:
    """Lo (2002) written as GMM: a Newey-West covariance of (r - m, (r - m)² - v) and the gradient of m / sqrt(v)."""
    generator = np.random.default_rng(8)
    returns = np.convolve(generator.standard_t(6, 1500), [1.0, 0.6, 0.3], "valid") * 0.01 + 0.0005
    lags, steps = 7, len(returns)
    moments = np.column_stack([returns - returns.mean(), (returns - returns.mean()) ** 2 - returns.var()])
    covariance = moments.T @ moments / steps
    for lag in range(1, lags + 1):
        part = moments[lag:].T @ moments[:-lag] / steps
        covariance += (1.0 - lag / (lags + 1.0)) * (part + part.T)
    deviation = returns.std()
    gradient = np.array([1.0 / deviation, -returns.mean() / (2.0 * deviation**3)])
    expected = math.sqrt(gradient @ covariance @ gradient / steps)
    assert robust_standard_error(returns, lags) == pytest.approx(expected, rel=1e-3)
    assert robust_standard_error(returns) > 1.2 * moments_of(returns).standard_error


def test_the_long_run_variance_is_that_of_statsmodels() -> None:
    from statsmodels.regression.linear_model import OLS

    values = np.convolve(np.random.default_rng(1).standard_normal(700), np.ones(5), "valid")
    fitted = OLS(values, np.ones(len(values))).fit(cov_type="HAC", cov_kwds={"maxlags": 9, "use_correction": False})
    assert math.sqrt(long_run_variance(values, 9) / len(values)) == pytest.approx(float(fitted.bse[0]))


def test_dependence_asks_for_more_lags() -> None:
    noise = np.random.default_rng(2).standard_normal(3000)
    assert automatic_lags(noise) < automatic_lags(np.convolve(noise, np.ones(6), "valid")) < 200


def test_a_search_without_skill_is_deflated_to_a_coin() -> None:
    """The best of 200 trials of noise looks certain alone, and is nothing once the 200 are counted."""
    matrix = np.random.default_rng(3).standard_normal((1000, 200)) * 0.01
    ratios = sharpe_ratios(matrix)
    best = matrix[:, ratios.argmax()]
    assert probabilistic_sharpe(best).probability > 0.99
    deflated = deflated_sharpe(best, ratios, 200.0)
    assert 0.1 < deflated.probability < 0.9
    assert deflated.sharpe == pytest.approx(ratios.max())
    assert deflated.trial_deviation == pytest.approx(np.std(ratios, ddof=1))
    assert deflated.benchmark == pytest.approx(
        max(deflated.trial_deviation, 1 / math.sqrt(999)) * expected_maximum(200)
    )
    wide = deflated_sharpe(best, ratios * 3.0, 200.0)
    assert wide.benchmark == pytest.approx(3.0 * np.std(ratios, ddof=1) * expected_maximum(200))


def test_near_copies_do_not_lower_the_benchmark() -> None:
    """Variants of one idea scatter little among themselves; what counts is how each scatters around nothing."""
    generator = np.random.default_rng(6)
    matrix = generator.standard_normal((500, 1)) + 0.05 * generator.standard_normal((500, 50))
    deflated = deflated_sharpe(matrix[:, 0], sharpe_ratios(matrix), 4.0)
    assert deflated.trial_deviation < 0.01 < deflated.deviation
    assert deflated.deviation == pytest.approx(1.0 / math.sqrt(499))
    assert deflated_sharpe(matrix[:, 0], sharpe_ratios(matrix)[:1], 1.0).benchmark == 0.0


def test_a_strategy_that_never_trades_is_a_coin() -> None:
    still = probabilistic_sharpe(np.zeros(100))
    assert (still.value, still.probability) == (0.0, 0.5)
    assert still.low == -still.high
    matrix = np.column_stack([np.zeros(50), np.random.default_rng(0).standard_normal(50)])
    assert sharpe_ratios(matrix)[0] == 0.0


def test_the_interval_holds_the_value_and_inverts_the_probability() -> None:
    returns = skewed_returns()
    found = probabilistic_sharpe(returns, confidence=0.9)
    assert found.low < found.value < found.high
    edge = optimize.brentq(
        lambda benchmark: probabilistic_sharpe(returns, benchmark).robust_probability - 0.95, -1.0, found.value
    )
    assert edge == pytest.approx(found.low, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: moments_of(np.full(50, 0.1)), "constant"),
        (lambda: moments_of([0.1, 0.2]), "at least 3"),
        (lambda: moments_of([0.1, math.nan, 0.2, 0.3]), "not finite"),
        (lambda: sharpe_ratios(np.zeros(9)), "matrix"),
        (lambda: sharpe_ratios(np.column_stack([np.arange(9.0), np.full(9, 0.3)])), "column 1"),
        (lambda: deflated_sharpe(skewed_returns(), [], 3.0), "at least 1"),
        (lambda: deflated_sharpe(skewed_returns(), [0.1, 0.2], 0.5), "at least 1"),
        (lambda: expected_maximum_sharpe(-1.0, 3.0), "not < 0"),
        (lambda: probabilistic_sharpe(skewed_returns(), confidence=1.0), "confidence"),
    ],
)
def test_what_cannot_be_answered_is_refused(call: object, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        call()  # type: ignore[operator]
