"""Diebold-Mariano against the papers' formulas in loops and against a regression with robust errors."""

import math

import numpy as np
import pytest
from scipy import fft, stats

from core.errors import BadInputError
from training.statistics.comparison import diebold_mariano


def losses(edge: float, steps: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two losses whose difference is correlated over two lags; the first is better by ``edge``."""
    generator = np.random.default_rng(seed)
    difference = np.convolve(generator.standard_normal(steps + 2), [1.0, 0.7, 0.4], "valid") - edge
    common = generator.exponential(1.0, steps)
    return common + difference, common


@pytest.mark.parametrize("horizon", [1, 2, 3, 6])
def test_the_statistic_is_that_of_the_papers(horizon: int) -> None:
    first, second = losses(0.2)
    d = [a - b for a, b in zip(first, second, strict=True)]
    n = len(d)
    mean = sum(d) / n

    def covariance(lag: int) -> float:
        return sum((d[t] - mean) * (d[t - lag] - mean) for t in range(lag, n)) / n

    variance = (covariance(0) + 2 * sum(covariance(lag) for lag in range(1, horizon))) / n
    correction = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    expected = correction * mean / math.sqrt(variance)
    found = diebold_mariano(first, second, horizon)
    assert found.kernel == "rectangular"
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(expected), n - 1))
    assert found.p_better == pytest.approx(stats.t.cdf(expected, n - 1))


def test_one_step_ahead_it_is_the_paired_t_test() -> None:
    first, second = losses(0.1)
    found, expected = diebold_mariano(first, second), stats.ttest_rel(first, second)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    limits = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))


def test_with_bartlett_weights_it_is_a_regression_on_a_constant_with_robust_errors() -> None:
    from statsmodels.regression.linear_model import OLS

    first, second = losses(0.2, 400)
    found = diebold_mariano(first, second, 3, "bartlett")
    fitted = OLS(first - second, np.ones(400)).fit(
        cov_type="HAC", cov_kwds={"maxlags": found.lags, "use_correction": False}
    )
    correction = math.sqrt((400 + 1 - 6 + 6 / 400) / 400)
    assert found.lags >= 2
    assert found.statistic == pytest.approx(float(fitted.tvalues[0]) * correction)


def test_by_cosines_it_is_the_discrete_cosine_transform_and_its_own_t_distribution() -> None:
    first, second = losses(0.2, 400)
    found = diebold_mariano(first, second, 3, "cosine")
    # Lazarus, Lewis, Stock & Watson: the first 0.41 T^(2/3) coefficients of the orthonormal DCT, squared and averaged.
    terms = int(0.41 * 400 ** (2 / 3))
    weights = fft.dct(first - second, type=2, norm="ortho")[1 : terms + 1]
    expected = (first - second).mean() / math.sqrt((weights**2).mean() / 400)
    assert (found.freedom, found.lags) == (terms, 0)
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(expected), terms))
    half = stats.t.ppf(0.975, terms) * (found.value / expected)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert diebold_mariano(first, second, 60, "cosine").freedom == 3  # slow beside the overlap


def test_a_negative_variance_falls_back_to_bartlett_and_says_so() -> None:
    wave = np.tile([1.0, -1.0], 30) + np.random.default_rng(1).standard_normal(60) * 0.01
    found = diebold_mariano(wave, np.zeros(60), 2)
    assert found.kernel == "bartlett"
    assert math.isfinite(found.statistic)


def test_a_better_forecast_is_found_and_the_sides_mirror() -> None:
    first, second = losses(0.8, 400)
    found, mirrored = diebold_mariano(first, second, 3), diebold_mariano(second, first, 3)
    assert found.high < 0.0
    assert found.p_better < 1e-4
    assert mirrored.statistic == pytest.approx(-found.statistic)
    assert mirrored.p_better == pytest.approx(1.0 - found.p_better)
    assert mirrored.p_value == pytest.approx(found.p_value)


def test_equal_losses_are_no_evidence() -> None:
    same = np.random.default_rng(2).standard_normal(50)
    found = diebold_mariano(same, same, 2)
    assert (found.value, found.statistic, found.p_value, found.p_better) == (0.0, 0.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("first", "second", "horizon", "said"),
    [
        (np.zeros(10), np.zeros(9), 1, "paired"),
        (np.zeros(10), np.zeros(10), 0, "horizon of 0"),
        (np.zeros(10), np.zeros(10), 6, "horizon of 6"),
        (np.zeros(3), np.zeros(3), 1, "at least 4"),
        (np.full(10, np.nan), np.zeros(10), 1, "finite"),
    ],
)
def test_bad_pairs_are_refused(first: np.ndarray, second: np.ndarray, horizon: int, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        diebold_mariano(first, second, horizon)
    with pytest.raises(BadInputError, match="no kernel"):
        diebold_mariano(np.zeros(10), np.zeros(10), 1, "parzen")  # type: ignore[arg-type]
