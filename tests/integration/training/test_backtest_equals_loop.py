"""Every trade of the compiled backtester is the trade of the trading loop on the same data."""

import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from backtest_loop import HOUR, random_panel, trade_in_loop, walked
from backtest_loop import Account as Booked

from core.domain import BarKind, Panel
from trading.matching.book import AccountConfiguration
from trading.strategy.ema_cross import EmaCross, EmaCrossParameters
from trading.strategy.rules.catalogue import rule_of
from trading.strategy.rules.strategy import RuleStrategy
from training.backtest import Account, Costs, Execution, ExitReason, Market, Result, Sizing, run_batch, run_one

REASONS = {
    "MARKET_ORDER": ExitReason.SIGNAL,
    "LIMIT_ORDER": ExitReason.SIGNAL,
    "STOP_LOSS_ORDER": ExitReason.STOP,
    "TAKE_PROFIT_ORDER": ExitReason.TARGET,
    "TRAILING_STOP_LOSS_ORDER": ExitReason.TRAILING,
    "MARKET_ORDER_MARGIN_CLOSEOUT": ExitReason.MARGIN,
}
VOLATILITY = Sizing(kind="volatility", target_volatility=0.2, maximum_leverage=3.0)


class Case(msgspec.Struct, frozen=True):
    """One run of both."""

    names: tuple[str, ...]
    prices: tuple[float, ...]
    rule: str
    parameters: dict[str, float]
    sizing: Sizing = Sizing(units=50_000)
    costs: Costs = Costs()
    fill: Any = "open"
    path: Any = "against"
    steps: int = 160
    balance: Decimal = Decimal(100_000)
    currency: str = "USD"


def both(case: Case, folder: Path, panel: Panel | None = None) -> tuple[Result, Booked, Market]:
    panel = random_panel(case.names, case.prices, case.steps, 3) if panel is None else panel
    market = Market.from_panel(panel, case.currency)
    account = Account(balance=case.balance, sizing=case.sizing)
    execution = Execution(fill=case.fill, path=case.path)
    result = run_one(market, case.rule, case.parameters, account, case.costs, execution)
    rule = rule_of(case.rule)
    strategy = RuleStrategy("rule", market.names, rule, rule.row(case.parameters), case.sizing.columns(), 3600)
    # Pairs that others are converted over move last: what happens inside a bar is converted at its opens.
    order = sorted(market.names, key=lambda name: case.currency in name.split("_"))
    rows = walked(market, result.paths, order, case.fill == "close")
    booked = trade_in_loop(market, rows, strategy, folder, configuration(case))
    return result, booked, market


def configuration(case: Case) -> AccountConfiguration:
    costs = case.costs
    rates = {name: (Decimal(str(a)), Decimal(str(b))) for name, (a, b) in costs.financing_rates.items()}
    return AccountConfiguration(
        currency=case.currency,
        balance=case.balance,
        commission_per_million=Decimal(str(costs.commission_per_million)),
        financing=costs.financing,
        financing_rates=rates,
        default_financing_rate=Decimal(str(costs.default_financing_rate)),
    )


def assert_equal(result: Result, booked: Booked) -> None:
    closed = [trade for trade in result.trades if trade.reason is not ExitReason.OPEN]
    assert len(closed) == len(booked.closed)
    for mine, theirs in zip(closed, booked.closed, strict=True):
        assert (mine.instrument, mine.units, mine.entry_price, mine.exit_price, mine.profit, mine.reason) == (
            theirs.instrument, theirs.units, theirs.entry_price, theirs.exit_price, theirs.profit,
            REASONS[theirs.reason],
        )  # fmt: skip
        for inside, my_time, their_time in (
            (mine.entry_inside, mine.entry_ns, theirs.entry_ns),
            (mine.exit_inside, mine.exit_ns, theirs.exit_ns),
        ):
            # Inside a bar the backtester knows the bar, not the moment.
            assert my_time - HOUR < their_time < my_time if inside else my_time == their_time
    held: Mapping[str, Decimal] = {
        name: Decimal(int(units))
        for name, units in zip(result.instruments, result.held[-1].tolist(), strict=True)
        if units
    }
    assert held == booked.open_units
    assert result.balance == booked.balance
    assert result.metrics["commission_cost"] == pytest.approx(float(booked.commission), abs=1e-6)
    assert result.metrics["financing"] == pytest.approx(float(booked.financing), abs=1e-6)


