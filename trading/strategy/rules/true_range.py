"""Average true range, the unit of the rules' stops and targets."""

import math

from trading.strategy.rules.columns import BID_CLOSE, BID_HIGH, BID_LOW
from trading.strategy.rules.compilation import Floats, inlined

SIZE = 3  # places in the state: bars seen, close before, average


@inlined
def average_true_range(state: Floats, start: int, bars: Floats, at: int, periods: float) -> float:
    """Take a bar in and return the average true range of the bid.

    Wilder, *New Concepts in Technical Trading Systems*, 1978, p. 21–23: the true range is the widest of high − low and
    the distances of both from the close before; the average moves by 1/periods of the difference. Until ``periods``
    bars are seen it is their plain mean, as Wilder begins it. Of fixings it is the mean absolute change.

    Args:
        state: of the rule; ``SIZE`` places from ``start`` are this function's, 0 before the first bar.
        start: the first of them.
        bars, at: where the bar is.
        periods: bars, at least 1.
    """
    high, low, close = bars[at + BID_HIGH], bars[at + BID_LOW], bars[at + BID_CLOSE]
    if math.isnan(high):  # a fixing is one price
        high = low = close
    if state[start] > 0.0:
        high = max(high, state[start + 1])
        low = min(low, state[start + 1])
    state[start] += 1.0
    state[start + 1] = close
    state[start + 2] += (high - low - state[start + 2]) / min(state[start], periods)
    return state[start + 2]
