"""Writing down what was refused, with the values as the client gave them."""

from trading.matching.book import Order
from trading.matching.commands import MarketOrderOrigin, OrderSpecification
from trading.matching.log import TransactionLog
from trading.matching.transactions import ORDER_REJECTED, OrderCancelReject
from trading.matching.validation import ENTRY_TYPES, TRADE_TYPES, default_time_in_force

CLIENT = MarketOrderOrigin()


def client_id_refusal(log: TransactionLog, spec: OrderSpecification, old: Order | None) -> str | None:
    """Return why the client's ids cannot be taken, None when they can. ``old``: the order whose id may be kept."""
    wanted = [spec.client_extensions.id] if spec.client_extensions and spec.client_extensions.id else []
    attached: list[str] = []
    for details in (spec.take_profit_on_fill, spec.stop_loss_on_fill, spec.trailing_stop_loss_on_fill):
        if details and details.client_extensions and details.client_extensions.id:
            attached.append(details.client_extensions.id)
    if len(set(wanted + attached)) < len(wanted + attached):
        return "ORDERS_ON_FILL_DUPLICATE_CLIENT_ORDER_IDS"
    allowed = old.client_id if old else None
    taken = log.book.client_order_ids
    return "CLIENT_ORDER_ID_ALREADY_EXISTS" if any(i in taken and i != allowed for i in wanted) else None


def reject(
    log: TransactionLog,
    spec: OrderSpecification,
    reason: str,
    old: Order | None = None,
    origin: MarketOrderOrigin = CLIENT,
) -> None:
    """Write the reject, with the values as the client gave them."""
    on_trade = spec.type in TRADE_TYPES
    log.write(
        ORDER_REJECTED[spec.type],
        instrument=spec.instrument,
        units=spec.units,
        price=spec.price,
        price_bound=spec.price_bound,
        distance=spec.distance,
        time_in_force=spec.time_in_force or default_time_in_force(spec.type),
        gtd_time=spec.gtd_time,
        position_fill=None if on_trade else spec.position_fill,
        trigger_condition=None if spec.type == "MARKET" else spec.trigger_condition,
        partial_fill="DEFAULT" if spec.type in ENTRY_TYPES else None,
        trade_id=None if spec.trade_id is None else str(spec.trade_id),
        client_trade_id=spec.client_trade_id,
        client_extensions=spec.client_extensions,
        trade_client_extensions=spec.trade_client_extensions,
        take_profit_on_fill=spec.take_profit_on_fill,
        stop_loss_on_fill=spec.stop_loss_on_fill,
        trailing_stop_loss_on_fill=spec.trailing_stop_loss_on_fill,
        trade_close=origin.trade_close,
        long_position_closeout=origin.long_position_closeout,
        short_position_closeout=origin.short_position_closeout,
        reason="REPLACEMENT" if old else origin.reason,
        intended_replaces_order_id=old.id if old else None,
        reject_reason=reason,
    )


def reject_cancel(log: TransactionLog, specifier: str) -> None:
    """Write that a request to cancel or replace names no pending order."""
    by_client_id = specifier.startswith("@")
    log.write(
        OrderCancelReject,
        order_id=None if by_client_id else specifier,
        client_order_id=specifier[1:] if by_client_id else None,
        reject_reason="ORDER_DOESNT_EXIST",
    )
