"""The limits of one account, as ``params.yaml`` gives them, and the states a breach leads to."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

import msgspec

from core.errors import BadInputError


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
    """Limits of one account; the defaults are those of ``params.yaml``. Leverages are multiples of equity.

    Attributes:
        maximum_margin_use: share of equity that margin may take, open orders included; the rest is the buffer before
            the broker's close-out at half the margin.
        value_at_risk_confidence: of the one-step loss that ``maximum_value_at_risk`` limits.
        maximum_value_at_risk: share of equity; None: reported, not limited.
        rollover_minutes_before, rollover_minutes_after: around 17:00 New York no new risk; 0 and 0: no window.
        weekend_minutes_before: before the weekly close (and that before a holiday) no new risk; 0: until the close.
    """

    maximum_order_units: float = 200_000.0
    maximum_gross_leverage: float = 5.0
    maximum_currency_leverage: float = 4.0
    maximum_daily_loss: float = 0.05  # share of the equity at the start of the trading day
    maximum_drawdown: float = 0.25  # share of the highest equity
    maximum_spread_pips: float = 10.0
    stale_price_seconds: float = 10.0
    maximum_orders_per_minute: int = 120
    maximum_instrument_leverage: float = 3.0
    maximum_margin_use: float = 0.9
    daily_loss_action: BreachAction = BreachAction.REDUCE
    drawdown_action: BreachAction = BreachAction.REDUCE
    value_at_risk_confidence: float = 0.99
    maximum_value_at_risk: float | None = None
    rollover_minutes_before: float = 0.0
    rollover_minutes_after: float = 0.0
    weekend_minutes_before: float = 0.0

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "RiskParameters":
        """Build from a whole ``params.yaml``.

        Raises:
            BadInputError: a value is of the wrong type or out of range.
        """
        section = params.get("risk", {})
        try:
            limits = msgspec.convert({k: v for k, v in section.items() if k in cls.__struct_fields__}, cls)
        except msgspec.ValidationError as error:
            raise BadInputError(f"risk parameters: {error}") from None
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
            if name.endswith(("_before", "_after")):
                if not 0 <= number < 24 * 60:
                    raise BadInputError(f"risk parameter {name} must be minutes of less than a day, not {number}")
            elif not number > 0:
                raise BadInputError(f"risk parameter {name} must be above 0, not {number}")
        for name in ("value_at_risk_confidence",):
            if not 0.5 < getattr(self, name) < 1.0:
                raise BadInputError(f"risk parameter {name} must be between 0.5 and 1, not {getattr(self, name)}")
