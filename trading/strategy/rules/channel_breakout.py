"""Channel breakout: long when the close leaves the channel of the bars before it upwards, short downwards.

Donchian's rule, as Brock, Lakonishok and LeBaron test it ("Simple technical trading rules and the stochastic properties
of stock returns", Journal of Finance 47, 1992, "trading range break"), on middle prices. With ``leave`` a shorter
channel against the position closes it (the Turtles' exit). Stop, target and trailing stop are multiples of the average
true range at the entry. Of fixings the channel is that of the prices.
"""

import math

from trading.strategy.rules.columns import (
    ASK_CLOSE,
    ASK_HIGH,
    ASK_LOW,
    BID_CLOSE,
    BID_HIGH,
    BID_LOW,
    HOLD,
    Signal,
)
from trading.strategy.rules.compilation import Floats, inlined
from trading.strategy.rules.sliding import HEADER, sliding_extreme
from trading.strategy.rules.true_range import SIZE, average_true_range

ENTER, LEAVE, STOP, TARGET, TRAILING, PERIODS = range(6)  # columns of the parameters
_BARS, _UPPER, _LOWER, _EXIT_UPPER, _EXIT_LOWER, _SIDE, _RANGE = range(7)  # places in the state
_QUEUES = _RANGE + SIZE


@inlined
def channel_breakout(state: Floats, start: int, bars: Floats, at: int, parameters: Floats) -> Signal:
    """Take a bar in and return the side wanted."""
    enter, leave = int(parameters[ENTER]), int(parameters[LEAVE])
    close = 0.5 * (bars[at + BID_CLOSE] + bars[at + ASK_CLOSE])
    high = 0.5 * (bars[at + BID_HIGH] + bars[at + ASK_HIGH])
    low = 0.5 * (bars[at + BID_LOW] + bars[at + ASK_LOW])
    if math.isnan(high):  # a fixing is one price
        high = low = close
    unit = average_true_range(state, start + _RANGE, bars, at, parameters[PERIODS])
    signal = HOLD
    if state[start + _BARS] >= enter:  # the channel is that of the bars before this one
        side = 0.0
        if close > state[start + _UPPER]:
            side = 1.0
        elif close < state[start + _LOWER]:
            side = -1.0
        if side != 0.0 and side != state[start + _SIDE]:
            state[start + _SIDE] = side
            signal = Signal(side, parameters[STOP] * unit, parameters[TARGET] * unit, parameters[TRAILING] * unit, 0.0)
        elif leave > 0 and (
            (state[start + _SIDE] > 0.0 and close < state[start + _EXIT_LOWER])
            or (state[start + _SIDE] < 0.0 and close > state[start + _EXIT_UPPER])
        ):
            state[start + _SIDE] = 0.0
            signal = Signal(0.0, 0.0, 0.0, 0.0, 0.0)
    state[start + _BARS] += 1.0
    size = HEADER + 2 * enter
    state[start + _UPPER] = sliding_extreme(state, start + _QUEUES, enter, high, 1.0)
    state[start + _LOWER] = sliding_extreme(state, start + _QUEUES + size, enter, low, -1.0)
    if leave > 0:
        first = start + _QUEUES + 2 * size
        state[start + _EXIT_UPPER] = sliding_extreme(state, first, leave, high, 1.0)
        state[start + _EXIT_LOWER] = sliding_extreme(state, first + HEADER + 2 * leave, leave, low, -1.0)
    return signal


def state_size(enter: float, leave: float) -> int:
    """Return how many places the state takes."""
    return _QUEUES + 2 * (HEADER + 2 * int(enter)) + 2 * (HEADER + 2 * int(leave))
