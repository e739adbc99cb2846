"""What a window of returns is measured by, the same for fitness, choice and report.

All figures are of one backtest of one window: it begins flat with the initial balance, after bars that only warmed the
rule up. ``daily`` are net returns of whole days as a fraction of the equity at their start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Figures = NDArray[np.float64]

PENALTY = 1e6  # an objective of a candidate outside the limits: worse than any that is inside


class WindowSeries(Protocol):
    """What measures look at: P candidates over the days of one window."""

    @property
    def daily(self) -> Figures:
        """Net returns, float64 [P, D], above -1."""
        ...

    @property
    def turnover(self) -> Figures:
        """Traded notional as a multiple of the initial balance over the window, float64 [P]."""
        ...

    @property
    def trades(self) -> Figures:
        """Trades in the window, float64 [P]."""
        ...

    @property
    def years(self) -> float:
        """Length of the window."""
        ...


@dataclass(frozen=True)
class Measure:
    """A figure, and whether more of it is better (+1) or worse (-1)."""

    direction: int
    words: str
    compute: Callable[[WindowSeries], Figures]


def _return(window: WindowSeries) -> Figures:
    return window.daily.sum(axis=1) / window.years


def _volatility(window: WindowSeries) -> Figures:
    return window.daily.std(axis=1) * np.sqrt(window.daily.shape[1] / window.years)


def _sharpe(window: WindowSeries) -> Figures:
    """Return the yearly Sharpe ratio; 0 where nothing moved."""
    volatility = _volatility(window)
    return np.where(volatility > 1e-12, _return(window) / np.maximum(volatility, 1e-12), 0.0)


def _drawdown(window: WindowSeries) -> Figures:
    return drawdown(window.daily)


def drawdown(daily: Figures) -> Figures:
    """Return the deepest fall of the equity below its running maximum as a fraction of that; [..., D] to [...]."""
    equity = np.cumprod(1.0 + daily, axis=-1)
    return (1.0 - equity / np.maximum(np.maximum.accumulate(equity, axis=-1), 1.0)).max(axis=-1)


def _turnover(window: WindowSeries) -> Figures:
    return window.turnover / window.years


def _trades(window: WindowSeries) -> Figures:
    return window.trades / window.years


MEASURES: dict[str, Measure] = {
    "return": Measure(1, "mean net return a year, not compounded", _return),
    "sharpe": Measure(1, "net Sharpe ratio a year, from daily returns", _sharpe),
    "drawdown": Measure(-1, "deepest drawdown, share of the highest equity before it", _drawdown),
    "volatility": Measure(-1, "volatility of the net return a year", _volatility),
    "turnover": Measure(-1, "traded notional a year, in multiples of the initial balance", _turnover),
    "trades": Measure(-1, "trades a year", _trades),
}
NAMES: tuple[str, ...] = tuple(MEASURES)


def measure(window: WindowSeries) -> Figures:
    """Return every measure of every candidate, float64 [P, M] in the order of ``NAMES``."""
    return np.column_stack([MEASURES[name].compute(window) for name in NAMES])


def column(name: str) -> int:
    """Return where a measure stands in the figures."""
    return NAMES.index(name)
