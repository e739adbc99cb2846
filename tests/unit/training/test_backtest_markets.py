"""What a backtest is made of and what it refuses: markets, costs, parameters, hand-made bars."""

from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from core.domain import BarKind, Panel
from core.errors import BadInputError
from trading.strategy.rules.catalogue import RULES, rule_of
from trading.strategy.rules.step import rule_step
from training.backtest import Account, Costs, ExitReason, Market, Sizing, run_batch, run_one

HOUR = 3_600_000_000_000
THURSDAY = 1_398_902_400_000_000_000  # 2014-05-01 00:00 UTC


def panel(bars: list[tuple[float, float, float, float]], spread: float = 0.0002, name: str = "EUR_USD") -> Panel:
    """Return bid bars of one instrument with a constant spread."""
    bid = np.array(bars)
    values = np.concatenate([bid, bid + spread, np.ones((len(bid), 1))], axis=1)[:, None]
    time_ns = THURSDAY + HOUR * np.arange(1, len(bid) + 1, dtype=np.int64)
    return Panel((name,), time_ns, time_ns[:, None], values, BarKind.BAR)


# Rises to 1.3040, so that the average of 1 bar is above that of 2 from the third bar on.
RISING = [(1.30, 1.301, 1.299, 1.30), (1.30, 1.302, 1.30, 1.301), (1.301, 1.303, 1.301, 1.302)]


def test_a_trade_by_hand_with_all_its_costs() -> None:
    """Bought at the open of the third bar, stopped out in it: every figure worked out on paper."""
    bars = [*RISING[:2], (1.3010, 1.3020, 1.2960, 1.3000), (1.3000, 1.3000, 1.2990, 1.2990)]
    market = Market.from_panel(panel(bars))
    # True ranges 0.0020 and 0.0020: with periods 2 the average is 0.0020, the stop 1.5 of it below the entry.
    parameters = {"fast": 1, "slow": 2, "stop": 1.5, "range_periods": 2}
    costs = Costs(slippage_pips=0.5, commission_per_million=50)
    result = run_one(market, "ema_cross", parameters, Account(sizing=Sizing(units=10_000)), costs)
    trade = result.trades[0]
    assert (trade.entry_price, trade.exit_price) == (
        Decimal("1.30125"),
        Decimal("1.29815"),
    )  # 1.3012 - 0.0030, and slip
    assert (trade.entry_ns, trade.exit_ns) == (THURSDAY + 2 * HOUR, THURSDAY + 3 * HOUR)
    assert (trade.units, trade.reason, trade.exit_inside) == (Decimal(10_000), ExitReason.STOP, True)
    assert trade.profit == Decimal("-31.0000")
    assert trade.spread_cost == pytest.approx(2.0) and trade.slippage_cost == pytest.approx(1.0)
    # 50 per million of 13,011.00 and of 12,983.00 at the middle: 0.65055 and 0.64915, each rounded half to even.
    assert trade.commission == pytest.approx(0.6506 + 0.6492)
    # The average turned in the third bar: a short is open since the fourth, 13,001.00: 0.65005 becomes 0.6500.
    assert result.balance == Decimal(100_000) - Decimal(31) - Decimal("1.2998") - Decimal("0.6500")


def test_financing_falls_due_at_five_in_new_york_three_days_on_a_wednesday() -> None:
    """Wednesday 2014-05-07 21:00 UTC is 17:00 in New York."""
    bars = [(1.30 + index * 1e-4,) * 4 for index in range(24 * 7)]
    bars = [(a, b + 5e-5, c - 5e-5, d) for a, b, c, d in bars]
    market = Market.from_panel(panel(bars))
    sizing = Account(sizing=Sizing(units=10_000))
    costs = Costs(financing=True, financing_rates={"EUR_USD": (-0.0365, 0.0)})
    result = run_one(market, "ema_cross", {"fast": 1, "slow": 2}, sizing, costs)
    # Thursday, Friday, Monday, Tuesday one day each, Wednesday three; at the middle of the close before 17:00.
    closes = [1.30 + (21 + 24 * day - 1) * 1e-4 + 1e-4 for day in (0, 1, 4, 5, 6)]
    expected = -sum(10_000 * price * 0.0365 * days / 365 for price, days in zip(closes, (1, 1, 1, 1, 3), strict=True))
    assert result.metrics["financing"] == pytest.approx(expected, abs=3e-4)


