"""Sizes: nothing without an edge, the right side, capped, the same for scalars and arrays."""

import numpy as np
import pytest

from core.errors import BadInputError
from trading.strategy.sizing import SizingParameters, rebalance, target_fraction

PARAMETERS = SizingParameters()


def test_size_of_a_worked_example() -> None:
    # tilt 0.06, threshold 0.00012, Laplace mean excess 0.006/√2: e = 0.06·(0.00012 + 0.0042426) = 0.00026176;
    # edge = 0.00014176; a quarter of edge/s² = 0.9844; cap 0.08/(0.006·√260) = 0.8269.
    assert target_fraction(0.25, 0.31, 0.006, 0.00012, PARAMETERS) == pytest.approx(0.826898, rel=1e-5)
    uncapped = SizingParameters(target_volatility=10.0, maximum_leverage_per_instrument=5.0)
    assert target_fraction(0.25, 0.31, 0.006, 0.00012, uncapped) == pytest.approx(0.984422, rel=1e-4)
    assert target_fraction(0.31, 0.25, 0.006, 0.00012, uncapped) == pytest.approx(-0.984422, rel=1e-4)


def test_no_size_where_the_edge_does_not_pay_or_risk_is_unknown() -> None:
    assert target_fraction(0.30, 0.31, 0.006, 0.0005, PARAMETERS) == 0.0
    assert target_fraction(0.3, 0.3, 0.006, 0.0, PARAMETERS) == 0.0
    for volatility in (0.0, -0.01, float("nan"), float("inf")):
        assert target_fraction(0.1, 0.8, volatility, 0.0001, PARAMETERS) == 0.0
    assert target_fraction(float("nan"), 0.8, 0.01, 0.0001, PARAMETERS) == 0.0
    assert target_fraction(0.1, 0.8, 0.01, -0.0001, PARAMETERS) == 0.0


def test_arrays_give_what_scalars_give() -> None:
    random = np.random.default_rng(1)
    short, long = random.uniform(0, 0.5, (2, 200))
    volatility, cost = random.uniform(0.001, 0.02, 200), random.uniform(0, 0.001, 200)
    together = target_fraction(short, long, volatility, cost, PARAMETERS)
    single = [
        target_fraction(float(s), float(p), float(v), float(c), PARAMETERS)
        for s, p, v, c in zip(short, long, volatility, cost, strict=True)
    ]
    assert together.tolist() == single


def test_rebalance_trades_only_what_is_worth_it() -> None:
    assert rebalance(0.50, 0.55, PARAMETERS) == 0.50
    assert rebalance(0.50, 0.61, PARAMETERS) == 0.61
    assert rebalance(0.05, 0.0, PARAMETERS) == 0.0
    assert rebalance(0.02, -0.03, PARAMETERS) == -0.03
    assert rebalance(np.array([0.5, 0.5]), np.array([0.55, 0.7]), PARAMETERS).tolist() == [0.5, 0.7]


def test_parameters_come_from_params_and_bad_ones_are_refused() -> None:
    parameters = SizingParameters.from_params(
        {"strategy": {"kelly_fraction": 0.5, "steps_per_year": 6000}, "labels": {"horizon": 4, "kind": "x"}}
    )
    assert (parameters.kelly_fraction, parameters.steps_per_year, parameters.horizon) == (0.5, 6000.0, 4)
    for wrong in ({"kelly_fraction": 1.5}, {"target_volatility": 0}, {"kelly_fraction": "much"}):
        with pytest.raises(BadInputError):
            SizingParameters.from_params({"strategy": wrong})
