"""Changing the labels a client put on its orders and trades."""

from typing import Any

from trading.matching.commands import ModifyOrderExtensions, ModifyTradeExtensions
from trading.matching.log import TransactionLog
from trading.matching.transactions import (
    ClientExtensions,
    OrderClientExtensionsModify,
    OrderClientExtensionsModifyReject,
    TradeClientExtensionsModify,
    TradeClientExtensionsModifyReject,
)


def modify_order(log: TransactionLog, command: ModifyOrderExtensions) -> None:
    """Change the labels of a pending order and of the trade it will open."""
    order = log.find_order(command.order)
    fields: dict[str, Any] = {
        "client_extensions_modify": command.client_extensions,
        "trade_client_extensions_modify": command.trade_client_extensions,
    }
    if order is None or order.state != "PENDING":
        by_client_id = command.order.startswith("@")
        log.write(
            OrderClientExtensionsModifyReject,
            order_id=None if by_client_id else command.order,
            client_order_id=command.order[1:] if by_client_id else None,
            reject_reason="ORDER_DOESNT_EXIST",
            **fields,
        )
        return
    wanted = command.client_extensions.id if command.client_extensions else None
    reason = None
    if command.client_extensions is None and command.trade_client_extensions is None:
        reason = "CLIENT_EXTENSIONS_DATA_MISSING"
    elif wanted is not None and wanted != order.client_id and wanted in log.book.client_order_ids:
        reason = "CLIENT_ORDER_ID_ALREADY_EXISTS"
    fields |= {"order_id": order.id, "client_order_id": order.client_id}
    if reason is not None:
        log.write(OrderClientExtensionsModifyReject, reject_reason=reason, **fields)
        return
    log.write(OrderClientExtensionsModify, **fields)
    order.client_extensions = _merged(order.client_extensions, command.client_extensions)
    order.trade_client_extensions = _merged(order.trade_client_extensions, command.trade_client_extensions)
    log.remember_client_id(order)


def modify_trade(log: TransactionLog, command: ModifyTradeExtensions) -> None:
    """Change the labels of a trade."""
    trade = log.find_trade(command.trade)
    extensions = command.client_extensions
    if trade is None or extensions is None:
        log.write(
            TradeClientExtensionsModifyReject,
            trade_id=None if command.trade.startswith("@") else command.trade,
            client_trade_id=command.trade[1:] if command.trade.startswith("@") else None,
            trade_client_extensions_modify=extensions,
            reject_reason="TRADE_DOESNT_EXIST" if trade is None else "CLIENT_EXTENSIONS_DATA_MISSING",
        )
        return
    log.write(
        TradeClientExtensionsModify,
        trade_id=trade.id,
        client_trade_id=trade.client_id,
        trade_client_extensions_modify=extensions,
    )
    trade.client_extensions = _merged(trade.client_extensions, extensions)


def _merged(old: ClientExtensions | None, new: ClientExtensions | None) -> ClientExtensions | None:
    """Return ``old`` with what ``new`` sets."""
    if old is None or new is None:
        return new or old
    return ClientExtensions(
        id=old.id if new.id is None else new.id,
        tag=old.tag if new.tag is None else new.tag,
        comment=old.comment if new.comment is None else new.comment,
    )