CASES = {
    "cross at the market": Case(
        ("EUR_USD",), (1.38,), "ema_cross", {"fast": 3, "slow": 8}, costs=Costs(commission_per_million=37.5)
    ),
    "breakout with stop and target, converted over itself": Case(
        ("USD_JPY",), (101.5,), "channel_breakout", {"enter": 6, "leave": 3, "stop": 1.2, "target": 1.5},
        costs=Costs(commission_per_million=20, financing=True, financing_rates={"USD_JPY": (-0.013, -0.0271)}),
    ),
    "trailing stop, low of the bar first": Case(
        ("EUR_USD",), (1.38,), "ema_cross", {"fast": 2, "slow": 5, "trailing": 1.1, "target": 2.0}, path="low"
    ),
    "limit entries": Case(
        ("EUR_USD",), (1.38,), "mean_reversion",
        {"window": 12, "enter": 1.0, "leave": 0.3, "stop": 1.0, "target": 1.2, "offset": 0.3}, path="direction",
    ),
    "three pairs, sized by volatility, crosses converted": Case(
        ("EUR_GBP", "GBP_USD", "USD_JPY"), (0.81, 1.67, 101.5), "channel_breakout",
        {"enter": 5, "leave": 2, "stop": 1.5, "target": 3.0, "trailing": 2.0}, VOLATILITY,
        Costs(commission_per_million=35, financing=True), steps=110,
    ),
    "trades at the close": Case(
        ("GBP_USD", "USD_JPY"), (1.67, 101.5), "ema_cross", {"fast": 3, "slow": 7, "stop": 1.5, "target": 1.0},
        costs=Costs(financing=True), fill="close", steps=110,
    ),
    "an account that can hardly pay": Case(
        ("EUR_USD",), (1.38,), "ema_cross", {"fast": 2, "slow": 4}, Sizing(units=300_000), balance=Decimal(14_500)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_trade_is_that_of_the_loop(name: str, tmp_path: Path) -> None:
    result, booked, _ = both(CASES[name], tmp_path)
    assert len(booked.closed) > 8, "too few trades to say anything"
    assert_equal(result, booked)


def read_hours(file: Path, name: str, first: int, count: int) -> Panel:
    """Return recorded hours of a LEAN file: bid and ask, weekends and all."""
    with zipfile.ZipFile(file) as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()[first : first + count]
    values = np.full((count, 1, 9), np.nan)
    times: list[int] = []
    for row, line in enumerate(lines):
        stamp, *numbers = line.split(",")
        begin = datetime.strptime(stamp, "%Y%m%d %H:%M").replace(tzinfo=UTC)
        times.append(int(begin.timestamp()) * 10**9 + HOUR)
        values[row, 0, :8] = [float(numbers[place]) for place in (0, 1, 2, 3, 5, 6, 7, 8)]
        values[row, 0, 8] = 1.0
    time_ns = np.array(times, np.int64)
    return Panel((name,), time_ns, time_ns[:, None], values, BarKind.BAR)


@pytest.mark.shared_data
def test_recorded_hours_over_a_weekend(shared_data: Path, tmp_path: Path) -> None:
    """OANDA NZD_USD, 2014-04-22 to 04-30: real spreads, gaps over the weekend, financing."""
    file = shared_data / "lean/forex/oanda/hour/nzdusd.zip"
    panel = read_hours(file, "NZD_USD", 45_500, 150)
    assert (np.diff(panel.time_ns) > 2 * HOUR).any(), "no weekend in the range"
    case = Case(
        ("NZD_USD",), (), "channel_breakout", {"enter": 5, "leave": 3, "stop": 2.0, "target": 3.0},
        costs=Costs(commission_per_million=35, financing=True, financing_rates={"NZD_USD": (0.0123, -0.0412)}),
    )  # fmt: skip
    result, booked, _ = both(case, tmp_path, panel=panel)
    assert len(booked.closed) > 8 and booked.financing
    assert_equal(result, booked)


def test_rule_is_the_cross_that_the_loop_has(tmp_path: Path) -> None:
    """The strategy the replay benchmark measures, written before the rule and without it."""
    case = Case(("EUR_USD",), (1.38,), "ema_cross", {"fast": 4, "slow": 9}, steps=120)
    result, booked, market = both(case, tmp_path / "rule")
    strategy = EmaCross("rule", market.names, EmaCrossParameters(4, 9, Decimal(50_000)))
    rows = walked(market, result.paths, market.names, False)
    other = trade_in_loop(market, rows, strategy, tmp_path / "cross", configuration(case))
    assert other.closed == booked.closed
    assert_equal(result, other)


def test_every_kind_of_exit_was_compared(tmp_path: Path) -> None:
    found: set[ExitReason] = set()
    for case in CASES.values():
        market = Market.from_panel(random_panel(case.names, case.prices, case.steps, 3), case.currency)
        result = run_one(
            market, case.rule, case.parameters, Account(balance=case.balance, sizing=case.sizing), case.costs,
            Execution(fill=case.fill, path=case.path),
        )  # fmt: skip
        found |= {trade.reason for trade in result.trades}
    assert found >= {ExitReason.SIGNAL, ExitReason.STOP, ExitReason.TARGET, ExitReason.TRAILING}


def test_batch_is_many_runs_and_the_same_on_any_number_of_cores() -> None:
    market = Market.from_panel(random_panel(("EUR_USD", "USD_JPY"), (1.38, 101.5), 400, 5))
    rule = rule_of("channel_breakout")
    table = np.stack(
        [rule.row({"enter": 3 + index % 7, "leave": index % 3, "stop": 1.0 + index}) for index in range(9)]
    )
    one = run_batch(market, rule, table, net=True, workers=1)
    two = run_batch(market, rule, table, net=True, workers=2)
    np.testing.assert_array_equal(one.metrics, two.metrics)
    assert one.net is not None and two.net is not None
    np.testing.assert_array_equal(one.net, two.net)
    for index in (0, 4, 8):
        single = run_one(market, rule, table[index])
        np.testing.assert_array_equal(one.metrics[index], list(single.metrics.values()))
        np.testing.assert_array_equal(one.net[index], single.net)
