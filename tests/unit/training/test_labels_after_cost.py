"""Labels against hand calculation: what a trade at the quotes would have paid."""

import numpy as np
import pytest

from core.domain import INPUT_COLUMNS, BarKind, Panel
from core.errors import BadInputError, IntegrityError
from training.costs import quote_panel
from training.labels import FLAT, LONG, SHORT, assert_before_holdout, make_labels
from training.parameters import LabelParameters

BID, ASK = INPUT_COLUMNS.index("bid_close"), INPUT_COLUMNS.index("ask_close")
COSTS = {"half_spread_pips": {"EUR_USD": 1.0, "USD_JPY": 1.0}, "slippage_pips": 0.5, "commission_per_million": 20.0}
FAR = 10**18


def panel(
    bid: list[float], ask: list[float] | None = None, kind: BarKind = BarKind.BAR, name: str = "EUR_USD"
) -> Panel:
    values = np.full((len(bid), 1, len(INPUT_COLUMNS)), np.nan)
    values[:, 0, BID], values[:, 0, ASK] = bid, bid if ask is None else ask
    time_ns = np.arange(1, len(bid) + 1, dtype=np.int64) * 100_000
    arrival = np.where(np.isnan(values[:, :, BID]), 0, time_ns[:, None] + 5_000)
    return Panel((name,), time_ns, arrival, values, kind)


def test_net_returns_are_those_of_a_trade_at_the_quotes() -> None:
    made = make_labels(panel([1.1000, 1.1030], [1.1002, 1.1034]), COSTS, LabelParameters(1), FAR)
    entry, slip, middle = 1.1001, 0.00005, 1.1032
    commission = 20e-6 * (entry + middle)
    bought = (1.1030 - slip) - (1.1002 + slip) - commission
    sold = (1.1000 - slip) - (1.1034 + slip) - commission
    assert made.net_long[0] == pytest.approx(bought / entry, rel=1e-9)
    assert made.net_short[0] == pytest.approx(sold / entry, rel=1e-9)
    assert made.label.tolist() == [LONG]
    assert made.label_end_ns.tolist() == [200_000]
    assert made.arrival_ns.tolist() == [105_000]


def test_a_move_smaller_than_the_cost_is_flat_and_the_edge_scales_the_threshold() -> None:
    # A round trip costs 2 * (1.0 + 0.5) pips of modelled spread and slippage, and a little commission.
    rates = [1.1, 1.1 + 0.0004, 1.1]
    made = make_labels(panel(rates, kind=BarKind.FIXING), COSTS, LabelParameters(1), FAR)
    assert made.label.tolist() == [LONG, SHORT]
    stricter = make_labels(panel(rates, kind=BarKind.FIXING), COSTS, LabelParameters(1, minimum_edge=2.0), FAR)
    assert stricter.label.tolist() == [FLAT, FLAT]
    small = make_labels(panel([1.1, 1.1002, 1.1], kind=BarKind.FIXING), COSTS, LabelParameters(1), FAR)
    assert small.label.tolist() == [FLAT, FLAT]


def test_the_horizon_counts_own_bars_and_the_end_is_exact() -> None:
    missing = float("nan")
    made = make_labels(panel([1.0, missing, 1.1, missing, 1.2, 1.3]), COSTS, LabelParameters(2), FAR)
    assert made.time_ns.tolist() == [100_000, 300_000]
    assert made.label_end_ns.tolist() == [500_000, 600_000]
    assert made.bar.tolist() == [0, 1]


def test_quoted_spreads_win_over_modelled_ones() -> None:
    quoted = quote_panel(panel([1.0, 1.0], [1.0004, 1.0002]), COSTS)
    assert quoted.half_spread[:, 0] == pytest.approx([0.0002, 0.0001])
    assert quoted.modelled == (False,)
    assert quote_panel(panel([110.0], kind=BarKind.FIXING, name="USD_JPY"), COSTS).half_spread[0, 0] == 0.01
    assert quote_panel(panel([1.0]), COSTS).modelled == (True,)  # bars of one price have no spread to read


def test_a_missing_modelled_spread_is_named() -> None:
    with pytest.raises(BadInputError, match=r"half_spread_pips\.NZD_USD"):
        make_labels(panel([0.6, 0.61], kind=BarKind.FIXING, name="NZD_USD"), COSTS, LabelParameters(1), FAR)


def test_no_price_of_the_holdout_enters_a_label() -> None:
    rates = [1.0, 1.01, 1.02, 1.03, 1.04]
    made = make_labels(panel(rates), COSTS, LabelParameters(2), cutoff_ns=500_000)
    assert made.time_ns.tolist() == [100_000, 200_000]
    assert made.label_end_ns.max() == 400_000
    other = make_labels(panel([*rates[:4], 9.0]), COSTS, LabelParameters(2), cutoff_ns=500_000)
    assert np.array_equal(made.net_long, other.net_long)


def test_rows_in_the_holdout_are_an_integrity_error() -> None:
    with pytest.raises(IntegrityError, match="1 training rows reach into the holdout"):
        assert_before_holdout(np.array([1, 2]), np.array([2, 10]), 10)


def test_nothing_to_label_is_one_clear_line() -> None:
    with pytest.raises(BadInputError, match="no bar before the holdout"):
        make_labels(panel([1.0, 1.1]), COSTS, LabelParameters(5), FAR)


def test_a_step_is_decided_when_the_last_bar_has_arrived_and_not_at_all_when_that_is_too_late() -> None:
    values = np.full((4, 2, len(INPUT_COLUMNS)), np.nan)
    values[:, :, BID] = values[:, :, ASK] = [[1.0, 100.0], [1.1, 101.0], [1.2, 102.0], [1.3, 103.0]]
    time_ns = np.array([100_000, 200_000, 300_000, 400_000])
    arrival = np.array([[105_000, 150_000], [205_000, 205_000], [305_000, 900_000], [405_000, 405_000]])
    late = Panel(("EUR_USD", "USD_JPY"), time_ns, arrival, values, BarKind.BAR)
    made = make_labels(late, COSTS, LabelParameters(1), FAR)
    assert made.arrival_ns.tolist() == [150_000, 150_000, 205_000, 205_000]
    # The third step was complete only after the fourth was there: its features cannot be told apart any more.
    assert sorted(set(made.step.tolist())) == [0, 1]


def test_volatility_is_causal_and_near_the_truth() -> None:
    generator = np.random.default_rng(1)
    rates = np.exp(np.cumsum(generator.normal(scale=0.01, size=800)))
    made = make_labels(panel(rates.tolist()), COSTS, LabelParameters(1), FAR)
    known = made.volatility[~np.isnan(made.volatility)]
    assert np.isnan(made.volatility[:30]).all()
    assert known.mean() == pytest.approx(0.01, rel=0.1)
    rates[500:] *= 3.0
    changed = make_labels(panel(rates.tolist()), COSTS, LabelParameters(1), FAR)
    assert np.array_equal(made.volatility[:500], changed.volatility[:500], equal_nan=True)
