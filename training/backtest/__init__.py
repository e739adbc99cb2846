"""Compiled backtests, trade for trade what the trading loop does on the same data."""

from training.backtest.market import Market
from training.backtest.result import METRIC, METRICS, Batch, ExitReason, Result, Trade
from training.backtest.run import run_batch, run_one
from training.backtest.settings import Account, Costs, Execution, Sizing

__all__ = [
    "METRIC",
    "METRICS",
    "Account",
    "Batch",
    "Costs",
    "Execution",
    "ExitReason",
    "Market",
    "Result",
    "Sizing",
    "Trade",
    "run_batch",
    "run_one",
]
