"""Equity out of sample of candidate, champion and baseline, thinned for a page without losing a fall."""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.evaluation.strategy import Performance, earn, hold, model_targets
from training.evidence.candidate import Candidate
from training.walkforward import OutOfFold

_POINTS = 240  # of a line: what a screen shows
CANDIDATE = "candidate"
CHAMPION = "champion"
BASELINE = "baseline"


class EquityPath(msgspec.Struct, frozen=True, kw_only=True):
    """Equity after cost, start = 1, at the ends of spans of decision times.

    ``drawdown`` is the deepest fall from the highest equity so far within each span, so that no fall falls between two
    points; the deepest of all is the strategy's maximum drawdown.
    """

    name: str
    role: str  # candidate, champion or baseline
    end_ns: tuple[int, ...]
    equity: tuple[float, ...]
    drawdown: tuple[float, ...]


def equity_path(name: str, role: str, time_ns: NDArray[np.int64], performance: Performance) -> EquityPath:
    """Thin a strategy's path over its decision times; int64 [T]."""
    equity = performance.equity
    top = np.maximum(np.maximum.accumulate(equity), 1.0)
    edges = np.unique(np.linspace(0, len(equity), min(len(equity), _POINTS) + 1).astype(np.int64))
    fall = np.maximum.reduceat(1.0 - equity / top, edges[:-1])
    ends = edges[1:] - 1
    return EquityPath(
        name=name,
        role=role,
        end_ns=tuple(map(int, time_ns[ends])),
        equity=tuple(float(value) for value in equity[ends]),
        drawdown=tuple(float(value) for value in fall),
    )


def best_baseline(baselines: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the baseline with the highest Sharpe ratio after cost: the one the gate compares with."""
    sharpe = {name: entry["strategy"]["sharpe"]["value"] for name, entry in baselines.items()}
    return max(sharpe, key=lambda name: (sharpe[name], name))


def champion_path(candidate: Candidate, version: str, champion: OutOfFold) -> EquityPath | None:
    """Return what the champion's own unseen predictions earn with the candidate's sizing, on the rows both have.

    None where they share no row.
    """
    dataset = candidate.dataset
    rows, ours, theirs = np.intersect1d(candidate.rows, champion.rows, return_indices=True)
    if not len(rows):
        return None
    cost = dataset.economics["cost_return"][rows]
    targets = model_targets(champion.calibrated[theirs], candidate.volatility[ours], cost, candidate.sizing)
    positions = hold(dataset, rows, targets, candidate.sizing)
    return equity_path(f"version {version}", CHAMPION, positions.time_ns, earn(positions))
