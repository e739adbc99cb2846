"""The one compiled step of all rules: the loop calls it for a bar that closed, the backtester for each bar of history.

Rules are numbered, not passed: machine code that takes a function as an argument cannot be kept between processes. Nor
are views made of arrays: counting who holds them would take longer than the rule.
"""

from trading.strategy.rules.channel_breakout import channel_breakout
from trading.strategy.rules.columns import Signal
from trading.strategy.rules.compilation import Bars, Floats, inlined
from trading.strategy.rules.ema_cross import ema_cross
from trading.strategy.rules.mean_reversion import mean_reversion

EMA_CROSS, CHANNEL_BREAKOUT, MEAN_REVERSION = range(3)


@inlined
def rule_step(number: int, state: Floats, start: int, bars: Bars, row: int, column: int, parameters: Floats) -> Signal:
    """Take a bar in.

    Args:
        number: of the rule.
        state: float64; the rule's places from ``start`` are zeros before the first bar; changed.
        start: first of them.
        bars, row, column: float64 [T, N, 9 or more] and where the bar is; no NaN in bid and ask.
        parameters: float64, the rule's own columns.
    """
    if number == EMA_CROSS:
        return ema_cross(state, start, bars, row, column, parameters)
    if number == CHANNEL_BREAKOUT:
        return channel_breakout(state, start, bars, row, column, parameters)
    return mean_reversion(state, start, bars, row, column, parameters)
