"""The orders of a session: our own by client id, those the broker made (attached stops) by its id."""

from decimal import Decimal

import msgspec

from core.domain import (
    Fill,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderRequest,
    OrderState,
    OrderType,
    RejectReason,
)
from trading.brokers.interface import attached_order_id
from trading.oms.states import transition


def attached_id(parent: str, order_type: OrderType) -> str:
    """Return the client id of an attached order, or nothing for a type that is never attached."""
    attached = (OrderType.STOP_LOSS, OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP_LOSS)
    return attached_order_id(parent, order_type) if order_type in attached else ""


class Order(msgspec.Struct):
    """One order and what became of it."""

    key: str  # client order id, or ``broker:<id>`` for an order the broker made
    instrument: str
    units: Decimal
    order_type: OrderType
    state: OrderState
    created_ns: int
    request: OrderRequest | None = None
    broker_order_id: str = ""
    filled_units: Decimal = Decimal(0)
    reject_reason: RejectReason | None = None
    words: str = ""
    parent_transaction: int = 0  # the fill that an attached stop or target belongs to
    fill_transaction: int = 0  # the newest fill of this order
    never_sent: bool = False  # it is certain that the broker has no trace of it


class OrderBook:
    """Applies submissions and broker events. Events must come once each: the caller drops repeated transaction ids."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self._open: dict[str, Order] = {}  # a session has many orders and few open ones
        self._by_broker_id: dict[str, str] = {}
        self._last_fill: dict[str, int] = {}  # transaction of the newest fill by instrument

    def _set(self, order: Order, state: OrderState) -> None:
        order.state = state
        if state.terminal:
            self._open.pop(order.key, None)
        else:
            self._open[order.key] = order

    def submit(self, request: OrderRequest, time_ns: int) -> Order:
        """Enter an order that is about to be sent."""
        order = Order(
            key=request.client_order_id,
            instrument=request.instrument,
            units=request.units,
            order_type=request.order_type,
            state=OrderState.PENDING_NEW,
            created_ns=time_ns,
            request=request,
        )
        self.orders[order.key] = self._open[order.key] = order
        return order

    def move(self, key: str, state: OrderState, words: str = "") -> Order:
        """Set the state of an order from outside an event: unknown, never sent, resolved.

        Raises:
            IntegrityError: the state machine forbids it.
            KeyError: there is no such order.
        """
        order = self.orders[key]
        self._set(order, transition(key, order.state, state))
        order.words = words or order.words
        return order

    def find(self, client_order_id: str, broker_order_id: str) -> Order | None:
        """Return the order an event speaks of."""
        order = self.orders.get(client_order_id)
        if order is None:
            return self.orders.get(self._by_broker_id.get(broker_order_id, ""))
        if order.never_sent:
            # It was given up and turns up after all: the broker's word is the last one.
            order.never_sent = False
            self._set(order, OrderState.UNKNOWN)
        return order

    def accepted(self, event: OrderAccepted) -> Order:
        """The broker holds an order: one of ours, or one that it made itself."""
        order = self.find(event.client_order_id, event.broker_order_id)
        if order is None:
            order = Order(
                key=event.client_order_id or f"broker:{event.broker_order_id}",
                instrument=event.instrument,
                units=event.units,
                order_type=event.order_type,
                state=OrderState.ACCEPTED,
                created_ns=event.time_ns,
                parent_transaction=self._parent_fill(event),
            )
            self.orders[order.key] = self._open[order.key] = order
        else:
            self._set(order, transition(order.key, order.state, OrderState.ACCEPTED))
        order.broker_order_id = event.broker_order_id
        self._by_broker_id[event.broker_order_id] = order.key
        return order

    def filled(self, event: OrderFilled) -> Order:
        """An order was executed, in whole or in part. A fill of an unknown order makes one: money moved."""
        fill = event.fill
        order = self.find(fill.client_order_id, fill.broker_order_id)
        if order is None:
            order = self._foreign(fill)
        order.filled_units += fill.units
        whole = abs(order.filled_units) >= abs(order.units)
        if order.order_type in (OrderType.STOP_LOSS, OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP_LOSS):
            whole = True  # it closes what is left of its trade, however much that is by then
        after = OrderState.FILLED if whole else OrderState.PARTIALLY_FILLED
        if order.state is OrderState.PENDING_CANCEL and not whole:
            after = order.state  # the cancel is still on its way
        else:
            after = transition(order.key, order.state, after)
        self._set(order, after)
        order.words = fill.reason
        order.fill_transaction = self._last_fill[fill.instrument] = fill.transaction_id
        return order

    def _parent_fill(self, event: OrderAccepted) -> int:
        """Return the fill that an order the broker made belongs to."""
        parent = self.orders.get(event.client_order_id.rpartition(".")[0])
        if parent is not None and event.client_order_id == attached_id(parent.key, event.order_type):
            return parent.fill_transaction
        # Without an id of ours: the broker writes an attached order right after the fill it protects.
        return self._last_fill.get(event.instrument, 0)

    def was_sent(self, key: str) -> bool:
        """Whether an order of this id was sent and may have reached the broker."""
        order = self.orders.get(key)
        return order is not None and not order.never_sent

    def not_sent(self, key: str, words: str) -> None:
        """It is certain that an order is not at the broker."""
        self.move(key, OrderState.REJECTED, words).never_sent = True

    def cancelled(self, event: OrderCancelled) -> Order | None:
        """An order is gone without (further) execution."""
        order = self.find(event.client_order_id, event.broker_order_id)
        if order is not None:
            self._set(order, transition(order.key, order.state, OrderState.CANCELLED))
            order.words = event.reason
            order.reject_reason = event.reject_reason
        return order

    def rejected(self, event: OrderRejected) -> Order | None:
        """The broker did not take an order, or refused to cancel one that stands."""
        order = self.find(event.client_order_id, "")
        if order is None:
            return None
        if order.state is OrderState.PENDING_CANCEL:
            self._set(order, transition(order.key, order.state, OrderState.ACCEPTED))
        elif not order.state.terminal:
            self._set(order, transition(order.key, order.state, OrderState.REJECTED))
            order.reject_reason = event.reject_reason
        order.words = event.broker_reason
        return order

    def _foreign(self, fill: Fill) -> Order:
        key = fill.client_order_id or f"broker:{fill.broker_order_id}"
        order = Order(
            key=key,
            instrument=fill.instrument,
            units=fill.units,
            order_type=OrderType.MARKET,
            state=OrderState.ACCEPTED,
            created_ns=fill.time_ns,
            broker_order_id=fill.broker_order_id,
        )
        self.orders[key] = self._open[key] = order
        self._by_broker_id[fill.broker_order_id] = key
        return order

    def open(self) -> list[Order]:
        """Orders to which something may still happen, in key order."""
        return [self._open[key] for key in sorted(self._open)]

    def uncertain(self) -> list[Order]:
        """Our own orders of which we do not know whether the broker has them."""
        return [o for o in self.open() if o.state in (OrderState.PENDING_NEW, OrderState.UNKNOWN)]

    def in_flight(self) -> frozenset[str]:
        """Instruments with one of our orders still working (attached stops do not count)."""
        return frozenset(order.instrument for order in self._open.values() if order.request is not None)
