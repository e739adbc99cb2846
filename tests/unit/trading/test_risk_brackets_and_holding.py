"""Opening orders carry their bracket and worst price, exits none; hysteresis keeps what it would not enter."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import OrderRequest, Prediction, Quote, default_instrument
from core.errors import BadInputError
from trading.oms.validation import refusal
from trading.strategy.decide import Costs, Decision, Inputs, PortfolioLimits, decide
from trading.strategy.sizing import SizingParameters, held_fraction, target_fraction

NOW = 1_700_000_000_000_000_000
INSTRUMENT = default_instrument("EUR_USD")
QUOTE = Quote("EUR_USD", NOW, NOW, 1.1000, 1.1001)


def decision(long: float, short: float, sizing: SizingParameters, held: int = 0) -> Decision:
    prediction = Prediction("d", "EUR_USD", NOW, short, 1 - long - short, long, "m", "1", "digest")
    inputs = Inputs(
        time_ns=NOW,
        equity=100_000.0,
        positions={"EUR_USD": Decimal(held)} if held else {},
        quotes={"EUR_USD": QUOTE},
        rates={"USD": 1.0, "EUR": 1.1},
        predictions={"EUR_USD": prediction},
        volatilities={"EUR_USD": 0.005},
        exits_only={},
        reducing=False,
    )
    limits = PortfolioLimits(200_000.0, 5.0, 4.0)
    return decide("s", ("EUR_USD",), {"EUR_USD": INSTRUMENT}, inputs, sizing, Costs(0.1, 0.0), limits)[0]


def order(long: float, short: float, sizing: SizingParameters, held: int = 0) -> OrderRequest:
    found = decision(long, short, sizing, held).order
    assert found is not None
    assert refusal(found, INSTRUMENT, QUOTE, NOW) is None  # what we ask for is an order that can be one
    return found


FULL = SizingParameters(
    stop_loss_volatilities=4.0,
    take_profit_volatilities=6.0,
    trailing_stop_volatilities=3.0,
    maximum_slippage_pips=2.0,
    horizon=4,
)


def test_a_long_and_a_short_bracket() -> None:
    unit = 0.005 * math.sqrt(4)
    long = order(0.6, 0.2, sizing=FULL)
    assert long.units > 0
    assert long.price_bound == Decimal("1.10030")
    assert long.stop_loss_price == INSTRUMENT.round_price(1.1001 * (1 - 4 * unit))
    assert long.take_profit_price == INSTRUMENT.round_price(1.1001 * (1 + 6 * unit))
    assert long.trailing_stop_distance == INSTRUMENT.round_price(1.1001 * 3 * unit)
    short = order(0.2, 0.6, sizing=FULL)
    assert short.price_bound == Decimal("1.09980")
    assert short.stop_loss_price == INSTRUMENT.round_price(1.1 * (1 + 4 * unit))
    assert short.take_profit_price == INSTRUMENT.round_price(1.1 * (1 - 6 * unit))
    assert short.trailing_stop_distance == INSTRUMENT.round_price(1.1 * 3 * unit)


def test_an_exit_is_filled_at_any_price_and_carries_nothing() -> None:
    closing = order(1 / 3, 1 / 3, sizing=FULL, held=50_000)
    assert closing.reduce_only and closing.units == -50_000
    fields = (closing.price_bound, closing.stop_loss_price, closing.take_profit_price, closing.trailing_stop_distance)
    assert fields == (None,) * 4
    crossing = order(0.2, 0.6, sizing=FULL, held=50_000)  # it closes and opens: a new position has its bracket
    assert crossing.stop_loss_price is not None and crossing.price_bound is not None


def test_by_default_only_the_stop_is_there() -> None:
    plain = order(0.6, 0.2, sizing=SizingParameters())
    assert plain.stop_loss_price is not None
    assert (plain.price_bound, plain.take_profit_price, plain.trailing_stop_distance) == (None, None, None)
    assert order(0.6, 0.2, sizing=SizingParameters(stop_loss_volatilities=0.0)).stop_loss_price is None


def test_a_position_is_held_while_its_edge_pays_the_share_of_the_cost() -> None:
    # s = 0.005, cost = 1.2 pips of 1.10005 = 0.000109: e = tilt · (c + s/√2) crosses c at tilt 0.0299.
    half = SizingParameters(hold_cost_share=0.5)
    for tilt, sizing, kept in ((0.02, SizingParameters(), False), (0.02, half, True), (0.014, half, False)):
        chosen = decision(0.4, 0.4 - tilt, sizing, held=50_000)
        assert (chosen.order is None) is kept, chosen
    assert decision(0.4, 0.38, half).order is None  # it holds, it does not enter
    assert decision(0.4, 0.38, half, held=-50_000).target_units == 0  # nor keeps what stands on the other side
    assert decision(0.4, 0.38, half, held=50_000).reason.startswith("edge pays for holding")


PROBABILITY = st.floats(0.0, 0.5)


@given(PROBABILITY, PROBABILITY, st.floats(1e-4, 0.05), st.floats(0, 0.01), st.floats(-3, 3), st.floats(0, 1))
def test_holding_never_adds_risk(
    short: float, long: float, volatility: float, cost: float, held: float, share: float
) -> None:
    sizing = SizingParameters(hold_cost_share=share)
    target = target_fraction(short, long, volatility, cost, sizing)
    kept = held_fraction(held, target, short, long, volatility, cost, sizing)
    if kept != target:
        assert target == 0 and (kept > 0) is (held > 0) and abs(kept) <= abs(held)
        assert (long > short) is (kept > 0)
        assert abs(kept) <= sizing.maximum_leverage_per_instrument
        assert abs(kept) * volatility * math.sqrt(sizing.steps_per_year) <= sizing.target_volatility * (1 + 1e-9)
    without = SizingParameters()
    assert held_fraction(held, target, short, long, volatility, cost, without) == target


@pytest.mark.parametrize(
    "wrong",
    [
        {"take_profit_volatilities": -1},
        {"maximum_slippage_pips": 0},
        {"hold_cost_share": 1.1},
        {"hold_cost_share": -1},
        {"stop_los_volatilities": 2},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInputError, match="strategy parameter"):
        SizingParameters.from_params({"strategy": wrong})