def test_gap_fills_at_the_open_and_a_target_at_its_level() -> None:
    bars = [*RISING[:2], (1.301, 1.3015, 1.3008, 1.301), (1.28, 1.281, 1.279, 1.28), (1.28, 1.281, 1.279, 1.28)]
    account = Account(sizing=Sizing(units=10_000))
    market = Market.from_panel(panel(bars))
    stopped = run_one(market, "ema_cross", {"fast": 1, "slow": 2, "stop": 1.5, "range_periods": 2}, account).trades[0]
    assert (stopped.exit_price, stopped.exit_inside, stopped.reason) == (Decimal("1.28000"), False, ExitReason.STOP)
    bars[2] = (1.301, 1.309, 1.3008, 1.301)
    parameters = {"fast": 1, "slow": 2, "target": 1.5, "range_periods": 2}
    reached = run_one(Market.from_panel(panel(bars)), "ema_cross", parameters, account).trades[0]
    assert (reached.exit_price, reached.reason) == (Decimal("1.30420"), ExitReason.TARGET)


def test_of_a_stop_and_a_target_in_one_bar_the_stop_is_taken() -> None:
    bars = [*RISING[:2], (1.301, 1.320, 1.280, 1.301), (1.301, 1.302, 1.300, 1.301)]
    parameters = {"fast": 1, "slow": 2, "stop": 1.5, "target": 1.5, "range_periods": 2}
    result = run_one(Market.from_panel(panel(bars)), "ema_cross", parameters, Account(sizing=Sizing(units=10_000)))
    assert result.trades[0].reason is ExitReason.STOP


def test_no_row_after_the_last_changes_what_was_decided_before() -> None:
    """Equity up to a bar does not depend on the bars after it."""
    generator = np.random.default_rng(4)
    closes = 1.3 + np.cumsum(np.rint(generator.normal(0, 60, 300))) * 1e-5
    bars = [(a, max(a, b) + 2e-4, min(a, b) - 2e-4, b) for a, b in pairwise(closes)]
    whole = Market.from_panel(panel(np.round(bars, 5).tolist()))
    for rule in RULES:
        full = run_one(whole, rule, {})
        part = run_one(whole.part(0, 170), rule, {})
        np.testing.assert_array_equal(full.equity[:170], part.equity)
        assert [t for t in full.trades if t.exit_row < 169] == [t for t in part.trades if t.exit_row < 169]


def test_the_same_run_has_the_same_digest_and_another_market_another() -> None:
    market = Market.from_panel(panel(RISING * 20))
    first, again = (run_one(market, "ema_cross", {"fast": 1, "slow": 2}).digest() for _ in range(2))
    assert first == again
    assert market.widened(2.0).digest() != market.digest()


def test_wider_spreads_cost_what_they_are_wider_by() -> None:
    market = Market.from_panel(panel(RISING * 20))
    account = Account(sizing=Sizing(units=10_000))
    costs = [run_one(market, "ema_cross", {"fast": 1, "slow": 2}, account, Costs(spread_multiple=m)) for m in (1, 2, 3)]
    spread = [item.metrics["spread_cost"] for item in costs]
    assert spread[1] == pytest.approx(2 * spread[0]) and spread[2] == pytest.approx(3 * spread[0])
    assert costs[0].metrics["trades"] == costs[2].metrics["trades"]  # signals see the market as it is


