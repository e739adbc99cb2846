"""What the bars say about the quotes inside them, as the triple barrier needs it."""

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS, Panel
from training.costs import Quotes

Array = NDArray[np.float64]
_BID = [INPUT_COLUMNS.index(f"bid_{name}") for name in ("open", "high", "low")]
_ASK = [INPUT_COLUMNS.index(f"ask_{name}") for name in ("open", "high", "low")]


def quoted_path(panel: Panel, quotes: Quotes, instrument: int, bars: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return opens, highs and lows of bid and ask of an instrument's own bars, both float64 [n, 3] in price units.

    Where the spread is modelled it lies around the middle of every price. A bar of one price (a fixing) opens, peaks
    and bottoms at it: nothing about its path is known, so nothing is made up. Highs and lows never lie inside of open
    and close, whatever a source's rounding says.
    """
    middle, half = quotes.middle[bars, instrument], quotes.half_spread[bars, instrument]
    values = panel.values[bars, instrument]
    bid, ask = values[:, _BID], values[:, _ASK]
    if quotes.modelled[instrument]:
        inside = (bid + ask) / 2.0
        bid, ask = inside - half[:, None], inside + half[:, None]
    return _with_close(bid, middle - half), _with_close(ask, middle + half)


def _with_close(prices: Array, close: Array) -> Array:
    opening = np.where(np.isnan(prices[:, 0]), close, prices[:, 0])
    high = np.fmax(np.fmax(prices[:, 1], opening), close)
    low = np.fmin(np.fmin(prices[:, 2], opening), close)
    return np.column_stack([opening, high, low])
