"""Made-up panels for feed tests."""

from typing import Any

import numpy as np

from core.clock import from_rfc3339
from core.domain import INPUT_COLUMNS, BarKind, Panel

DAY = 86_400 * 10**9
FIRST = from_rfc3339("2024-03-04T13:15:00Z")  # a Monday
NAMES = ("EUR_JPY", "EUR_USD")


def fixing_panel(rows: int = 40, seed: int = 3, holes: tuple[tuple[int, int], ...] = ()) -> Panel:
    """Fixings on weekdays at 13:15 UTC."""
    random = np.random.default_rng(seed)
    days = np.arange(rows)
    time_ns = FIRST + (days // 5 * 7 + days % 5) * DAY
    walk = np.exp(np.cumsum(random.normal(0, 0.006, size=(rows, 2)), axis=0))
    rates = np.column_stack([np.round(165.0 * walk[:, 0], 3), np.round(1.1 * walk[:, 1], 5)])
    for row, column in holes:
        rates[row, column] = np.nan
    values = np.full((rows, 2, len(INPUT_COLUMNS)), np.nan)
    for name in ("bid_close", "ask_close"):
        values[:, :, INPUT_COLUMNS.index(name)] = rates
    arrival = np.where(np.isfinite(rates), time_ns[:, None], 0)
    return Panel(NAMES, time_ns.astype(np.int64), arrival.astype(np.int64), values, BarKind.FIXING)


def bar_panel(rows: int = 30, seed: int = 5) -> Panel:
    """Hourly bars with real highs and lows."""
    random = np.random.default_rng(seed)
    time_ns = FIRST + np.arange(1, rows + 1) * 3600 * 10**9
    values: Any = np.full((rows, 2, len(INPUT_COLUMNS)), np.nan)
    for column, (start, point) in enumerate(((165_000, 1e3), (110_000, 1e5))):
        close = start
        for row in range(rows):
            path = close + np.cumsum(random.integers(-40, 41, size=20))
            close = int(path[-1])
            bid = [path[0], path.max(), path.min(), path[-1]]
            spread = random.integers(8, 30, size=4)
            ask = [bid[0] + spread[0], bid[1] + spread[1], bid[2] + spread[2], bid[3] + spread[3]]
            ask[1], ask[2] = max(ask), min(ask)
            values[row, column, :4] = np.array(bid) / point
            values[row, column, 4:8] = np.array(ask) / point
            values[row, column, 8] = 20
    arrival = np.broadcast_to(time_ns[:, None], (rows, 2)).astype(np.int64)
    return Panel(NAMES, time_ns.astype(np.int64), arrival, values, BarKind.BAR)