def test_fixings_have_one_price_and_a_modelled_spread() -> None:
    values = np.full((40, 1, 9), np.nan)
    values[:, 0, 3] = values[:, 0, 7] = 1.1 + np.arange(40) * 1e-3
    time_ns = THURSDAY + 24 * HOUR * np.arange(40, dtype=np.int64)
    fixings = Panel(("EUR_USD",), time_ns, time_ns[:, None], values, BarKind.FIXING)
    market = Market.from_panel(fixings, costs={"half_spread_pips": {"EUR_USD": 0.6}})
    assert market.modelled == (True,)
    result = run_one(market, "channel_breakout", {"enter": 3, "leave": 0, "stop": 0, "target": 0})
    assert result.trades[0].entry_ns == int(time_ns[result.trades[0].entry_row])
    with pytest.raises(BadInputError, match=r"half_spread_pips\.EUR_USD"):
        Market.from_panel(fixings)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fast": 20, "slow": 10}, "fast must be below slow"),
        ({"fast": 2.5}, "fast must be a whole number"),
        ({"fast": 0}, "from 1 to"),
        ({"stop": float("nan")}, "stop must be a number"),
        ({"quick": 3}, "has no quick; it has fast"),
    ],
)
def test_parameters_out_of_range_are_refused(values: dict[str, float], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        rule_of("ema_cross").row(values)


def test_bad_input_is_refused_before_any_work() -> None:
    market = Market.from_panel(panel(RISING * 3))
    rule = rule_of("ema_cross")
    table = rule.row({})[None]
    with pytest.raises(BadInputError, match="no rule 'astrology'"):
        run_batch(market, "astrology", table)
    with pytest.raises(BadInputError, match="takes a table of sets of 6"):
        run_batch(market, rule, np.zeros((0, 6)))
    with pytest.raises(BadInputError, match="balance must be above 0"):
        run_batch(market, rule, table, Account(balance=Decimal(0)))
    with pytest.raises(BadInputError, match="slippage_pips"):
        run_batch(market, rule, table, costs=Costs(slippage_pips=-1.0))
    with pytest.raises(BadInputError, match="leave rows to trade"):
        run_batch(market, rule, table, first=len(market))
    with pytest.raises(BadInputError, match="units must be above 0"):
        run_batch(market, rule, table, Account(sizing=Sizing(units=0)))
    with pytest.raises(BadInputError, match="earns JPY, which no pair"):
        Market.from_panel(panel(RISING, name="EUR_JPY"))
    crossed = panel(RISING, spread=-0.0001)
    with pytest.raises(BadInputError, match="crossed quotes"):
        Market.from_panel(crossed)
    with pytest.raises(BadInputError, match="no measure 'luck'"):
        run_batch(market, rule, table).column("luck")


def test_sliding_channels_and_deviations_are_those_of_the_window() -> None:
    """The rules' running sums and queues against plain windows over history."""
    generator = np.random.default_rng(2)
    close = 1.3 + np.cumsum(generator.normal(0, 1e-3, 400))
    values = np.zeros((400, 1, 9))
    for side, shift in ((0, 0.0), (4, 2e-4)):
        values[:, 0, side], values[:, 0, side + 3] = close + shift, close + shift
        values[:, 0, side + 1] = close + shift + generator.uniform(1e-5, 1e-3, 400)
        values[:, 0, side + 2] = close + shift - generator.uniform(1e-5, 1e-3, 400)
    middle = 0.5 * (values[:, 0, 3] + values[:, 0, 7])
    high, low = (0.5 * (values[:, 0, column] + values[:, 0, column + 4]) for column in (1, 2))
    breakout, reversion = rule_of("channel_breakout"), rule_of("mean_reversion")
    row, other = breakout.row({"enter": 17, "leave": 0}), reversion.row({"window": 23, "enter": 1.5, "leave": 0.2})
    state, memory = np.zeros(breakout.state_size(row[None])), np.zeros(reversion.state_size(other[None]))
    side = 0.0
    for t in range(400):
        signal = rule_step(breakout.number, state, 0, values.ravel(), 9 * t, row)
        wanted = 0.0
        if t >= 17:
            wanted = 1.0 if middle[t] > high[t - 17 : t].max() else -1.0 if middle[t] < low[t - 17 : t].min() else 0.0
        if wanted and wanted != side:
            side = wanted
            assert signal.weight == wanted
        else:
            assert np.isnan(signal.weight)
        signal = rule_step(reversion.number, memory, 0, values.ravel(), 9 * t, other)
        if t < 22:
            assert np.isnan(signal.weight)
            continue
        window = middle[t - 22 : t + 1]
        z = (middle[t] - window.mean()) / window.std()
        if min(abs(abs(z) - 1.5), abs(abs(z) - 0.2)) < 1e-6:
            continue
        expected = -np.sign(z) if abs(z) >= 1.5 else 0.0 if abs(z) <= 0.2 else np.nan
        np.testing.assert_equal(signal.weight, expected)
