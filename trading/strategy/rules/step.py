"""The one compiled step of all rules: the loop calls it for a bar that closed, the backtester for each bar of history.

Rules are numbered, not passed: machine code that takes a function as an argument cannot be kept between processes. Nor
are views of arrays: counting who holds one takes longer than a rule. A rule gets a flat array and a place in it; inside
the backtester that is a bare pointer.
"""

from trading.strategy.rules.channel_breakout import channel_breakout
from trading.strategy.rules.columns import Signal
from trading.strategy.rules.compilation import Floats, inlined
from trading.strategy.rules.ema_cross import ema_cross
from trading.strategy.rules.mean_reversion import mean_reversion

EMA_CROSS, CHANNEL_BREAKOUT, MEAN_REVERSION = range(3)


@inlined
def rule_step(number: int, state: Floats, start: int, bars: Floats, at: int, parameters: Floats) -> Signal:
    """Take a bar in.

    Args:
        number: of the rule.
        state: float64; the rule's places from ``start`` are zeros before the first bar; changed.
        start: first of them.
        bars, at: float64, and where the bar's first column is; no NaN in its closes.
        parameters: float64, the rule's own columns.
    """
    if number == EMA_CROSS:
        return ema_cross(state, start, bars, at, parameters)
    if number == CHANNEL_BREAKOUT:
        return channel_breakout(state, start, bars, at, parameters)
    return mean_reversion(state, start, bars, at, parameters)
