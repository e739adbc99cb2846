"""Schedules: sums exact to the unit, the Almgren-Chriss paper's example, profiles of the week."""

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from core.clock import NANOSECONDS, from_rfc3339
from core.domain import INPUT_COLUMNS, BarKind, OrderRequest, OrderType, Panel, Quote, default_instrument
from core.errors import BadInputError
from core.params import read_params
from trading.execution import almgren_chriss as ac
from trading.execution import schedules
from trading.execution.parameters import ChildStyle, ExecutionParameters
from trading.execution.plan import Algorithm
from trading.execution.planner import make_plan
from trading.execution.volume_profile import VolumeProfile, from_panel, from_ticks

HOUR = 3600 * NANOSECONDS

# The example of Almgren and Chriss (2000), section 3.4: one million shares in five days.
PAPER = ac.Impact(volatility=0.95, temporary=2.5e-6, permanent=2.5e-7, fixed=0.0625)
SHARES, DAYS = 1e6, 5.0


def optimise_by_hand(impact: ac.Impact, risk_aversion: float, units: float, duration: float, count: int) -> np.ndarray:
    """Minimise E + λV over the holdings directly: a quadratic form in x_1 … x_{N−1} solved without their formula."""
    interval = duration / count
    cost = ac.adjusted_impact(impact, interval) / interval
    matrix = np.zeros((count - 1, count - 1))
    right = np.zeros(count - 1)
    for k in range(count - 1):
        matrix[k, k] = 2 * cost + risk_aversion * impact.volatility**2 * interval
        if k + 1 < count - 1:
            matrix[k, k + 1] = matrix[k + 1, k] = -cost
    right[0] = cost * units
    return np.concatenate([[1.0], np.linalg.solve(matrix, right) / units, [0.0]])


def test_the_papers_example() -> None:
    # The paper's κ for λ = 1e-6 is about 0.6 a day; the costs of the two ends of its frontier follow from its sections
    # 1.4 and 1.5 by hand: selling evenly, and selling all in the first period.
    assert ac.urgency(PAPER, 1e-6, 1.0) == pytest.approx(0.607, abs=5e-4)
    line = ac.trajectory(PAPER, 0.0, DAYS, 5)
    assert line.tolist() == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0])
    assert ac.expected_cost(PAPER, SHARES, line, DAYS) == pytest.approx(662_500)
    assert ac.cost_variance(PAPER, SHARES, line, DAYS) == pytest.approx(0.95**2 * 1e12 * (0.64 + 0.36 + 0.16 + 0.04))
    at_once = np.array([1.0, 0, 0, 0, 0, 0])
    assert ac.expected_cost(PAPER, SHARES, at_once, DAYS) == pytest.approx(0.0625e6 + 2.5e-6 * 1e12)
    assert ac.cost_variance(PAPER, SHARES, at_once, DAYS) == 0
    # Points of the frontier as an independent implementation prints them (λ = 1e-9: millions of dollars).
    patient = ac.trajectory(PAPER, 1e-9, DAYS, 5)
    assert ac.expected_cost(PAPER, SHARES, patient, DAYS) / 1e6 == pytest.approx(0.6625, abs=5e-5)
    assert ac.cost_variance(PAPER, SHARES, patient, DAYS) / 1e12 == pytest.approx(1.0812, abs=5e-5)
    assert 1 / ac.urgency(PAPER, 1e-9, 1.0) == pytest.approx(51.30, abs=5e-3)


@pytest.mark.parametrize("risk_aversion", [0.0, 1e-7, 2e-6, 1e-4, 1.0])
@pytest.mark.parametrize("count", [2, 5, 40])
def test_the_trajectory_is_the_optimum(risk_aversion: float, count: int) -> None:
    found = ac.trajectory(PAPER, risk_aversion, DAYS, count)
    assert found == pytest.approx(optimise_by_hand(PAPER, risk_aversion, SHARES, DAYS, count), abs=1e-9)

    def objective(holdings: np.ndarray) -> float:
        return ac.expected_cost(PAPER, SHARES, holdings, DAYS) + risk_aversion * ac.cost_variance(
            PAPER, SHARES, holdings, DAYS
        )

    random = np.random.default_rng(3)
    for _ in range(20):
        other = found.copy()
        other[1:-1] += random.normal(0, 0.01, count - 1)
        assert objective(other) >= objective(found)


