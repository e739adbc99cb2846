"""Every limit refuses what it must and lets exits through; decisions fit the portfolio and whole units."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Prediction, Quote, RejectReason, default_instrument
from core.errors import BadInputError
from trading.risk.exposure import conversion_rates, currency_exposures, gross_exposure
from trading.risk.limits import RiskParameters, RiskState, RiskView, check_order
from trading.strategy.decide import Costs, Inputs, PortfolioLimits, decide, fit_portfolio, round_trip_cost
from trading.strategy.sizing import SizingParameters

NOW = 1_700_000_000_000_000_000
EUR_USD = Quote("EUR_USD", NOW, NOW, 1.1000, 1.1001)
RATES = {"USD": 1.0, "EUR": 1.1, "JPY": 1 / 150, "GBP": 1.3}
LIMITS = RiskParameters()


def view(**changes: Any) -> RiskView:
    values: dict[str, Any] = {
        "state": RiskState.ACTIVE,
        "now_ns": NOW,
        "equity": 100_000.0,
        "day_start_equity": 100_000.0,
        "peak_equity": 100_000.0,
        "positions": {},
        "rates": RATES,
        "orders_last_minute": 0,
        "in_flight": frozenset(),
        "known_order": False,
    }
    return RiskView(**(values | changes))


def reason(units: float, quote: Quote | None = EUR_USD, **changes: Any) -> RejectReason | None:
    refusal = check_order("EUR_USD", units, 0.0001, quote, view(**changes), LIMITS)
    return refusal[0] if refusal else None


@pytest.mark.parametrize(
    ("units", "changes", "expected"),
    [
        (10_000, {}, None),
        (10_000, {"state": RiskState.HALTED}, RejectReason.STATE_HALTED),
        (10_000, {"state": RiskState.REDUCING}, RejectReason.STATE_REDUCING),
        (10_000, {"known_order": True}, RejectReason.DUPLICATE_INTENT),
        (10_000, {"in_flight": frozenset({"EUR_USD"})}, RejectReason.DUPLICATE_INTENT),
        (10_000, {"in_flight": frozenset({"USD_JPY"})}, None),
        (200_001, {}, RejectReason.SIZE_LIMIT),
        (10_000, {"orders_last_minute": 120}, RejectReason.ORDER_RATE),
        (10_000, {"now_ns": NOW + 11 * 10**9}, RejectReason.STALE_PRICE),
        (10_000, {"quote": None}, RejectReason.STALE_PRICE),
        (10_000, {"quote": Quote("EUR_USD", NOW, NOW, 1.1, 1.1001, tradeable=False)}, RejectReason.STALE_PRICE),
        (10_000, {"quote": Quote("EUR_USD", NOW, NOW, 1.1, 1.1011)}, RejectReason.SPREAD),
        (10_000, {"quote": Quote("EUR_USD", NOW, NOW, 1.1, 1.0999)}, RejectReason.SPREAD),
        (10_000, {"equity": 94_000.0}, RejectReason.DAILY_LOSS),
        (10_000, {"equity": 94_000.0, "day_start_equity": 94_000.0, "peak_equity": 130_000.0}, RejectReason.DRAWDOWN),
        (10_000, {"equity": 0.0}, RejectReason.DRAWDOWN),
        (10_000, {"positions": {"GBP_USD": 380_000.0}}, RejectReason.GROSS_EXPOSURE),
        (100_000, {"positions": {"EUR_JPY": 300_000.0}}, RejectReason.CURRENCY_EXPOSURE),
        (10_000, {"positions": {"XAU_USD": 1.0}}, RejectReason.STALE_PRICE),
    ],
)
def test_each_limit(units: float, changes: dict[str, Any], expected: RejectReason | None) -> None:
    assert reason(units, changes.pop("quote", EUR_USD), **changes) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"state": RiskState.REDUCING},
        {"now_ns": NOW + 10**12},
        {"quote": None},
        {"equity": 1.0},
        {"quote": Quote("EUR_USD", NOW, NOW, 1.1, 1.2)},
    ],
)
def test_an_exit_passes_where_new_risk_does_not(changes: dict[str, Any]) -> None:
    quote = changes.pop("quote", EUR_USD)
    held = {"positions": {"EUR_USD": 10_000.0}}
    assert reason(-10_000, quote, **changes, **held) is None
    assert reason(-10_001, quote, **changes, **held) is not None
    assert reason(-10_000, quote, **(changes | held | {"state": RiskState.HALTED})) is RejectReason.STATE_HALTED


def test_limits_come_from_params_and_nonsense_is_refused() -> None:
    limits = RiskParameters.from_params({"risk": {"initial_balance": 1, "maximum_order_units": 7}})
    assert limits.maximum_order_units == 7
    for wrong in ({"maximum_drawdown": 0}, {"maximum_daily_loss": float("nan")}, {"maximum_orders_per_minute": "x"}):
        with pytest.raises(BadInputError):
            RiskParameters.from_params({"risk": wrong})


def test_conversion_finds_chains_and_leaves_the_unreachable_out() -> None:
    quotes = {
        "EUR_USD": Quote("EUR_USD", 0, 0, 1.1, 1.1),
        "EUR_CHF": Quote("EUR_CHF", 0, 0, 0.95, 0.95),
        "GBP_SEK": Quote("GBP_SEK", 0, 0, 13.0, 13.0),
    }
    rates = conversion_rates(quotes, "USD")
    assert rates == {"USD": 1.0, "EUR": pytest.approx(1.1), "CHF": pytest.approx(1.1 / 0.95)}
    exposures = currency_exposures({"EUR_USD": 100.0, "EUR_CHF": -50.0}, rates)
    assert exposures["EUR"] == pytest.approx(55.0)
    assert sum(exposures.values()) == pytest.approx(0.0)
    assert gross_exposure({"EUR_USD": 100.0, "EUR_CHF": -50.0}, rates) == pytest.approx(165.0)


PAIRS = ("AUD_USD", "EUR_CHF", "EUR_GBP", "EUR_JPY", "EUR_USD", "GBP_USD", "USD_CAD", "USD_CHF", "USD_JPY")


@given(st.lists(st.floats(-3, 3), min_size=9, max_size=9), st.floats(0.5, 10), st.floats(0.5, 8))
def test_targets_fit_the_portfolio_limits(fractions: list[float], gross: float, currency: float) -> None:
    limits = PortfolioLimits(1e9, gross, currency)
    fitted, factor = fit_portfolio(dict(zip(PAIRS, fractions, strict=True)), limits)
    ones = dict.fromkeys({code for pair in PAIRS for code in pair.split("_")}, 1.0)
    assert gross_exposure(fitted, ones) <= gross
    assert all(abs(amount) <= currency for amount in currency_exposures(fitted, ones).values())
    assert 0 < factor <= 1
    assert all(fitted[name] == pytest.approx(f * factor) for name, f in zip(PAIRS, fractions, strict=True))


def prediction(short: float, long: float, name: str = "EUR_USD") -> Prediction:
    return Prediction(f"s:{name}:{NOW}", name, NOW, short, 1 - short - long, long, "m", "1", "d")


def one_decision(short: float, long: float, held: int = 0, **changes: Any):  # type: ignore[no-untyped-def]
    values: dict[str, Any] = {
        "time_ns": NOW,
        "equity": 100_000.0,
        "positions": {"EUR_USD": Decimal(held)} if held else {},
        "quotes": {"EUR_USD": EUR_USD},
        "rates": {"USD": 1.0, "EUR": 1.10005},
        "predictions": {"EUR_USD": prediction(short, long)},
        "volatilities": {"EUR_USD": 0.006},
        "exits_only": {},
        "reducing": False,
    }
    limits = changes.pop("limits", PortfolioLimits(200_000, 5, 4))
    return decide(
        "s",
        ["EUR_USD"],
        {"EUR_USD": default_instrument("EUR_USD")},
        Inputs(**(values | changes)),
        SizingParameters(),
        Costs(0.1, 0.0),
        limits,
    )[0]


def test_a_decision_opens_with_a_stop_behind_the_entry() -> None:
    decision = one_decision(0.2, 0.5)
    order = decision.order
    assert order is not None
    assert order.units == Decimal(75169)  # cap 0.826898 × 100,000 / 1.10005, cut to whole units
    assert order.stop_loss_price == Decimal("1.07370")  # 1.1001 − 4 × 0.006 × 1.1001
    assert order.client_order_id == f"s:EUR_USD:{NOW}:0"
    assert not order.reduce_only
    short = one_decision(0.5, 0.2).order
    assert short is not None
    assert short.units == -order.units
    assert short.stop_loss_price == Decimal("1.12640")


def test_a_decision_that_lowers_carries_no_stop() -> None:
    decision = one_decision(0.3, 0.3, held=5000)
    assert decision.order is not None
    assert decision.order.units == Decimal(-5000)
    assert decision.order.reduce_only
    assert decision.order.stop_loss_price is None
    assert decision.reason == "edge does not pay the cost"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"predictions": {}}, "no prediction"),
        ({"volatilities": {"EUR_USD": float("nan")}}, "no volatility"),
        ({"quotes": {}}, "no price"),
        ({"equity": 0.0}, "no price"),
        ({"exits_only": {"EUR_USD": "price older than 10 s"}}, "exits only"),
        ({"reducing": True}, "exits only: reducing"),
    ],
)
def test_what_is_missing_takes_no_new_risk(changes: dict[str, Any], words: str) -> None:
    decision = one_decision(0.2, 0.5, **changes)
    assert decision.order is None
    assert words in decision.reason


def test_reducing_turns_a_reversal_into_an_exit() -> None:
    decision = one_decision(0.2, 0.5, held=-40_000, reducing=True)
    assert decision.order is not None
    assert decision.order.units == Decimal(40_000)
    assert decision.order.reduce_only


def test_an_order_is_cut_to_the_largest_size() -> None:
    decision = one_decision(0.2, 0.5, limits=PortfolioLimits(10_000, 5, 4))
    assert decision.order is not None
    assert decision.order.units == Decimal(10_000)
    assert "cut to 10000" in decision.reason


def test_a_small_move_is_not_worth_a_trade() -> None:
    decision = one_decision(0.2, 0.5, held=74_000)
    assert decision.order is None
    assert "threshold" in decision.reason


def test_round_trip_cost() -> None:
    cost = round_trip_cost(EUR_USD, 0.0001, Costs(slippage_pips=0.1, commission_per_million=50.0))
    assert cost == pytest.approx((0.0001 + 0.00002) / 1.10005 + 0.0001)
