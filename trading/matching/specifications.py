"""Forms of order specifications: what one says in other words."""

from decimal import Decimal

import msgspec

from trading.matching.commands import OrderSpecification
from trading.matching.transactions import OnFillDetails


def trade_specifier(spec: OrderSpecification) -> str:
    """Return the id, or ``@client id``, of the trade an order names."""
    return str(spec.trade_id) if spec.trade_id is not None else f"@{spec.client_trade_id or ''}"


def trade_order(kind: str, trade: str, details: OnFillDetails) -> OrderSpecification:
    """Return the order specification that details of a trade's order amount to."""
    return OrderSpecification(
        type=kind,
        trade_id=None if trade.startswith("@") else trade,
        client_trade_id=trade[1:] if trade.startswith("@") else None,
        price=details.price,
        distance=details.distance,
        time_in_force=details.time_in_force,
        gtd_time=details.gtd_time,
        trigger_condition=details.trigger_condition or "DEFAULT",
        client_extensions=details.client_extensions,
        guaranteed=details.guaranteed,
    )


def quantised(details: OnFillDetails | None, tick: Decimal) -> OnFillDetails | None:
    """Write attached prices with the instrument's decimals, and the time in force it will have."""
    if details is None:
        return None
    return msgspec.structs.replace(
        details,
        price=None if details.price is None else details.price.quantize(tick),
        distance=None if details.distance is None else details.distance.quantize(tick),
        time_in_force=details.time_in_force or "GTC",
    )
