"""Benchmark of the label kernels: ``run`` is the part ``labels`` of ``tidegate bench features``."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from features.bench import made_panel
from training.costs import quote_panel
from training.label_parameters import LabelParameters
from training.labels.fixed_horizon import fixed_horizon
from training.labels.make import MOMENTUM_STEPS, VOLATILITY_DECAY, VOLATILITY_STEPS, make_labels
from training.labels.quoted_path import quoted_path
from training.labels.triple_barrier import triple_barrier

BUDGET = 20e6  # rows a second of each kernel, one core
_INSTRUMENT = "EUR_USD"
_COSTS = {"slippage_pips": 0.1, "commission_per_million": 15.0}


def run(steps: int = 1_000_000, horizon: int = 12, repeats: int = 5) -> dict[str, Any]:
    """Return rows a second of the kernels alone and of ``make_labels`` with its tables, best of repeats, one core.

    Args:
        steps: bars of a made-up random walk with 0.1 % volatility a bar.
        horizon: bars a label looks ahead; barriers lie one volatility of the horizon away.
        repeats: of each measurement.
    """
    panel = made_panel(steps, (_INSTRUMENT,))
    quotes = quote_panel(panel, _COSTS)
    middle, half = (np.ascontiguousarray(column[:, 0]) for column in (quotes.middle, quotes.half_spread))
    bid, ask = quoted_path(panel, quotes, 0, np.arange(steps))
    slippage, commission = float(quotes.slippage[0]), quotes.commission
    economics = VOLATILITY_DECAY, VOLATILITY_STEPS, MOMENTUM_STEPS

    def fixed() -> Any:
        return fixed_horizon(middle, half, slippage, commission, horizon, 1.0, *economics)

    distance = fixed()[3][:, 5] * np.sqrt(horizon) * middle[: steps - horizon]

    def barriers() -> Any:
        return triple_barrier(middle, half, bid, ask, distance, 1.0, 1.0, slippage, commission, horizon, 1.0)

    rows = steps - horizon
    exits = (barriers()[1] - np.arange(rows)[:, None])[VOLATILITY_STEPS:]
    whole = {
        kind: rows / _best(lambda kind=kind: _whole(panel, kind, horizon), max(repeats // 2, 1))
        for kind in ("fixed_horizon", "triple_barrier")
    }
    return {
        "rows": rows,
        "horizon": horizon,
        "budget_rows_per_second": BUDGET,
        "fixed_horizon_rows_per_second": rows / _best(fixed, repeats),
        "triple_barrier_rows_per_second": rows / _best(barriers, repeats),
        "triple_barrier_mean_bars_to_exit": float(exits.mean()),
        "whole_fixed_horizon_rows_per_second": whole["fixed_horizon"],
        "whole_triple_barrier_rows_per_second": whole["triple_barrier"],
    }


def _whole(panel: Any, kind: Any, horizon: int) -> Any:
    return make_labels(panel, _COSTS, LabelParameters(horizon, kind=kind), int(panel.time_ns[-1]) + 1)


def _best(measured: Callable[[], Any], repeats: int) -> float:
    """Return the least processor time of a call, in seconds: other processes' share of the core is not its."""
    measured()  # compile or load the machine code
    taken: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        measured()
        taken.append(time.process_time() - start)
    return min(taken)
