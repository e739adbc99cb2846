"""Mean reversion: against a close that is far from its moving average, out again when it has come back.

``z`` is the distance of the middle's close from the mean of the last ``window`` closes in their standard deviations
(Bollinger's bands; divisor ``window``). Short above ``enter``, long below −``enter``, flat once ``|z|`` is at most
``leave``; between them the position stays. With ``offset`` the entry is a limit order so many average true ranges
beyond the standing price, good for one bar.
"""

import math

from trading.strategy.rules.columns import ASK_CLOSE, BID_CLOSE, HOLD, Signal
from trading.strategy.rules.compilation import Floats, inlined
from trading.strategy.rules.true_range import SIZE, average_true_range

WINDOW, ENTER, LEAVE, STOP, TARGET, OFFSET, PERIODS = range(7)  # columns of the parameters
_BARS, _ORIGIN, _SUM, _SQUARES, _RANGE = range(5)  # places in the state
_CLOSES = _RANGE + SIZE


@inlined
def mean_reversion(state: Floats, start: int, bars: Floats, at: int, parameters: Floats) -> Signal:
    """Take a bar in and return the side wanted."""
    window = int(parameters[WINDOW])
    middle = 0.5 * (bars[at + BID_CLOSE] + bars[at + ASK_CLOSE])
    unit = average_true_range(state, start + _RANGE, bars, at, parameters[PERIODS])
    place = start + _CLOSES + int(state[start + _BARS]) % window
    if state[start + _BARS] == 0.0:
        state[start + _ORIGIN] = middle
    if int(state[start + _BARS]) % window == 0 and state[start + _BARS] > 0.0:
        # Once a window the sums are taken anew from a near origin: running sums would gather rounding errors.
        shift = middle - state[start + _ORIGIN]
        state[start + _ORIGIN] = middle
        state[start + _SUM] = state[start + _SQUARES] = 0.0
        for index in range(start + _CLOSES, start + _CLOSES + window):
            state[index] -= shift
            state[start + _SUM] += state[index]
            state[start + _SQUARES] += state[index] * state[index]
    value = middle - state[start + _ORIGIN]
    if state[start + _BARS] >= window:
        state[start + _SUM] -= state[place]
        state[start + _SQUARES] -= state[place] * state[place]
    state[place] = value
    state[start + _SUM] += value
    state[start + _SQUARES] += value * value
    state[start + _BARS] += 1.0
    if state[start + _BARS] < window:
        return HOLD
    mean = state[start + _SUM] / window
    variance = state[start + _SQUARES] / window - mean * mean
    if not variance > 0.0:
        return HOLD
    z = (value - mean) / math.sqrt(variance)
    if abs(z) >= parameters[ENTER]:
        side = -1.0 if z > 0.0 else 1.0
        return Signal(side, parameters[STOP] * unit, parameters[TARGET] * unit, 0.0, parameters[OFFSET] * unit)
    if abs(z) <= parameters[LEAVE]:
        return Signal(0.0, 0.0, 0.0, 0.0, 0.0)
    return HOLD


def state_size(window: float) -> int:
    """Return how many places the state takes."""
    return _CLOSES + int(window)
