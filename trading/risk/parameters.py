"""The limits of one account, as ``params.yaml`` gives them, and the states a breach leads to."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

import msgspec

from core.errors import BadInputError
from core.params import section

_MINUTES = ("rollover_minutes_before", "rollover_minutes_after", "close_minutes_before")
_DAY_MINUTES = 24 * 60
_OF_OTHERS = {"initial_balance"}  # of the section: read by practice and paper accounts


class RiskState(StrEnum):
    """How much the trader may do."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"  # only what lowers a position
    HALTED = "HALTED"  # nothing goes out


class BreachAction(StrEnum):
    """What follows when a loss limit is reached."""

    REDUCE = "reduce"  # risk state REDUCING: only what lowers a position
    HALT = "halt"  # the kill switch: nothing goes out, orders are cancelled
    FLATTEN = "flatten"  # the kill switch, and positions are closed


class RiskParameters(msgspec.Struct, frozen=True):
    """Limits of one account. Leverages are multiples of equity. None: not limited.

    Without a section in ``params.yaml`` nothing depends on the time of day: a simulated market may trade at any hour.

    Attributes:
        maximum_instrument_leverage: notional of one instrument, orders that rest at the broker included.
        maximum_margin_use: share of equity that margin may take, resting orders included. The rest is the buffer: the
            broker closes out when equity falls to half the margin.
        daily_loss_action, drawdown_action: what follows when the limit is reached.
        maximum_value_at_risk: one-step loss at ``value_at_risk_confidence``, as a share of equity.
        value_at_risk_decay: weight of yesterday in the covariance of returns (RiskMetrics: 0.94 for daily steps).
        rollover_minutes_before, rollover_minutes_after: around 17:00 New York no new risk; both or none.
        close_minutes_before: no new risk while the market is closed, and so long before it closes for a weekend or a
            holiday; 0: until it closes.
    """

    maximum_order_units: float = 200_000.0
    maximum_gross_leverage: float = 5.0
    maximum_currency_leverage: float = 4.0
    maximum_instrument_leverage: float = 3.0
    maximum_margin_use: float = 0.5
    maximum_daily_loss: float = 0.05  # share of the equity at the start of the trading day
    daily_loss_action: BreachAction = BreachAction.REDUCE
    maximum_drawdown: float = 0.25  # share of the highest equity
    drawdown_action: BreachAction = BreachAction.REDUCE
    maximum_value_at_risk: float | None = None
    value_at_risk_confidence: float = 0.99
    value_at_risk_decay: float = 0.94
    maximum_spread_pips: float = 10.0
    stale_price_seconds: float = 10.0
    maximum_orders_per_minute: int = 120
    rollover_minutes_before: float | None = None
    rollover_minutes_after: float | None = None
    close_minutes_before: float | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "RiskParameters":
        """Build from a whole ``params.yaml``.

        Raises:
            BadInputError: a value is of the wrong type or out of range, or a name is unknown: a limit with a typing
                mistake would be the default in silence.
        """
        limits = section(params, "risk", cls, _OF_OTHERS)
        limits.check()
        return limits

    def check(self) -> None:
        """Refuse limits that are not positive: a limit of zero would be a halt in disguise.

        Raises:
            BadInputError: naming the limit.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None or isinstance(value, str):
                continue
            number = cast("float", value)
            if name in _MINUTES:
                if not 0 <= number < _DAY_MINUTES:
                    raise BadInputError(f"risk parameter {name} must be minutes, 0 to less than a day, not {number}")
            elif not number > 0:
                raise BadInputError(f"risk parameter {name} must be above 0, not {number}")
        if (self.rollover_minutes_before is None) != (self.rollover_minutes_after is None):
            raise BadInputError("risk parameters rollover_minutes_before and _after: give both or none")
        if not 0.5 < self.value_at_risk_confidence < 1:
            raise BadInputError(
                f"risk parameter value_at_risk_confidence must be in (0.5, 1), not {self.value_at_risk_confidence}"
            )
        if not self.value_at_risk_decay < 1:
            raise BadInputError(f"risk parameter value_at_risk_decay must be below 1, not {self.value_at_risk_decay}")
