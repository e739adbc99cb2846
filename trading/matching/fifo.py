"""The first-in-first-out rule of accounts in the United States (NFA Compliance Rule 2-43(b)), as OANDA enforces it.

Of trades of one size in one instrument the oldest is closed first (FIFO_VIOLATION otherwise), and no two of one size
may stand while one of them has a take-profit, stop-loss or trailing stop, whose execution could close the younger first
(FIFO_VIOLATION_SAFEGUARD_VIOLATION; with ``PARTIAL_CLOSE`` where reducing a trade would make the sizes equal).
"""

from decimal import Decimal

from trading.matching.book import Order, Trade
from trading.matching.log import TransactionLog
from trading.matching.refusal import RefusalError


def _protected(log: TransactionLog, trade: Trade) -> bool:
    return any(log.book.orders[number].state == "PENDING" for number in trade.order_ids.values())


def _same_size(log: TransactionLog, name: str, units: Decimal, but: Trade | None = None) -> list[Trade]:
    trades = log.open_trades.get(name, {}).values()
    return [trade for trade in trades if trade is not but and trade.units == units]


def check(
    log: TransactionLog,
    order: Order,
    name: str,
    closing: list[tuple[Trade, Decimal]],
    opening: Decimal,
    only_trade: Trade | None,
) -> None:
    """Refuse an execution that breaks the rule.

    Raises:
        RefusalError: it does.
    """
    if only_trade is not None:
        older = [
            item for item in _same_size(log, name, only_trade.units, only_trade) if int(item.id) < int(only_trade.id)
        ]
        if older:
            raise RefusalError("FIFO_VIOLATION")
    for trade, part in closing:
        left = trade.units - part
        if left:
            twins = _same_size(log, name, left, trade)
            if twins and any(_protected(log, item) for item in (trade, *twins)):
                raise RefusalError("FIFO_VIOLATION_SAFEGUARD_PARTIAL_CLOSE_VIOLATION")
    if opening:
        brings = order.take_profit_on_fill or order.stop_loss_on_fill or order.trailing_stop_loss_on_fill
        twins = _same_size(log, name, opening)
        if twins and (brings is not None or any(_protected(log, item) for item in twins)):
            raise RefusalError("FIFO_VIOLATION_SAFEGUARD_VIOLATION")


def protection_reason(log: TransactionLog, trade: Trade, kind: str) -> str | None:
    """Return why a trade may not get an order of its own, None when it may."""
    if log.book.configuration.fifo and _same_size(log, trade.instrument, trade.units, trade):
        return f"{kind}_ORDER_WOULD_VIOLATE_FIFO_VIOLATION_SAFEGUARD"
    return None
