"""The one compiled step of all rules: the loop calls it for a bar that closed, the backtester for each bar of history.

Rules are numbered, not passed: machine code that takes a function as an argument cannot be kept between processes.
"""

from trading.strategy.rules.channel_breakout import channel_breakout
from trading.strategy.rules.columns import Signal
from trading.strategy.rules.compilation import Floats, compiled
from trading.strategy.rules.ema_cross import ema_cross
from trading.strategy.rules.mean_reversion import mean_reversion

EMA_CROSS, CHANNEL_BREAKOUT, MEAN_REVERSION = range(3)


@compiled
def rule_step(number: int, state: Floats, row: Floats, parameters: Floats) -> Signal:
    """Take a bar in.

    Args:
        number: of the rule.
        state: float64 of at least the rule's state size, zeros before the first bar; changed.
        row: float64, at least the columns of ``core.domain.INPUT_COLUMNS``; no NaN in bid and ask.
        parameters: float64, the rule's own columns.
    """
    if number == EMA_CROSS:
        return ema_cross(state, row, parameters)
    if number == CHANNEL_BREAKOUT:
        return channel_breakout(state, row, parameters)
    return mean_reversion(state, row, parameters)
