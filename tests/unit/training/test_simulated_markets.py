"""Simulated markets are what they say: exact odds, clustered volatility, heavy tails, nothing from the future."""

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from core.errors import BadInputError
from training.evaluation.metrics import log_loss_rows
from training.simulation.learner import PreparedFold, fit_predict
from training.simulation.markets import MarketParameters, make_market
from training.simulation.study import make_study, study_parameters


@pytest.mark.parametrize("process", ["garch", "stochastic_volatility"])
def test_the_exact_probabilities_are_those_of_the_labels(process: str) -> None:
    # A strong signal and a wide spread, so that all three classes are common and depend on what is known.
    parameters = msgspec.convert(
        {"steps": 12_000, "strength": 0.4, "process": process, "half_spread_pips": 3.0}, MarketParameters
    )
    study = make_study(parameters, study_parameters(parameters, 3, 1, {}), [1, 2])
    truth, labels = study.truth, study.dataset.label
    assert np.all(truth > 0)
    np.testing.assert_allclose(truth.sum(axis=1), 1.0, atol=1e-12)
    for index in range(3):
        order = np.array_split(np.argsort(truth[:, index], kind="stable"), 10)
        for part in order:
            said, seen = truth[part, index].mean(), (labels[part] == index).mean()
            assert abs(said - seen) < 5.0 * np.sqrt(said * (1.0 - said) / len(part)) + 1e-3
    realised, expected = log_loss_rows(truth, labels), -(truth * np.log(truth)).sum(axis=1)
    assert abs((realised - expected).mean()) < 4.0 * (realised - expected).std() / np.sqrt(len(labels))


def test_a_market_without_signal_has_no_direction_but_a_volatility() -> None:
    market = make_market(MarketParameters(steps=20_000), [7])
    returns = np.diff(np.log(market.middle), axis=0)
    assert np.all((returns**4).mean(axis=0) / (returns**2).mean(axis=0) ** 2 > 5.0)
    for column in range(returns.shape[1]):
        series = returns[:, column]
        moved = np.corrcoef(np.abs(series[1:]), np.abs(series[:-1]))[0, 1]
        assert moved > 0.05
        assert abs(np.corrcoef(series[1:], series[:-1])[0, 1]) < 0.05
        assert abs(np.corrcoef(market.state[:-1, column], series)[0, 1]) < 0.03


def test_the_same_seed_gives_the_same_market_and_another_one_another() -> None:
    parameters = MarketParameters(steps=700)
    one, two = make_market(parameters, [3, 0]), make_market(parameters, [3, 0])
    assert np.array_equal(one.panel.values, two.panel.values)
    assert not np.array_equal(one.panel.values, make_market(parameters, [3, 1]).panel.values)


def test_the_state_is_known_before_the_return_it_drives() -> None:
    market = make_market(MarketParameters(steps=8_000, strength=0.5, persistence=0.0), [5])
    returns = np.diff(np.log(market.middle), axis=0) / market.deviation[:-1]
    assert np.corrcoef(market.state[:-1, 0], returns[:, 0])[0, 1] == pytest.approx(0.5, abs=0.03)
    # Where it does not persist, it says nothing about any other bar.
    assert abs(np.corrcoef(market.state[1:, 0], returns[:, 0])[0, 1]) < 0.04


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strength": 1.0}, "strength"),
        ({"steps": 10}, "steps"),
        ({"bar_hours": 5}, "bar_hours"),
        ({"degrees_of_freedom": 2.0}, "degrees_of_freedom"),
        ({"arch": 0.2, "garch": 0.9}, "arch"),
    ],
)
def test_a_market_that_cannot_be_is_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        make_market(msgspec.structs.replace(MarketParameters(), **changes), [1])


def test_the_fast_learner_is_multinomial_regression_with_a_ridge() -> None:
    generator = np.random.default_rng(2)
    train, test = generator.normal(size=(3000, 4)), generator.normal(size=(200, 4))
    scores = train @ generator.normal(size=(4, 3)) * 0.6 + generator.gumbel(size=(3000, 3))
    labels = scores.argmax(axis=1).astype(np.int8)
    left = np.column_stack([train, np.ones(len(train))])
    fold = PreparedFold(left, np.column_stack([test, np.ones(len(test))]), labels, left.T @ left)
    found = fit_predict(fold, np.arange(4), 1e-6, 1.0)
    # Without a ridge to speak of both parametrisations have one optimum.
    peer = LogisticRegression(C=1e6, tol=1e-10, max_iter=2000).fit(train, labels)
    np.testing.assert_allclose(found, peer.predict_proba(test), atol=2e-3)
    silent = fit_predict(fold, np.arange(4), 1e6, 1.0)
    np.testing.assert_allclose(silent, np.tile(np.bincount(labels) / len(labels), (200, 1)), atol=2e-3)
