"""The numbers of a report: what was earned a year, a month and by whom, and what it cost."""

from collections.abc import Callable, Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.clock import to_datetime
from training.backtest.result import Result, Trade
from training.evaluation.bootstrap import BlockBootstrap
from training.search.strategy.windows import days_of
from training.statistics.interval import Interval

_YEAR = 365.25 * 86_400_000_000_000
_LEAST_DAYS = 20  # fewer have no Sharpe ratio worth an interval
_LEAST = -0.999999
_ZONE = ZoneInfo("UTC")


class Estimate(msgspec.Struct, frozen=True):
    """A value with its central 95 % interval."""

    value: float
    low: float
    high: float


class Figures(msgspec.Struct, frozen=True):
    """What a course of equity amounts to. Shares are fractions, ``sharpe`` is of daily returns and a year.

    ``sharpe`` is None on fewer than 20 trading days. Below a quarter of a year ``return_a_year`` is not compounded.
    """

    net_return: float
    return_a_year: float
    volatility_a_year: float
    sharpe: Estimate | None
    maximum_drawdown: float
    days: int
    years: float
    trades: int  # entered in it
    win_share: float


class Costs(msgspec.Struct, frozen=True):
    """Money of all trades: ``gross`` is the profit without any cost, ``net`` what is left."""

    gross: float
    spread: float
    slippage: float
    commission: float
    financing: float  # negative where it was paid
    net: float


class Share(msgspec.Struct, frozen=True):
    """What a group of trades earned."""

    key: str
    trades: int
    wins: int
    gross: float
    costs: float
    net: float


class Month(msgspec.Struct, frozen=True):
    """Returns of a year by month, fractions; None for a month outside of the range."""

    year: int
    months: list[float | None]
    total: float


class DailySeries(msgspec.Struct, frozen=True):
    """Net returns of trading days, which end at 17:00 New York: float64 [D] and the time of each day's last step."""

    returns: NDArray[np.float64]
    end_ns: NDArray[np.int64]


def daily(time_ns: NDArray[np.int64], net: NDArray[np.float64]) -> DailySeries:
    """Compound the returns of steps into those of trading days."""
    days = days_of(time_ns)
    logs = np.add.reduceat(np.log1p(np.maximum(net, _LEAST)), days.first)
    return DailySeries(np.expm1(logs), days.end_ns)


def figures(result: Result, first: int, last: int, block: int, draws: int, seed: int) -> Figures:
    """Return the figures of the rows ``first`` to ``last`` (exclusive) and of the trades entered in them."""
    time_ns, net = result.time_ns[first:last], result.net[first:last]
    series = daily(time_ns, net)
    equity = np.concatenate([[1.0], np.cumprod(1.0 + np.maximum(net, _LEAST))])
    years = max(float(time_ns[-1] - time_ns[0]) / _YEAR, 1.0 / 365.25)
    total = float(equity[-1] - 1.0)
    entered = [trade for trade in result.trades if first <= trade.entry_row < last]
    per_year = len(series.returns) / years
    return Figures(
        net_return=total,
        return_a_year=float((1.0 + total) ** (1.0 / years) - 1.0) if years >= 0.25 else total / years,
        volatility_a_year=float(series.returns.std() * np.sqrt(per_year)),
        sharpe=_sharpe(series.returns, per_year, block, draws, seed),
        maximum_drawdown=float((1.0 - equity / np.maximum.accumulate(equity)).max()),
        days=len(series.returns),
        years=years,
        trades=len(entered),
        win_share=sum(trade.net > 0 for trade in entered) / len(entered) if entered else 0.0,
    )


def _sharpe(returns: NDArray[np.float64], per_year: float, block: int, draws: int, seed: int) -> Estimate | None:
    if len(returns) < _LEAST_DAYS:
        return None
    columns = np.column_stack([returns, returns**2, np.ones(len(returns))])

    def ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        mean = sums[..., 0] / sums[..., 2]
        deviation = np.sqrt(np.maximum(sums[..., 1] / sums[..., 2] - mean**2, 0.0))
        return np.where(deviation > 1e-15, mean / np.maximum(deviation, 1e-15), 0.0) * np.sqrt(per_year)

    found: Interval = BlockBootstrap(len(returns), block, draws, seed).interval(columns, ratio)
    return Estimate(found.value, found.low, found.high)


def costs(result: Result) -> Costs:
    """Add up what trades cost; open ones at their last quote."""
    spread = sum(trade.spread_cost for trade in result.trades)
    slippage = sum(trade.slippage_cost for trade in result.trades)
    commission = sum(trade.commission for trade in result.trades)
    financing = sum(trade.financing for trade in result.trades)
    net = sum(trade.net for trade in result.trades)
    return Costs(net + spread + slippage + commission - financing, spread, slippage, commission, financing, net)


def monthly(time_ns: NDArray[np.int64], net: NDArray[np.float64]) -> list[Month]:
    """Compound the returns of steps into months of UTC."""
    months = time_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    logs = np.log1p(np.maximum(net, _LEAST))
    found = {int(month): float(np.expm1(logs[months == month].sum())) for month in np.unique(months)}
    years = sorted({1970 + month // 12 for month in found})
    table: list[Month] = []
    for year in years:
        row = [found.get((year - 1970) * 12 + month) for month in range(12)]
        table.append(Month(year, row, float(np.prod([1.0 + value for value in row if value is not None]) - 1.0)))
    return table


def attribution(trades: Iterable[Trade], intraday: bool) -> dict[str, list[Share]]:
    """Split the profit by instrument, side, year, weekday and hour of the entry, and by how trades ended (UTC)."""
    kept = list(trades)

    def when(trade: Trade) -> datetime:
        return to_datetime(trade.entry_ns).astimezone(_ZONE)

    groups: dict[str, Callable[[Trade], str]] = {
        "instrument": lambda trade: trade.instrument,
        "side": lambda trade: "long" if trade.side > 0 else "short",
        "year": lambda trade: f"{when(trade):%Y}",
        "weekday": lambda trade: f"{when(trade):%u %A}",
        "end": lambda trade: str(trade.reason),
    }
    if intraday:
        groups["hour"] = lambda trade: f"{when(trade):%H}:00"
    return {name: _shares(kept, key) for name, key in groups.items()}


def _shares(trades: list[Trade], key: Callable[[Trade], str]) -> list[Share]:
    groups: dict[str, list[Trade]] = {}
    for trade in trades:
        groups.setdefault(key(trade), []).append(trade)
    shares: list[Share] = []
    for name, own in sorted(groups.items()):
        paid = sum(t.spread_cost + t.slippage_cost + t.commission - t.financing for t in own)
        net = sum(t.net for t in own)
        label = name.split(" ", 1)[1] if name[:1].isdigit() and " " in name else name
        shares.append(Share(label, len(own), sum(t.net > 0 for t in own), net + paid, paid, net))
    return shares
