"""Sizing over its whole domain: monotone in the probability, never beyond a cap, symmetric, zero without an edge."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.strategy.sizing import SizingParameters, rebalance, target_fraction

PARAMETERS = st.builds(
    SizingParameters,
    target_volatility=st.floats(0.01, 0.5),
    kelly_fraction=st.floats(0.05, 1.0),
    maximum_leverage_per_instrument=st.floats(0.1, 10.0),
    steps_per_year=st.floats(10, 100_000),
    rebalance_threshold=st.floats(0, 0.5),
    horizon=st.integers(1, 20),
    minimum_edge=st.floats(0, 3),
)
SHARE = st.floats(0.0, 0.5)
VOLATILITY = st.floats(1e-5, 0.1)
COST = st.floats(0.0, 0.01)
QUICK = settings(max_examples=150, deadline=None)


@QUICK
@given(SHARE, SHARE, VOLATILITY, COST, PARAMETERS)
def test_caps_hold_and_sides_mirror(
    short: float, long: float, volatility: float, cost: float, parameters: SizingParameters
) -> None:
    size = target_fraction(short, long, volatility, cost, parameters)
    assert abs(size) <= parameters.maximum_leverage_per_instrument
    assert abs(size) * volatility * math.sqrt(parameters.steps_per_year) <= parameters.target_volatility * (1 + 1e-9)
    assert size == -target_fraction(long, short, volatility, cost, parameters)
    assert size * (long - short) >= 0


@QUICK
@given(SHARE, SHARE, SHARE, VOLATILITY, COST, PARAMETERS)
def test_a_higher_probability_never_makes_the_size_lower(
    short: float, one: float, other: float, volatility: float, cost: float, parameters: SizingParameters
) -> None:
    low, high = sorted((one, other))
    assert target_fraction(short, low, volatility, cost, parameters) <= target_fraction(
        short, high, volatility, cost, parameters
    )


@QUICK
@given(SHARE, SHARE, VOLATILITY, COST, COST, st.floats(0, 1))
def test_a_higher_cost_never_makes_the_size_larger(
    short: float, long: float, volatility: float, one: float, other: float, minimum_edge: float
) -> None:
    parameters = SizingParameters(minimum_edge=minimum_edge)
    low, high = sorted((one, other))
    cheap = abs(target_fraction(short, long, volatility, low, parameters))
    dear = abs(target_fraction(short, long, volatility, high, parameters))
    assert dear <= cheap * (1 + 1e-9)


@QUICK
@given(st.floats(-2, 2), st.floats(-2, 2), PARAMETERS)
def test_rebalancing_goes_to_the_target_or_nowhere_and_settles(
    current: float, target: float, parameters: SizingParameters
) -> None:
    after = rebalance(current, target, parameters)
    assert after in (current, target)
    assert rebalance(after, target, parameters) == after
    if target == 0:
        assert after == 0


ANY = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, 1e-170, 1e-155, 1e200])


@settings(max_examples=400, deadline=None)
@given(ANY | SHARE, ANY | SHARE, ANY | VOLATILITY, ANY | COST, ANY, PARAMETERS)
def test_one_instrument_is_sized_as_many_are_to_the_bit(
    short: float, long: float, volatility: float, cost: float, current: float, parameters: SizingParameters
) -> None:
    size = target_fraction(short, long, volatility, cost, parameters)
    many = target_fraction(np.full(3, short), np.full(3, long), np.full(3, volatility), cost, parameters)
    assert many.tobytes() == np.full(3, size).tobytes()
    fraction = rebalance(current, size, parameters)
    with np.errstate(all="ignore"):
        assert rebalance(np.full(3, current), many, parameters).tobytes() == np.full(3, fraction).tobytes()
