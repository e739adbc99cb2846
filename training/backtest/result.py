"""What a backtest gives: one run in full, or many runs as a table of measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.digest import digest_bytes
from core.errors import BadInputError
from training.backtest.kernel import arrays as columns

Array = NDArray[np.float64]

# Columns of ``Batch.metrics``. Money is in account currency, shares are fractions, ratios per step (not a year).
METRICS = (
    "final_equity",
    "net_return",  # final equity over balance, less 1
    "mean_return",  # of a step
    "volatility",  # of a step's return
    "sharpe",  # mean over volatility of a step; 0 without a move
    "maximum_drawdown",  # of the equity at the closes
    "trades",  # closed ones
    "win_share",
    "profit_factor",  # gains over losses of closed trades after commission and financing; 0 without a loss
    "turnover",  # notional traded over the balance
    "exposure",  # mean gross exposure over equity of the steps with a position
    "time_in_market",  # share of the steps with a position
    "spread_cost",
    "slippage_cost",
    "commission_cost",
    "financing",  # earned; negative where it cost
    "refused_orders",  # margin, liquidity, a stop that was reached already
    "ruined",  # 1 where no equity was left
)
METRIC = {name: place for place, name in enumerate(METRICS)}


class ExitReason(StrEnum):
    """Why a trade ended."""

    SIGNAL = "signal"
    STOP = "stop"
    TARGET = "target"
    TRAILING = "trailing"
    MARGIN = "margin"  # the account was closed out
    OPEN = "open"  # it had not, when the data ended: its profit is that of closing at the last quote


REASONS = (
    ExitReason.SIGNAL,
    ExitReason.STOP,
    ExitReason.TARGET,
    ExitReason.TRAILING,
    ExitReason.MARGIN,
    ExitReason.OPEN,
)


class Trade(msgspec.Struct, frozen=True):
    """One trade from its entry to its (partial) close.

    Attributes:
        entry_ns, exit_ns: when; of what happened inside a bar the bar's close: by then it had.
        entry_inside, exit_inside: whether it happened inside a bar.
        units: signed: negative where it was short.
        entry_price, exit_price: traded, slippage included.
        profit: of the price alone, in account currency, rounded as the broker books it.
        spread_cost, slippage_cost: contained in the prices, both sides, converted at the middle.
        commission: of both sides. financing: earned while held; negative where it cost.
    """

    instrument: str
    entry_ns: int
    exit_ns: int
    entry_row: int
    exit_row: int
    entry_inside: bool
    exit_inside: bool
    units: Decimal
    entry_price: Decimal
    exit_price: Decimal
    profit: Decimal
    spread_cost: float
    slippage_cost: float
    commission: float
    financing: float
    reason: ExitReason

    @property
    def side(self) -> int:
        """1 long, −1 short."""
        return 1 if self.units > 0 else -1

    @property
    def net(self) -> float:
        """Profit after commission and financing."""
        return float(self.profit) - self.commission + self.financing


@dataclass(frozen=True)
class Result:
    """One run in full. Arrays have one entry per row of the market (T), N instruments.

    Attributes:
        trades: closed ones in the order they were closed, then those still open.
        time_ns: int64 [T].
        equity: float64 [T], account currency, open positions at the closing side of the quote.
        net: float64 [T], return of each step as a fraction of the equity before.
        exposure: float64 [T], gross, in account currency.
        held: float64 [T, N], signed units after the row.
        paths: int8 [T, N], which extreme of a bar was taken first: 1 high, 2 low, 0 nothing depended on it.
        balance: at the end, as the broker books it.
        metrics: by name, see ``METRICS``.
    """

    rule: str
    parameters: Mapping[str, float]
    instruments: tuple[str, ...]
    currency: str
    trades: tuple[Trade, ...]
    time_ns: NDArray[np.int64]
    equity: Array
    net: Array
    exposure: Array
    held: Array
    paths: NDArray[np.int8]
    balance: Decimal
    metrics: Mapping[str, float]

    @property
    def drawdown(self) -> Array:
        """Fall from the highest equity so far, a fraction, float64 [T]."""
        return 1.0 - self.equity / np.maximum.accumulate(self.equity)

    def digest(self) -> str:
        """Return the SHA-256 of trades and equity: equal where two runs are."""
        return digest_bytes(msgspec.json.encode(self.trades) + self.equity.tobytes() + str(self.balance).encode())


@dataclass(frozen=True)
class Batch:
    """Many runs.

    Attributes:
        metrics: float64 [P, M], columns ``METRICS``.
        net: float64 [P, T] where it was asked for: return of each step as a fraction of the equity before.
    """

    metrics: Array
    net: Array | None

    def column(self, name: str) -> Array:
        """Return one measure, float64 [P].

        Raises:
            BadInputError: there is no such measure.
        """
        if name not in METRIC:
            raise BadInputError(f"no measure {name!r}: there are {', '.join(METRICS)}")
        return self.metrics[:, METRIC[name]]


def measures(totals: Array, balance: float) -> Array:
    """Return the columns ``METRICS`` from the kernel's sums, float64 [P, M]."""
    steps = np.maximum(totals[:, columns.STEPS], 1.0)
    trades = totals[:, columns.TRADES]
    mean = totals[:, columns.SUM_RETURNS] / steps
    variance = np.maximum(totals[:, columns.SUM_SQUARES] / steps - mean**2, 0.0)
    deviation = np.sqrt(variance)
    losses = totals[:, columns.GROSS_LOSS]
    exposed = totals[:, columns.EXPOSED]
    return np.column_stack(
        [
            totals[:, columns.EQUITY],
            totals[:, columns.EQUITY] / balance - 1.0,
            mean,
            deviation,
            np.where(deviation > 1e-15, mean / np.maximum(deviation, 1e-15), 0.0),
            totals[:, columns.DRAWDOWN],
            trades,
            totals[:, columns.WINS] / np.maximum(trades, 1.0),
            np.where(losses > 0, totals[:, columns.GROSS_PROFIT] / np.where(losses > 0, losses, 1.0), 0.0),
            totals[:, columns.TRADED] / balance,
            totals[:, columns.EXPOSURE] / np.maximum(exposed, 1.0),
            exposed / steps,
            totals[:, columns.SPREAD],
            totals[:, columns.SLIPPAGE],
            totals[:, columns.COMMISSION],
            totals[:, columns.FINANCED],
            totals[:, columns.REFUSED],
            totals[:, columns.RUINED],
        ]
    )
