"""When a loss limit is reached: what is found, and what the desk's rules say should follow."""

import msgspec

from trading.risk.parameters import BreachAction, RiskParameters, RiskState
from trading.state import SessionState


class Breach(msgspec.Struct, frozen=True):
    """A limit that was reached.

    Attributes:
        reason: DRAWDOWN or DAILY_LOSS; the reason of the new risk state.
        words: value and limit.
        action: what follows.
    """

    reason: str
    words: str
    action: BreachAction


_SEVERITY = (BreachAction.REDUCE, BreachAction.HALT, BreachAction.FLATTEN)


def assess(state: SessionState, equity: float, now_ns: int, limits: RiskParameters) -> Breach | None:
    """Return the gravest breach that asks for more than is done already, or None.

    A loss of the whole equity counts as a drawdown. Equity is at the standing quotes, in account currency.
    """
    if state.risk_state is RiskState.HALTED or not state.peak_equity > 0:
        return None
    found: list[Breach] = []
    day_start = state.equity if state.day_changed(now_ns) else state.day_start_equity
    if equity <= state.peak_equity * (1.0 - limits.maximum_drawdown):
        fall = 1.0 - equity / state.peak_equity
        words = f"equity {equity:.2f} is {fall:.2%} below its peak, limit {limits.maximum_drawdown:.2%}"
        found.append(Breach("DRAWDOWN", words, limits.drawdown_action))
    if day_start > 0 and equity <= day_start * (1.0 - limits.maximum_daily_loss):
        words = f"{1.0 - equity / day_start:.2%} lost today, limit {limits.maximum_daily_loss:.2%}"
        found.append(Breach("DAILY_LOSS", words, limits.daily_loss_action))
    if state.risk_state is RiskState.REDUCING:
        found = [breach for breach in found if breach.action is not BreachAction.REDUCE]
    # Of two that ask for the same the drawdown is named: only a person lifts it.
    return max(found, key=lambda breach: _SEVERITY.index(breach.action), default=None)
