"""Two moving averages of the bid: long while the fast one is at or above the slow one, else short.

The same arithmetic as ``trading.strategy.ema_cross``: ``alpha * close + (1 - alpha) * previous`` with
``alpha = 2 / (periods + 1)``, begun at the first close; no side before ``slow`` bars, and none at a bar of one price.
Without a stop, target or trailing stop the side is wanted at every bar; with one, only at the bar where it changes: a
trade that was stopped out is not entered again before the next cross.
"""

from trading.strategy.rules.columns import BID_CLOSE, BID_HIGH, BID_LOW, BID_OPEN, HOLD, Signal
from trading.strategy.rules.compilation import Floats, inlined
from trading.strategy.rules.true_range import SIZE, average_true_range

FAST, SLOW, STOP, TARGET, TRAILING, PERIODS = range(6)  # columns of the parameters
_BARS, _FAST, _SLOW, _SIDE, _RANGE = range(5)  # places in the state; the average true range takes the rest
STATE_SIZE = _RANGE + SIZE


@inlined
def ema_cross(state: Floats, start: int, bars: Floats, at: int, parameters: Floats) -> Signal:
    """Take a bar in and return the side wanted."""
    close = bars[at + BID_CLOSE]
    if state[start + _BARS] == 0.0:
        state[start + _FAST] = state[start + _SLOW] = close
    fast = 2.0 / (parameters[FAST] + 1.0)
    slow = 2.0 / (parameters[SLOW] + 1.0)
    state[start + _FAST] = fast * close + (1.0 - fast) * state[start + _FAST]
    state[start + _SLOW] = slow * close + (1.0 - slow) * state[start + _SLOW]
    state[start + _BARS] += 1.0
    guarded = parameters[STOP] > 0.0 or parameters[TARGET] > 0.0 or parameters[TRAILING] > 0.0
    unit = average_true_range(state, start + _RANGE, bars, at, parameters[PERIODS]) if guarded else 0.0
    if (
        state[start + _BARS] < parameters[SLOW]
        or bars[at + BID_OPEN] == bars[at + BID_HIGH] == bars[at + BID_LOW] == close
    ):
        return HOLD
    side = 1.0 if state[start + _FAST] >= state[start + _SLOW] else -1.0
    changed = side != state[start + _SIDE]
    state[start + _SIDE] = side
    if guarded and not changed:
        return HOLD
    return Signal(side, parameters[STOP] * unit, parameters[TARGET] * unit, parameters[TRAILING] * unit, 0.0)
