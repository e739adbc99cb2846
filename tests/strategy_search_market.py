"""A small market for tests of the strategy search: hourly bars with bid and ask, and a study over them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.domain import BarKind, Panel
from training.search.strategy.candidates import Candidates
from training.search.strategy.history import cut_history
from training.search.strategy.parameters import read_search
from training.search.strategy.study import Study, make_study

HOUR = 3_600_000_000_000
PARAMS: dict[str, Any] = {
    "market": "made",
    "seed": 11,
    "data": {"source": "made", "instruments": ["EUR_USD"], "holdout": {"count": 50}},
    "costs": {"slippage_pips": 0.1, "commission_per_million": 0.0},
    "risk": {"initial_balance": 100000},
    "gate": {},
}
SEARCH: dict[str, Any] = {
    "rule": "ema_cross",
    "space": {
        "ema_cross": {
            "parameters": {
                "fast": {"low": 2, "high": 30, "integer": True, "log": True},
                "slow": {"low": 5, "high": 90, "integer": True, "log": True},
                "stop": {"low": 0.0, "high": 6.0, "step": 0.5},
            },
            "constraints": ["fast < slow"],
        }
    },
    "minimum_trades": 5,
    "hall_of_fame": 3,
    "windows": {"folds": 2, "train_share": 0.4, "unseen_share": 0.2},
    "budget": {"generations": 4, "patience": None},
    "evolution": {"islands": 2, "population": 4, "migrate_every": 2, "migrants": 1},
    "plateau": {"neighbours": 8},
}


def made_panel(days: int = 300, seed: int = 1, hours: int = 6, persistence: float = 0.0) -> Panel:
    """Bars of one pair, ``hours`` a business day. ``persistence`` gives returns a slow drift that can be followed."""
    generator = np.random.default_rng(seed)
    first = np.datetime64("2015-01-05T08:00", "ns").astype(np.int64)  # a Monday
    business = [day for day in range(days * 7 // 5 + 7) if day % 7 < 5][:days]
    times = np.array([first + (day * 24 + hour) * HOUR for day in business for hour in range(hours)], np.int64)
    drift = np.zeros(len(times))
    for step in range(1, len(times)):
        drift[step] = 0.98 * drift[step - 1] + persistence * generator.normal()
    close = 1.1 * np.exp(np.cumsum(drift + 0.001 * generator.normal(size=len(times))))
    opened = np.r_[1.1, close[:-1]]
    spread = np.abs(generator.normal(0.0004, 0.0002, len(times)))
    high, low = np.maximum(opened, close) + spread, np.minimum(opened, close) - spread
    middle = np.stack([opened, high, low, close], axis=1)
    values = np.empty((len(times), 1, 9))
    values[:, 0, :4] = np.round(middle - 0.00005, 5)
    values[:, 0, 4:8] = np.round(middle + 0.00005, 5)
    values[:, 0, 8] = 100.0
    return Panel(("EUR_USD",), times, times[:, None], values, BarKind.BAR)


def made_study(
    folder: Path, panel: Panel | None = None, changes: Mapping[str, Any] | None = None, **params: Any
) -> Study:
    """A study over made bars; ``changes`` replace keys of the search, keywords keys of params."""
    content = {**PARAMS, **params, "search": {"strategy": {**SEARCH, **(changes or {})}}}
    given = read_search(content)
    history = cut_history(made_panel() if panel is None else panel, content, given, "USD")
    return make_study(folder, content, given, Candidates.of(given), history)
