"""Triple-barrier labels on hand-made paths: each number is what a trade at those quotes would have paid."""

import numpy as np
import pytest

from core.domain import INPUT_COLUMNS, BarKind, Panel
from core.errors import BadInputError
from training.label_parameters import BarrierParameters, LabelParameters
from training.labels import EXPIRED, FLAT, LONG, PAID, SHORT, STOPPED, Labels, make_labels

FREE = {"slippage_pips": 0.0, "commission_per_million": 0.0}
FAR = 10**18
HALF = 0.0001  # half spread of every quote below
TEN = BarrierParameters(10.0, 10.0, "pips")
Bar = tuple[float, float, float, float]  # open, high, low, close of the middle, in pips above 1.1


def panel(bars: list[Bar]) -> Panel:
    values = np.full((len(bars), 1, len(INPUT_COLUMNS)), np.nan)
    for row, prices in enumerate(bars):
        for position, pips in enumerate(prices):
            values[row, 0, position] = 1.1 + pips * 1e-4 - HALF
            values[row, 0, position + 4] = 1.1 + pips * 1e-4 + HALF
    time_ns = np.arange(1, len(bars) + 1, dtype=np.int64) * 100_000
    return Panel(("EUR_USD",), time_ns, time_ns[:, None].copy(), values, BarKind.BAR)


def label(bars: list[Bar], horizon: int = 3, barriers: BarrierParameters = TEN, costs: dict = FREE) -> Labels:
    """Label a path that starts at a quiet bar, padded so that its first row's horizon is known."""
    path = [(0.0, 0.0, 0.0, 0.0), *bars]
    path += [(path[-1][3],) * 4] * (horizon + 1 - len(path))
    return make_labels(panel(path), costs, LabelParameters(horizon, kind="triple_barrier", barriers=barriers), FAR)


def first(made: Labels) -> tuple[int, float, float]:
    """Return class and net pips of both sides of the first row."""
    return int(made.label[0]), made.net_long[0] * 1.1 / 1e-4, made.net_short[0] * 1.1 / 1e-4


def test_a_target_is_met_by_the_bid_and_pays_its_distance_exactly() -> None:
    # The long enters at the ask (+1) and wins 10 where the bid reaches +11, the middle +12.
    made = label([(0, 5, 0, 5), (5, 12, 5, 6)])
    side, long, short = first(made)
    assert side == LONG and long == pytest.approx(10.0)
    # The short entered at the bid (-1): its stop is the ask at +9, the middle at +8, in the same bar.
    assert short == pytest.approx(-10.0)
    assert made.outcomes is not None
    assert (made.outcomes.touch_long[0], made.outcomes.touch_short[0]) == (PAID, STOPPED)
    assert made.end_bar is not None and made.end_bar[0] == 2
    assert made.label_end_ns[0] == 300_000


def test_a_middle_at_the_target_is_not_enough() -> None:
    made = label([(0, 11.9, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)])
    assert made.outcomes is not None and made.outcomes.touch_long[0] == EXPIRED
    assert made.label[0] == FLAT


def test_the_stop_of_a_long_is_met_by_the_bid_one_spread_earlier() -> None:
    # Entry +1, stop at a bid of -9: the middle needs to fall to -8 only.
    made = label([(0, 0, -8.0, -5), (-5, -5, -5, -5), (-5, -5, -5, -5)])
    assert made.outcomes is not None
    assert made.outcomes.touch_long[0] == STOPPED and made.outcomes.end_bar_long[0] == 1
    assert first(made)[1] == pytest.approx(-10.0)
    # The short did not reach its target (ask at -11, middle at -12) and expired at -5: it won 5 less the spread of 2.
    assert made.outcomes.touch_short[0] == EXPIRED
    assert first(made)[2] == pytest.approx(3.0)
    assert made.label[0] == SHORT
    assert made.label_end_ns[0] == 400_000  # both trades were waited for


def test_a_bar_that_touches_both_is_taken_for_the_worse() -> None:
    made = label([(0, 20, -20, 0)])
    side, long, short = first(made)
    assert side == FLAT
    assert long == pytest.approx(-10.0) and short == pytest.approx(-10.0)


def test_a_bar_that_opens_beyond_the_target_met_it_first() -> None:
    made = label([(15, 16, -20, 0)])
    assert made.outcomes is not None and made.outcomes.touch_long[0] == PAID
    assert first(made)[1] == pytest.approx(10.0)  # the level and not the better open
    assert first(made)[2] == pytest.approx(-17.0)  # the short's stop fills at the ask of the open, +16