def test_the_closed_forms_of_the_paper_agree() -> None:
    """E(X) and V(X) of the optimal trajectory as section 2.2 writes them, against our sums."""
    risk_aversion, count = 2e-6, 5
    interval = DAYS / count
    kappa = ac.urgency(PAPER, risk_aversion, interval)
    eta = ac.adjusted_impact(PAPER, interval)
    expected = 0.5 * PAPER.permanent * SHARES**2 + PAPER.fixed * SHARES
    expected += (
        eta
        * SHARES**2
        * math.tanh(0.5 * kappa * interval)
        * (interval * math.sinh(2 * kappa * DAYS) + 2 * DAYS * math.sinh(kappa * interval))
        / (2 * interval**2 * math.sinh(kappa * DAYS) ** 2)
    )
    variance = (
        0.5
        * PAPER.volatility**2
        * SHARES**2
        * (
            interval * math.sinh(kappa * DAYS) * math.cosh(kappa * (DAYS - interval))
            - DAYS * math.sinh(kappa * interval)
        )
        / (math.sinh(kappa * DAYS) ** 2 * math.sinh(kappa * interval))
    )
    holdings = ac.trajectory(PAPER, risk_aversion, DAYS, count)
    assert ac.expected_cost(PAPER, SHARES, holdings, DAYS) == pytest.approx(expected)
    assert ac.cost_variance(PAPER, SHARES, holdings, DAYS) == pytest.approx(variance)


def test_impact_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInputError, match="does not exceed half the permanent impact"):
        ac.trajectory(ac.Impact(0.95, 1e-7, 2.5e-7), 1e-6, DAYS, 5)


@pytest.mark.parametrize("units", ["100001", "-77777", "33333.3"])
@pytest.mark.parametrize("count", [1, 3, 7, 60])
def test_units_add_up(units: str, count: int) -> None:
    whole, step = Decimal(units), Decimal("0.1")
    times = schedules.slice_times(0, 60 * NANOSECONDS, count)
    for shares in (schedules.twap(count), schedules.implementation_shortfall(PAPER, 1e-5, DAYS, count)):
        slices = schedules.whole_units(whole, shares, times, step, Decimal(1000))
        parts = np.diff([Decimal(0), *[piece.cumulative_units for piece in slices]])
        assert sum(parts) == whole == slices[-1].cumulative_units
        assert all(part * whole > 0 and abs(part) >= 1000 and part % step == 0 for part in parts)
        assert [piece.time_ns for piece in slices] == sorted({piece.time_ns for piece in slices})


def test_equal_parts_differ_by_one_step_at_most() -> None:
    times = schedules.slice_times(0, 70, 7)
    slices = schedules.whole_units(Decimal(100_000), schedules.twap(7), times, Decimal(1), Decimal(1))
    parts = np.diff([0, *[int(piece.cumulative_units) for piece in slices]])
    assert set(parts) == {14285, 14286}
    assert [piece.time_ns for piece in slices] == [0, 10, 20, 30, 40, 50, 60]


def bars(hours: int, volume: np.ndarray, kind: BarKind = BarKind.BAR) -> Panel:
    start = from_rfc3339("2024-01-01T05:00:00Z")  # Monday 00:00 in New York
    times = start + np.arange(1, hours + 1, dtype=np.int64) * HOUR
    values = np.ones((hours, 1, len(INPUT_COLUMNS)))
    values[:, 0, INPUT_COLUMNS.index("tick_volume")] = volume
    return Panel(("EUR_USD",), times, times[:, None], values, kind)


def test_a_profile_follows_the_week_and_daylight_saving(tmp_path: Path) -> None:
    hours = np.arange(14 * 24)
    profile = from_panel(bars(len(hours), 100.0 + hours % 24), 3600, "test history")
    assert profile.days == {"EUR_USD": 14}
    # 09:00 to 10:00 in New York, in winter 14:00 UTC, in summer 13:00.
    for start in ("2024-02-06T14:00:00Z", "2024-06-04T13:00:00Z"):
        assert profile.expected("EUR_USD", from_rfc3339(start), from_rfc3339(start) + HOUR) == pytest.approx(109.0)
    half = from_rfc3339("2024-02-06T14:30:00Z")
    assert profile.expected("EUR_USD", half, half + HOUR) == pytest.approx(0.5 * 109 + 0.5 * 110)
    profile.save(tmp_path / "profile.json")
    assert VolumeProfile.load(tmp_path / "profile.json") == profile
    times = schedules.slice_times(half, half + 4 * HOUR, 4)
    shares = schedules.vwap(profile, "EUR_USD", times, half + 4 * HOUR)
    assert shares[-1] == 1.0
    assert np.diff([0, *shares]) == pytest.approx(np.array([109.5, 110.5, 111.5, 112.5]) / 444)


