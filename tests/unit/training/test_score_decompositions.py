"""Parts of the Brier score and the log loss against the papers, by hand and by enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss

from core.errors import BadInputError
from training.statistics.scores import brier_decomposition, log_loss_decomposition


def forecasts(rows: int = 3000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([3.0, 4.0, 3.0], rows)
    outcomes = (generator.random(rows)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    return probabilities, outcomes


def test_murphys_parts_of_a_forecast_with_few_values() -> None:
    """One group a value: the three parts are Murphy's, and nothing is left over."""
    generator = np.random.default_rng(2)
    values = np.array([0.1, 0.3, 0.5, 0.8])
    forecast = values[np.repeat(np.arange(4), 250)]
    happened = (generator.random(1000) < forecast * 0.8 + 0.05).astype(int)
    overall = happened.mean()
    reliability = resolution = divergence = gain = 0.0
    for value in values:
        seen = happened[forecast == value]
        share, rate = len(seen) / 1000, seen.mean()
        reliability += share * (value - rate) ** 2
        resolution += share * (rate - overall) ** 2
        divergence += share * stats.entropy([1 - rate, rate], [1 - value, value])
        gain += share * stats.entropy([1 - rate, rate], [1 - overall, overall])
    brier, loss = brier_decomposition(forecast, happened, 4), log_loss_decomposition(forecast, happened, 4)
    assert brier.groups == loss.groups == 4
    assert brier.reliability == pytest.approx(reliability)
    assert brier.resolution == pytest.approx(resolution)
    assert brier.uncertainty == pytest.approx(overall * (1 - overall))
    assert brier.score == pytest.approx(brier_score_loss(happened, forecast))
    assert loss.reliability == pytest.approx(divergence)
    assert loss.resolution == pytest.approx(gain)
    assert loss.uncertainty == pytest.approx(stats.entropy([1 - overall, overall]))
    assert loss.score == pytest.approx(log_loss(happened, forecast))
    assert abs(brier.within_group) < 1e-12
    assert abs(loss.within_group) < 1e-12


def test_the_remainder_is_that_of_stephenson() -> None:
    """Variance of the forecasts within groups less twice their covariance with the outcomes (eq. 5 of 2008)."""
    probabilities, outcomes = forecasts()
    forecast, happened = probabilities[:, 2], (outcomes == 2).astype(int)
    found = brier_decomposition(forecast, happened, 8)
    edges = np.quantile(forecast, np.arange(1, 8) / 8)
    group = np.searchsorted(edges, forecast, side="right")
    extra = 0.0
    for number in range(8):
        part = group == number
        extra += part.mean() * (np.var(forecast[part]) - 2 * np.cov(forecast[part], happened[part], ddof=0)[0, 1])
    assert found.within_group == pytest.approx(extra)


def test_three_classes_score_as_in_scikit_learn_and_two_columns_as_twice_one() -> None:
    probabilities, outcomes = forecasts()
    corner = np.eye(3)[outcomes]
    assert brier_decomposition(probabilities, outcomes).score == pytest.approx(
        ((probabilities - corner) ** 2).sum(axis=1).mean()
    )
    assert log_loss_decomposition(probabilities, outcomes).score == pytest.approx(log_loss(outcomes, probabilities))
    one, happened = probabilities[:, 0], (outcomes == 0).astype(int)
    both = np.column_stack([1 - one, one])
    single, double = brier_decomposition(one, happened), brier_decomposition(both, happened)
    for name in ("score", "reliability", "resolution", "uncertainty", "within_group", "debiased_resolution"):
        assert getattr(double, name) == pytest.approx(2 * getattr(single, name))
    assert double.skill == pytest.approx(single.skill)


def test_the_debiased_reliability_has_no_bias() -> None:
    """Ferro & Fricker (2012): over all outcomes of ten rows, weighted by their chance, exactly the true distance."""
    forecast, truth = np.repeat([0.3, 0.6], 5), np.repeat([0.2, 0.7], 5)
    plain = debiased = resolution = 0.0
    for pattern in itertools.product([0, 1], repeat=10):
        happened = np.array(pattern)
        chance = float(np.prod(np.where(happened == 1, truth, 1 - truth)))
        found = brier_decomposition(forecast, happened, 2)
        plain += chance * found.reliability
        debiased += chance * found.debiased_reliability
        resolution += chance * (found.debiased_resolution - found.resolution)
    assert debiased == pytest.approx(0.01)
    assert plain > 3 * debiased
    assert resolution < 0.0


@pytest.mark.parametrize("decompose", [brier_decomposition, log_loss_decomposition])
def test_a_forecast_of_nothing_has_no_resolution_once_debiased(decompose: object) -> None:
    """Mean over many samples without any signal: the plain resolution is positive, the debiased one is not."""
    generator = np.random.default_rng(3)
    plain, debiased = [], []
    for _ in range(150):
        probabilities = generator.dirichlet([30.0, 40.0, 30.0], 400)
        found = decompose(probabilities, generator.choice(3, 400, p=[0.3, 0.4, 0.3]))  # type: ignore[operator]
        plain.append(found.resolution)
        debiased.append(found.debiased_resolution)
        assert found.debiased_reliability - found.debiased_resolution <= found.reliability
    error = np.std(debiased) / math.sqrt(150)
    assert abs(np.mean(debiased)) < 4 * error
    assert np.mean(plain) > 10 * error


def test_the_constant_forecast_is_one_group_of_uncertainty() -> None:
    _, outcomes = forecasts()
    rates = np.bincount(outcomes) / len(outcomes)
    found = log_loss_decomposition(np.tile(rates, (len(outcomes), 1)), outcomes)
    assert found.groups == 1
    assert found.score == pytest.approx(found.uncertainty)
    assert found.skill == pytest.approx(0.0, abs=1e-12)
    assert found.resolution == pytest.approx(0.0, abs=1e-12)


def test_certainty_that_fails_costs_much_but_not_infinity() -> None:
    found = log_loss_decomposition([0.0, 0.0, 0.0, 0.0, 0.0, 1.0], [0, 0, 0, 0, 0, 0])
    assert found.score == pytest.approx(-math.log(1e-15) / 6)


@pytest.mark.parametrize(
    ("probabilities", "outcomes", "said"),
    [
        ([0.2, 1.2], [0, 1], "outside"),
        ([0.2, math.nan], [0, 1], "outside"),
        ([[0.2, 0.2], [0.5, 0.5]], [0, 1], "add up"),
        ([0.2, 0.3], [0, 2], "whole numbers"),
        ([0.2, 0.3], [0.0, 0.5], "whole numbers"),
        ([0.2, 0.3], [0], "one outcome"),
        ([], [], "one outcome"),
        ([[0.2], [0.3]], [0, 0], "classes"),
    ],
)
def test_bad_forecasts_are_refused(probabilities: list[float], outcomes: list[float], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        brier_decomposition(probabilities, outcomes)
    with pytest.raises(BadInputError, match="0 groups"):
        log_loss_decomposition([0.5, 0.5], [0, 1], 0)
