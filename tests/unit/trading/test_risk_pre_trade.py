"""The limits of time, margin, leverage and value at risk; parameters; what a breach asks for."""

from typing import Any

import pytest

from core.clock import from_rfc3339
from core.domain import Quote, RejectReason
from core.errors import BadInputError
from trading.risk import worst_case
from trading.risk.breach import assess
from trading.risk.hours import TradingHours
from trading.risk.limits import OrderKind, PendingOrder, RiskView, check_order
from trading.risk.parameters import BreachAction, RiskParameters, RiskState
from trading.state import SessionState

NOW = 1_700_000_000_000_000_000
EUR_USD = Quote("EUR_USD", NOW, NOW, 1.1000, 1.1001)
_KIND, _LIMITS = OrderKind(), RiskParameters()
MARGINS = {"EUR_USD": 0.05, "GBP_USD": 0.05}


def reason(
    units: float, kind: OrderKind = _KIND, limits: RiskParameters = _LIMITS, **changes: Any
) -> RejectReason | None:
    values: dict[str, Any] = {
        "state": RiskState.ACTIVE,
        "now_ns": NOW,
        "equity": 100_000.0,
        "day_start_equity": 100_000.0,
        "peak_equity": 100_000.0,
        "positions": {},
        "rates": {"USD": 1.0, "EUR": 1.1, "GBP": 1.3},
        "orders_last_minute": 0,
        "in_flight": frozenset(),
        "known_order": False,
        "margin_rates": MARGINS,
    }
    refusal = check_order("EUR_USD", units, 0.0001, EUR_USD, RiskView(**(values | changes)), limits, kind)
    if refusal is not None and refusal[0] in (RejectReason.MARGIN, RejectReason.LEVERAGE, RejectReason.VALUE_AT_RISK):
        assert "limit" in refusal[1]
    return refusal[0] if refusal else None


RESTS = OrderKind(rests=True)
HELD_TO_IT = OrderKind(rests=True, reduce_only=True)
AT_ONCE = OrderKind()
REDUCING = {"state": RiskState.REDUCING}
LONG = {"positions": {"EUR_USD": 10_000.0}}
CLOSED = {"hours": (RejectReason.OUTSIDE_HOURS, "closed")}


@pytest.mark.parametrize(
    ("units", "kind", "changes", "expected"),
    [
        (100_000, AT_ONCE, {"positions": {"EUR_USD": 180_000.0}}, RejectReason.LEVERAGE),
        (10_000, AT_ONCE, {"margin_rates": {}, "positions": {"GBP_USD": 70_000.0}}, RejectReason.MARGIN),
        (10_000, AT_ONCE, {"positions": {"GBP_USD": 70_000.0}}, None),
        # A resting order counts beside the position, also on the other side of it: a stop may close that one first.
        (-150_000, RESTS, {"positions": {"EUR_USD": 150_000.0}}, None),
        (-150_000, RESTS, {"pending": (PendingOrder("EUR_USD", -150_000.0),)}, RejectReason.LEVERAGE),
        (10_000, RESTS, {"pending": (PendingOrder("GBP_USD", 150_000.0),) * 3}, RejectReason.GROSS_EXPOSURE),
        # An exit that rests must be held to that by the broker.
        (-10_000, RESTS, LONG | REDUCING, RejectReason.STATE_REDUCING),
        (-10_000, HELD_TO_IT, LONG | REDUCING, None),
        (-1_000_000, OrderKind(protective=True), REDUCING, None),
        (-300_000, AT_ONCE, {"positions": {"EUR_USD": 300_000.0}, "orders_last_minute": 999}, None),
        (1_000, AT_ONCE, CLOSED, RejectReason.OUTSIDE_HOURS),
        (-1_000, AT_ONCE, CLOSED | LONG, None),
        (1_000, AT_ONCE, {"degraded": "the clock jumped"}, RejectReason.DEGRADED),
        (-10_001, AT_ONCE, LONG | {"degraded": "the clock jumped"}, RejectReason.DEGRADED),
        (-10_000, AT_ONCE, LONG | {"degraded": "the clock jumped"}, None),
    ],
)  # fmt: skip
def test_each_new_limit(units: float, kind: OrderKind, changes: dict[str, Any], expected: RejectReason | None) -> None:
    assert reason(units, kind, **changes) is expected


def test_value_at_risk_limits_what_raises_it() -> None:
    limits = RiskParameters(maximum_value_at_risk=0.01)

    def risk(portfolio: Any) -> float:
        return 0.02 * abs(sum(portfolio.values()))  # everything moves together

    def ask(units: float, **changes: Any) -> RejectReason | None:
        return reason(units, limits=limits, value_at_risk=risk, **changes)

    assert ask(49_000) is None
    assert ask(51_000) is RejectReason.VALUE_AT_RISK
    assert ask(-40_000, positions={"GBP_USD": 100_000.0}) is None  # above the limit, and a hedge
    assert ask(10_000, pending=(PendingOrder("GBP_USD", -45_000.0),)) is RejectReason.VALUE_AT_RISK  # may stay alone
    assert reason(1_000, limits=limits, value_at_risk=lambda _: float("nan")) is RejectReason.VALUE_AT_RISK

    def unknown(_: Any) -> float:
        raise KeyError("XAU_USD")

    assert reason(1_000, limits=limits, value_at_risk=unknown) is RejectReason.VALUE_AT_RISK