def test_a_profile_of_ticks_counts_them() -> None:
    start = from_rfc3339("2024-03-05T15:00:00Z")
    times = [start + second * NANOSECONDS for second in (1, 2, 3, 900, 901, 1799)]
    profile = from_ticks({"EUR_USD": times}, "recorded", 900)
    assert [profile.expected("EUR_USD", start + k * HOUR // 4, start + (k + 1) * HOUR // 4) for k in range(3)] == [
        3,
        3,
        0,
    ]
    with pytest.raises(BadInputError, match="no USD_JPY"):
        profile.expected("USD_JPY", start, start + 1)


def test_what_has_no_tick_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="fixings, one price a day"):
        from_panel(bars(48, np.full(48, 5.0), BarKind.FIXING), 86400, "ecb")
    with pytest.raises(BadInputError, match="no tick volume of EUR_USD"):
        from_panel(bars(48, np.full(48, np.nan)), 3600, "a source")
    with pytest.raises(BadInputError, match="no tick of EUR_USD"):
        from_ticks({"EUR_USD": []}, "recorded")
    with pytest.raises(BadInputError, match="longer than buckets"):
        from_panel(bars(48, np.full(48, 5.0)), 14400, "a source")
    with pytest.raises(BadInputError, match="tidegate volume-profile"):
        VolumeProfile.load(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text('{"bucket_seconds": 3600, "ticks": {"EUR_USD": [1.0]}, "source": "", "days": {}}')
    with pytest.raises(BadInputError, match="EUR_USD has not 168"):
        VolumeProfile.load(broken)


EUR_USD = default_instrument("EUR_USD")
QUOTE = Quote("EUR_USD", 0, 0, 1.1, 1.1001)
ORDER = OrderRequest("s:EUR_USD:1:0", "EUR_USD", Decimal(100_000), decision_id="s:EUR_USD:1")


def plan_of(order: OrderRequest = ORDER, volatility: float = 0.006, **changes: object):
    parameters = ExecutionParameters(**({"algorithm": Algorithm.TWAP} | changes))  # type: ignore[arg-type]
    return make_plan(order, EUR_USD, QUOTE, volatility, 0, parameters, None, 86400.0)


def test_only_large_market_orders_are_planned() -> None:
    assert plan_of(algorithm=Algorithm.IMMEDIATE) is None
    assert plan_of(minimum_order_units=100_001.0) is None
    assert plan_of(OrderRequest("i", "EUR_USD", Decimal(100_000), OrderType.LIMIT)) is None
    assert plan_of(slices=1) is None
    passive = plan_of(slices=1, child_style=ChildStyle.PASSIVE)
    assert passive is not None and len(passive.slices) == 1


def test_a_plan_has_limits_and_says_what_it_expects() -> None:
    plan = plan_of(algorithm=Algorithm.IMPLEMENTATION_SHORTFALL, price_limit_pips=3.0, maximum_participation=0.2)
    assert plan is not None
    assert plan.price_limit == Decimal("1.10040")
    assert plan.arrival_mid == Decimal("1.10005")
    parts = np.diff([0, *[float(piece.cumulative_units) for piece in plan.slices]])
    assert (np.diff(parts) < 0).all()  # front-loaded: waiting has a price
    assert plan.expected_cost_pips is not None and 0.5 < plan.expected_cost_pips < 2.0
    without = plan_of(algorithm=Algorithm.IMPLEMENTATION_SHORTFALL, volatility=float("nan"))
    assert without is not None and without.algorithm is Algorithm.TWAP


def test_parameters_are_read_and_checked() -> None:
    assert ExecutionParameters.from_params(read_params(Path(__file__).parents[3] / "params.yaml")) == (
        ExecutionParameters()
    )
    for wrong, words in (
        ({"slices": 0}, "slices must be above 0"),
        ({"algorithm": "pov"}, "execution parameters"),
        ({"maximum_participation": 2}, "between 0 and 1"),
        ({"time_in_force": "GTC"}, "FOK or IOC"),
        ({"speed": 1}, "there is no speed"),
        ({"algorithm": "implementation_shortfall", "temporary_impact_pips": 0}, "above half the permanent impact"),
        ({"price_bound_pips": float("nan")}, "price_bound_pips must not be negative"),
    ):
        with pytest.raises(BadInputError, match=words):
            ExecutionParameters.from_params({"execution": wrong})
