"""The take-profit, stop-loss and trailing stop of a trade: made by a fill or by request, gone with the trade."""

from decimal import Decimal
from typing import Any

import msgspec

from trading.matching.book import Order, Trade
from trading.matching.log import TransactionLog
from trading.matching.refusal import RefusalError
from trading.matching.transactions import ORDER_CREATED, OnFillDetails
from trading.matching.triggers import trail


class Attached:
    """Makes and ends the orders of trades."""

    def __init__(self, log: TransactionLog) -> None:
        self.log = log

    def check(self, order: Order, opening: Decimal, price: Decimal, bid: Decimal, ask: Decimal) -> None:
        """Refuse a fill whose stop or target would be executed at once, at a loss, or whose ids are taken.

        Raises:
            RefusalError: it would.
        """
        long = opening > 0
        close = bid if long else ask
        stop = order.stop_loss_on_fill
        if stop is not None:
            level = stop_level(stop, price, long)
            if level is not None and (close <= level if long else close >= level):
                raise RefusalError("STOP_LOSS_ON_FILL_LOSS")
        target = order.take_profit_on_fill
        if (
            target is not None
            and target.price is not None
            and (close >= target.price if long else close <= target.price)
        ):
            raise RefusalError("TAKE_PROFIT_ON_FILL_LOSS")
        if order.filled_units is not None:
            return  # the ids went to the first part's orders, see ``attach``
        taken = self.log.book.client_order_ids
        for details, prefix in (
            (target, "TAKE_PROFIT"),
            (stop, "STOP_LOSS"),
            (order.trailing_stop_loss_on_fill, "TRAILING_STOP_LOSS"),
        ):
            extensions = details.client_extensions if details else None
            if extensions and extensions.id is not None and extensions.id in taken:
                raise RefusalError(f"{prefix}_ON_FILL_CLIENT_ORDER_ID_ALREADY_EXISTS")

    def attach(self, order: Order, trade: Trade, *, first: bool) -> None:
        """Make what an order brings along. A client id is given once: to the orders of the ``first`` part filled."""
        for kind, details in (
            ("TAKE_PROFIT", order.take_profit_on_fill),
            ("STOP_LOSS", order.stop_loss_on_fill),
            ("TRAILING_STOP_LOSS", order.trailing_stop_loss_on_fill),
        ):
            if details is None:
                continue
            if not first and details.client_extensions is not None:
                labels = msgspec.structs.replace(details.client_extensions, id=None)
                details = msgspec.structs.replace(details, client_extensions=labels)
            self.create(kind, trade, details, "ON_FILL", fill_id=trade.id)

    def create(
        self,
        kind: str,
        trade: Trade,
        details: OnFillDetails,
        reason: str,
        fill_id: str | None = None,
        replaces: Order | None = None,
    ) -> Order:
        """Create a take-profit, stop-loss or trailing stop on a trade."""
        log = self.log
        long = trade.units > 0
        tick = log.instruments[trade.instrument].tick
        price = details.price if kind != "STOP_LOSS" else stop_level(details, trade.price, long)
        distance = None if details.distance is None else details.distance.quantize(tick)
        shared: dict[str, Any] = {
            "trade_id": trade.id,
            "client_trade_id": trade.client_id,
            "price": None if price is None or kind == "TRAILING_STOP_LOSS" else price.quantize(tick),
            "distance": distance,
            "time_in_force": details.time_in_force or "GTC",
            "gtd_time": details.gtd_time,
            "trigger_condition": details.trigger_condition or "DEFAULT",
            "trigger_mode": "TOP_OF_BOOK" if kind == "STOP_LOSS" else None,
            "guaranteed": False if kind == "STOP_LOSS" else None,
            "client_extensions": details.client_extensions,
            "replaces_order_id": replaces.id if replaces else None,
        }
        transaction = log.write(
            ORDER_CREATED[kind],
            reason=reason,
            order_fill_transaction_id=fill_id,
            cancelling_transaction_id=replaces.cancelling_transaction_id if replaces else None,
            **shared,
        )
        order = Order(id=transaction.id, create_time=transaction.time, type=kind, state="PENDING", **shared)
        if kind == "TRAILING_STOP_LOSS":
            bid, ask = log.market.price(trade.instrument)
            trail(order, not long, bid, ask)
        log.book.orders[order.id] = order
        log.remember_client_id(order)
        trade.order_ids[kind] = order.id
        log.add_pending(order)
        return order

    def cancel_linked(self, trade: Trade) -> None:
        """Cancel the orders of a trade that is closed."""
        for number in sorted(trade.order_ids.values(), key=int):
            order = self.log.book.orders[number]
            if order.state == "PENDING":
                self.log.cancel(order, "LINKED_TRADE_CLOSED")


def stop_level(stop: OnFillDetails, price: Decimal, long: bool) -> Decimal | None:
    """Return where a stop stands: its price, or its distance from the trade's."""
    if stop.distance is None:
        return stop.price
    return price - stop.distance if long else price + stop.distance