def test_a_stop_behind_a_gap_fills_at_the_open() -> None:
    made = label([(-30, -25, -35, -30)])
    assert first(made)[1] == pytest.approx(-32.0)  # entry +1, bid of the open -31
    assert first(made)[0] == SHORT and first(made)[2] == pytest.approx(10.0)


def test_the_vertical_barrier_closes_at_the_other_side() -> None:
    made = label([(0, 4, 0, 4), (4, 4, 4, 4), (4, 5, 4, 5)])
    side, long, short = first(made)
    assert side == LONG and long == pytest.approx(3.0) and short == pytest.approx(-7.0)
    assert made.outcomes is not None and made.outcomes.end_bar_long[0] == 3


def test_slippage_and_commission_come_off_each_outcome() -> None:
    costs = {"slippage_pips": 0.5, "commission_per_million": 30.0}
    made = label([(0, 12, 0, 6)], costs=costs)
    commission = 30e-6 * (1.1 + 1.1012) / 1e-4  # of the middles at entry and exit, in pips
    assert first(made)[1] == pytest.approx(10.0 - 1.0 - commission)
    dear = label([(0, 12, 0, 6)], costs={"slippage_pips": 5.0, "commission_per_million": 0.0})
    assert dear.label[0] == FLAT  # the target was met, and paid nothing


def test_no_stop_lets_the_long_wait_and_the_first_to_pay_wins() -> None:
    only_target = BarrierParameters(10.0, 0.0, "pips")
    made = label([(0, 0, -12, -12), (-12, 12, -12, 12), (12, 12, 12, 12)], barriers=only_target)
    assert made.outcomes is not None
    assert made.outcomes.touch_long[0] == PAID and made.outcomes.touch_short[0] == PAID
    assert (made.outcomes.end_bar_short[0], made.outcomes.end_bar_long[0]) == (1, 2)
    assert made.label[0] == SHORT
    assert made.label_end_ns[0] == 300_000
    same_bar = label([(0, 12, -12, 0)], barriers=only_target)
    assert same_bar.label[0] == FLAT  # nobody knows which came first


def test_a_row_whose_horizon_is_not_over_gets_no_label_though_its_barrier_was_met() -> None:
    made = make_labels(
        panel([(0, 0, 0, 0), (0, 12, 0, 6), (6, 6, 6, 6)]),
        FREE,
        LabelParameters(2, kind="triple_barrier", barriers=TEN),
        FAR,
    )
    assert made.time_ns.tolist() == [100_000]


def test_volatilities_are_of_the_horizon_and_unknown_at_the_start() -> None:
    generator = np.random.default_rng(3)
    close = np.cumsum(generator.normal(scale=8.0, size=400))
    bars = [(float(c), float(c), float(c), float(c)) for c in close]
    made = make_labels(panel(bars), FREE, LabelParameters(9, kind="triple_barrier"), FAR)
    assert made.bar[0] == 30  # squared returns before the volatility counts
    assert made.outcomes is not None
    paid = made.outcomes.touch_long == PAID
    won = made.net_long[paid] / (made.volatility[paid] * 3.0)
    assert won == pytest.approx(1.0, rel=1e-9)
    short = make_labels(panel(bars[:20]), FREE, LabelParameters(2, kind="triple_barrier", barriers=TEN), FAR)
    assert len(short.label) == 18
    with pytest.raises(BadInputError, match="no bar has a barrier"):
        make_labels(panel(bars[:20]), FREE, LabelParameters(2, kind="triple_barrier"), FAR)


def test_fixings_know_their_price_only() -> None:
    values = np.full((5, 1, len(INPUT_COLUMNS)), np.nan)
    rates = [1.1, 1.1005, 1.1030, 1.1, 1.1]
    for column in ("bid_close", "ask_close"):
        values[:, 0, INPUT_COLUMNS.index(column)] = rates
    time_ns = np.arange(1, 6, dtype=np.int64) * 100_000
    fixings = Panel(("EUR_USD",), time_ns, time_ns[:, None].copy(), values, BarKind.FIXING)
    costs = FREE | {"half_spread_pips": {"EUR_USD": 1.0}}
    made = make_labels(fixings, costs, LabelParameters(3, kind="triple_barrier", barriers=TEN), FAR)
    assert made.label.tolist() == [LONG, LONG]
    assert made.net_long[0] * 1.1 == pytest.approx(0.0010)  # the target, not the fixing beyond it
    assert made.net_short[0] * 1.1 == pytest.approx(-(0.0030 + 0.0002))  # the stop, at the fixing beyond it