def test_the_worst_case_of_resting_orders() -> None:
    spans = worst_case.spans(
        {"EUR_USD": 100.0, "GBP_USD": -50.0},
        [PendingOrder("EUR_USD", -150.0), PendingOrder("EUR_USD", 30.0), PendingOrder("EUR_GBP", 10.0)],
    )
    assert (spans["EUR_USD"].low, spans["EUR_USD"].high) == (-150.0, 130.0)
    assert (spans["GBP_USD"].low, spans["GBP_USD"].high) == (-50.0, -50.0)
    assert (spans["EUR_GBP"].low, spans["EUR_GBP"].high) == (0.0, 10.0)
    rates = {"EUR": 1.1, "GBP": 1.3}
    found = worst_case.exposure(spans, rates, {"EUR_USD": 0.03})
    assert found.currencies["GBP"] == pytest.approx(50 * 1.3 + 10 * 1.1)  # short both
    assert found.currencies["USD"] == pytest.approx(150 * 1.1 + 50 * 1.3)  # long, where only the sell is filled
    assert found.single == pytest.approx({"EUR_USD": 150 * 1.1, "GBP_USD": 50 * 1.3, "EUR_GBP": 10 * 1.1})
    assert found.gross == pytest.approx(sum(found.single.values()))
    assert found.margin == pytest.approx(0.03 * 150 * 1.1 + 50 * 1.3 + 10 * 1.1)
    assert worst_case.exposure({}, rates, {}).gross == 0.0


LIVE = RiskParameters(rollover_minutes_before=5, rollover_minutes_after=15, close_minutes_before=30)


@pytest.mark.parametrize(
    ("moment", "kind", "expected"),
    [
        ("2024-03-05T13:15:00Z", "CURRENCY", None),  # the fixing: 14:15 Berlin
        ("2024-03-05T21:54:59Z", "CURRENCY", None),  # 16:54:59 New York, winter time
        ("2024-03-05T21:55:00Z", "CURRENCY", RejectReason.ROLLOVER_WINDOW),
        ("2024-03-05T22:14:59Z", "CURRENCY", RejectReason.ROLLOVER_WINDOW),
        ("2024-03-05T22:15:00Z", "CURRENCY", None),
        ("2024-03-05T22:30:00Z", "METAL", RejectReason.OUTSIDE_HOURS),
        ("2024-03-12T20:55:00Z", "CURRENCY", RejectReason.ROLLOVER_WINDOW),  # summer time: an hour earlier in UTC
        ("2024-03-12T21:55:00Z", "CURRENCY", None),
        ("2024-03-08T21:29:59Z", "CURRENCY", None),  # Friday
        ("2024-03-08T21:30:00Z", "CURRENCY", RejectReason.OUTSIDE_HOURS),
        ("2024-03-09T12:00:00Z", "CURRENCY", RejectReason.OUTSIDE_HOURS),
        ("2024-03-10T20:59:59Z", "CURRENCY", RejectReason.ROLLOVER_WINDOW),  # Sunday, before 17:00 New York
        ("2024-03-10T21:15:00Z", "CURRENCY", None),
        ("2024-12-24T21:45:00Z", "CURRENCY", RejectReason.OUTSIDE_HOURS),  # Christmas is closed
    ],
)
def test_hours(moment: str, kind: str, expected: RejectReason | None) -> None:
    refusal = TradingHours(LIVE).refusal(kind, from_rfc3339(moment))
    assert (refusal[0] if refusal else None) is expected
    assert TradingHours(RiskParameters()).refusal(kind, from_rfc3339(moment)) is None


def test_hours_answer_the_same_asked_in_any_order() -> None:
    moments = [from_rfc3339("2024-03-07T00:00:00Z") + hour * 3_600_000_000_000 for hour in range(100)]
    once = [TradingHours(LIVE).refusal("CURRENCY", moment) for moment in moments]
    kept = TradingHours(LIVE)
    assert [kept.refusal("CURRENCY", moment) for moment in reversed(moments)] == once[::-1]
    assert 0 < sum(answer is not None for answer in once) < len(once)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollover_minutes_before": 5},
        {"rollover_minutes_before": -1, "rollover_minutes_after": 0},
        {"close_minutes_before": 1440},
        {"value_at_risk_confidence": 1.0},
        {"value_at_risk_decay": 1.0},
        {"maximum_value_at_risk": 0.0},
        {"daily_loss_action": "panic"},
        {"maximum_margin_use": 0},
        {"maximum_daily_los": 0.01},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="risk parameter"):
        RiskParameters.from_params({"risk": wrong})


def test_a_breach_names_limit_and_action() -> None:
    state = SessionState()
    state.equity = state.day_start_equity = state.peak_equity = 100.0
    state.day = 19_675
    now = from_rfc3339("2023-11-14T12:00:00Z")
    assert not state.day_changed(now)
    limits = RiskParameters(maximum_daily_loss=0.05, maximum_drawdown=0.1, drawdown_action=BreachAction.FLATTEN)
    assert assess(state, 95.01, now, limits) is None
    loss = assess(state, 95.0, now, limits)
    assert loss is not None
    assert (loss.reason, loss.action) == ("DAILY_LOSS", BreachAction.REDUCE)
    fall = assess(state, 90.0, now, limits)
    assert fall is not None
    assert (fall.reason, fall.action) == ("DRAWDOWN", BreachAction.FLATTEN)
    state.risk_state = RiskState.REDUCING  # the day's loss is dealt with; what asks for more is not
    assert assess(state, 94.0, now, limits) is None
    assert assess(state, 90.0, now, limits) == fall
    assert assess(state, -5.0, now, limits) is not None
    state.risk_state = RiskState.HALTED
    assert assess(state, 50.0, now, limits) is None
    # Both ask for the same: the drawdown is named, for it is lifted by hand only.
    state.risk_state = RiskState.ACTIVE
    both = assess(state, 80.0, now, RiskParameters(maximum_drawdown=0.1))
    assert both is not None
    assert both.reason == "DRAWDOWN"
