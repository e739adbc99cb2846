"""Value at risk against independent numpy and scipy, its coverage on heavy-tailed returns, and its restart."""

import math

import numpy as np
import pytest
from scipy import stats

from core.domain import INPUT_COLUMNS
from trading import records
from trading.risk.value_at_risk import LEAST, SHRINKAGE, WINDOW, ReturnHistory

NAMES = ("EUR_USD", "GBP_USD", "USD_JPY")
RATES = {"USD": 1.0, "EUR": 1.1, "GBP": 1.3}
POSITIONS = {"EUR_USD": 100_000.0, "GBP_USD": -60_000.0, "USD_JPY": 25_000.0}
NOTIONALS = np.array([110_000.0, -78_000.0, 25_000.0])


def simulated(count: int, seed: int) -> np.ndarray:
    """GARCH(1,1) volatility with Student-t shocks (5 degrees of freedom), correlated; simple returns [count, 3]."""
    random = np.random.default_rng(seed)
    root = np.linalg.cholesky(np.array([[1.0, 0.6, -0.3], [0.6, 1.0, -0.2], [-0.3, -0.2, 1.0]]))
    variance, returns = 1.0, np.empty((count, 3))
    for row in range(count):
        # One chi-square for all: a multivariate t, whose extremes come together.
        shock = root @ random.standard_normal(3) / math.sqrt(random.chisquare(5) / 5) * math.sqrt(3 / 5)
        returns[row] = 0.005 * math.sqrt(variance) * shock
        variance = 0.04 + 0.06 * variance * float(shock @ shock) / 3 + 0.90 * variance
    return returns


def fed(returns: np.ndarray, decay: float = 0.94) -> ReturnHistory:
    history = ReturnHistory(NAMES, decay)
    prices = np.vstack([np.ones(3), np.cumprod(1.0 + returns, axis=0)])
    for row in prices:
        history.update(row)
    return history


def test_parametric_is_the_textbook_formula() -> None:
    returns = simulated(200, 1)
    history = fed(returns)
    weights = 0.94 ** np.arange(199, -1, -1)
    covariance = np.average(returns[:, :, None] * returns[:, None, :], axis=0, weights=weights)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
    np.testing.assert_allclose(history.covariance(), shrunk, rtol=1e-10)
    deviation = math.sqrt(NOTIONALS @ shrunk @ NOTIONALS)
    figures = history.figures(POSITIONS, RATES, 0.99)
    assert figures.parametric == pytest.approx(stats.norm.ppf(0.99) * deviation)
    # The mean beyond the quantile, by integration instead of its closed form.
    beyond = stats.norm.expect(lambda x: x, lb=stats.norm.ppf(0.99), conditional=True)
    assert figures.parametric_shortfall == pytest.approx(beyond * deviation, rel=1e-6)
    assert history.parametric(POSITIONS, RATES, 0.99) == figures.parametric


def test_historical_is_the_filtered_quantile() -> None:
    returns = simulated(WINDOW + 100, 2)
    history = fed(returns)
    moment = np.zeros((3,))
    volatilities = []
    for number, row in enumerate(returns):  # volatility known before each return
        volatilities.append(np.sqrt(moment / (1 - 0.94**number)) if number >= LEAST else np.full(3, np.nan))
        moment = 0.94 * moment + 0.06 * row**2
    today = np.sqrt(moment / (1 - 0.94 ** len(returns)))
    scaled = (returns * today / np.array(volatilities))[-WINDOW:]
    losses = -(scaled @ NOTIONALS)
    for confidence in (0.95, 0.99):
        figures = history.figures(POSITIONS, RATES, confidence)
        tail = round(WINDOW * (1 - confidence))
        worst = np.sort(losses)[-tail:]
        assert figures.historical == pytest.approx(worst[0])
        assert figures.historical == pytest.approx(np.quantile(losses, confidence, method="higher"), rel=0.1)
        assert figures.historical_shortfall == pytest.approx(worst.mean())
        assert figures.historical_shortfall >= figures.historical


def kupiec(exceedances: int, trials: int, expected: float) -> float:
    """The p-value of the proportion-of-failures test (Kupiec, Journal of Derivatives 3, 1995)."""
    observed = exceedances / trials

    def log_likelihood(rate: float) -> float:
        return float(stats.binom.logpmf(exceedances, trials, rate))

    return float(stats.chi2.sf(-2 * (log_likelihood(expected) - log_likelihood(observed)), 1))


def test_coverage_on_heavy_tails() -> None:
    # For t shocks a normal quantile is known to be too low at 99 %; the filtered history is not.
    returns = simulated(3_000, 3)
    history = ReturnHistory(NAMES, 0.97)
    prices = np.vstack([np.ones(3), np.cumprod(1.0 + returns, axis=0)])
    for row in prices[: WINDOW + 1]:
        history.update(row)
    misses = {"parametric": 0, "historical": 0, "parametric 95": 0}
    trials = len(returns) - WINDOW
    for number in range(WINDOW, len(returns)):
        loss = -float(returns[number] @ NOTIONALS)
        figures = history.figures(POSITIONS, RATES, 0.99)
        misses["parametric"] += loss > figures.parametric
        misses["historical"] += loss > figures.historical
        misses["parametric 95"] += loss > history.parametric(POSITIONS, RATES, 0.95)
        history.update(prices[number + 1])
    assert kupiec(misses["historical"], trials, 0.01) > 0.05, misses
    assert kupiec(misses["parametric"], trials, 0.01) < 0.05, misses
    assert misses["parametric"] > 0.01 * trials
    # At 95 % the heavy tail lies beyond the quantile: there the normal one is on the safe side.
    assert stats.binom.sf(misses["parametric 95"] - 1, trials, 0.05) > 0.05, misses


def step(number: int, prices: np.ndarray) -> records.StepClosed:
    rows = np.full((3, len(INPUT_COLUMNS)), np.nan)
    rows[:, INPUT_COLUMNS.index("bid_close")] = prices - 0.0001
    rows[:, INPUT_COLUMNS.index("ask_close")] = prices + 0.0001
    return records.StepClosed(number, rows.tobytes(), ())


def test_a_restart_rebuilds_it_and_steps_count_once() -> None:
    prices = np.cumprod(1.0 + simulated(WINDOW + 40, 4), axis=0)
    prices[100, 1] = np.nan  # a missing bar: its move comes with the next one
    steps = [step(number + 1, row) for number, row in enumerate(prices)]
    live = ReturnHistory(NAMES, 0.94)
    for one in steps:
        live.take(one)
    again = ReturnHistory(NAMES, 0.94)
    again.replay(steps[:300])
    again.replay(steps[250:])
    assert again.figures(POSITIONS, RATES, 0.99) == live.figures(POSITIONS, RATES, 0.99)
    assert live.count == len(steps) - 1


def test_too_little_is_said_and_a_foreign_position_too() -> None:
    history = fed(simulated(LEAST - 1, 5))
    assert math.isnan(history.parametric(POSITIONS, RATES, 0.99))
    assert math.isnan(history.figures(POSITIONS, RATES, 0.99).historical)
    history = fed(simulated(LEAST, 5))
    assert history.parametric(POSITIONS, RATES, 0.99) > 0
    with pytest.raises(KeyError):
        history.parametric({"XAU_USD": 1.0}, RATES | {"XAU": 2000.0}, 0.99)
    with pytest.raises(KeyError):
        history.parametric({"GBP_USD": 1.0}, {"USD": 1.0}, 0.99)
