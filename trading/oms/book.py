"""The orders of a session: our own by client id, those the broker made (attached stops) by its id.

Our own records ask for transitions and get an ``IntegrityError`` for an impossible one. The broker's events are always
taken: what they say contrary to the state machine is kept in ``violations``, for the money they moved is real.
"""

from core.domain import (
    Fill,
    OpenOrder,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderRequest,
    OrderState,
    OrderType,
    RejectReason,
)
from core.errors import IntegrityError
from trading.brokers.interface import NAMED_BY_BROKER, attached_order_id
from trading.oms.order import PROTECTIVE, Order
from trading.oms.states import SETTLED, OrderEvent, follow


class OrderBook:
    """Applies submissions and broker events. Events must come once each: the caller drops repeated transaction ids.

    Attributes:
        orders: every order of the session by key.
        violations: what the broker said that must never happen, in words.
    """

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.violations: list[str] = []
        self._open: dict[str, Order] = {}  # a session has many orders and few open ones
        self._by_broker_id: dict[str, str] = {}
        self._last_fill: dict[str, int] = {}  # transaction of the newest fill by instrument

    # -- our own records -----------------------------------------------------------------------------------------

    def submit(self, request: OrderRequest, time_ns: int, sent_after: int = 0) -> Order:
        """Enter an order that is about to be sent.

        Args:
            request: what is sent.
            time_ns: when.
            sent_after: a transaction id that is lower than every one this order will have.

        Raises:
            IntegrityError: an order of this id was sent before and may have arrived.
        """
        if self.was_sent(request.client_order_id):
            raise IntegrityError(f"order {request.client_order_id} was sent before: nothing is sent twice")
        order = Order(
            key=request.client_order_id,
            instrument=request.instrument,
            units=request.units,
            order_type=request.order_type,
            state=OrderState.PENDING_NEW,
            created_ns=time_ns,
            request=request,
            price=request.price,
            sent_after=sent_after,
        )
        return self._enter(order)

    def unresolved(self, key: str, words: str) -> Order:
        """The reply to an order was lost."""
        return self._own(key, OrderEvent.REPLY_LOST, words)

    def not_sent(self, key: str, words: str) -> Order:
        """It is certain that an order is not at the broker."""
        order = self._own(key, OrderEvent.NOT_SENT, words)
        order.never_sent = True
        return order

    def request_cancel(self, key: str, words: str) -> Order:
        """A cancellation is about to be sent."""
        return self._own(key, OrderEvent.CHANGE_REQUESTED, words)

    def request_amend(self, key: str, replacement: OrderRequest, time_ns: int, sent_after: int = 0) -> Order:
        """A replacement is about to be sent; return it. A stop stays with the trade of the one it replaces."""
        old = self._known(key)
        after = follow(key, old.state, OrderEvent.CHANGE_REQUESTED)
        order = self.submit(replacement, time_ns, sent_after)
        self._set(old, after)
        order.replaces, old.replacement = key, order.key
        order.parent_transaction = old.parent_transaction
        return order

    def request_failed(self, key: str, what: str, words: str) -> Order:
        """A cancel or an amendment (``what``) changed nothing: the order stands, or it ended before."""
        order = self._known(key)
        if what == "amend" and order.replacement:
            replacement = self.orders[order.replacement]
            if replacement.state in (OrderState.PENDING_NEW, OrderState.UNKNOWN):
                self.not_sent(replacement.key, words)
            order.replacement = ""
        return self._own(key, _standing(order), words)

    def settle(self, key: str, state: OrderState, words: str) -> Order:
        """Set the state that a reconciliation found.

        Raises:
            IntegrityError: the state machine forbids it.
        """
        if state not in SETTLED:
            raise IntegrityError(f"order {key} cannot be settled as {state.value}: reconcile the account")
        order = self._own(key, SETTLED[state], words)
        order.assumed = order.state.terminal
        return order

    # -- the broker's word ---------------------------------------------------------------------------------------

    def accepted(self, event: OrderAccepted) -> Order:
        """The broker holds an order: one of ours, or one that it or somebody else made."""
        order = self.find(event.client_order_id, event.broker_order_id)
        if order is None:
            order = Order(
                key=self._free_key(event.client_order_id, event.broker_order_id),
                instrument=event.instrument,
                units=event.units,
                order_type=event.order_type,
                state=OrderState.ACCEPTED,
                created_ns=event.time_ns,
                parent_transaction=self._parent_fill(event),
            )
            self._enter(order)
        else:
            self._revive(order)
            self._follow(order, OrderEvent.ACCEPTED)
        self._name(order, event.broker_order_id)
        order.price = event.price if event.price is not None else order.price
        if event.trade_id.isdigit():
            order.parent_transaction = int(event.trade_id)
        return order

    def lacks(self, listed: OpenOrder) -> bool:
        """Whether the broker holds an order that we know nothing of, or that we took for one that never arrived."""
        order = self.find(listed.client_order_id, listed.broker_order_id)
        return order is None or order.never_sent or order.assumed

    def listed(self, order: OpenOrder, time_ns: int) -> Order:
        """The broker holds an order, it says when asked; its acceptance came before the session or was missed."""
        kind = OrderType.STOP_LOSS if order.trade_id else OrderType.LIMIT  # of a type that we never send
        kind = next((known for known in OrderType if known.value == order.order_type), kind)
        return self.accepted(
            OrderAccepted(
                0,
                order.client_order_id,
                order.broker_order_id,
                order.instrument,
                order.units,
                kind,
                time_ns,
                price=order.price,
                trade_id=order.trade_id,
            )
        )

    def filled(self, event: OrderFilled) -> Order:
        """An order was executed, in whole or in part. A fill of an unknown order makes one: money moved."""
        fill = event.fill
        order = self.find(fill.client_order_id, fill.broker_order_id) or self._foreign(fill)
        self._revive(order)
        self._name(order, fill.broker_order_id)
        order.filled_units += fill.units
        order.filled_value += fill.units * fill.price
        # A stop closes what is left of its trade, however much that is by then.
        whole = order.protective or abs(order.filled_units) >= abs(order.units)
        self._follow(order, OrderEvent.FILLED if whole else OrderEvent.PARTLY_FILLED)
        if not order.protective and (abs(order.filled_units) > abs(order.units) or fill.units * order.units < 0):
            self.violations.append(
                f"order {order.key} asks for {order.units} and {order.filled_units} are filled: reconcile the account"
            )
        order.words = fill.reason
        order.fill_transaction = self._last_fill[fill.instrument] = fill.transaction_id
        return order

    def cancelled(self, event: OrderCancelled) -> Order | None:
        """An order is gone without (further) execution."""
        order = self.find(event.client_order_id, event.broker_order_id)
        if order is not None:
            self._revive(order)
            self._name(order, event.broker_order_id)
            self._follow(order, OrderEvent.CANCELLED)
            order.words = event.reason
            order.reject_reason = event.reject_reason
        return order

    def rejected(self, event: OrderRejected) -> Order | None:
        """The broker did not take an order, or refused to change one.

        * A refused change does not say what the order is: one that the broker does not find may have been filled a
          moment ago. It stays as it is and is asked about.
        * A taken client id means that an earlier request of it did arrive: that one counts, and is asked about.
        """
        order = self.find(event.client_order_id, "")
        if order is None:
            return None
        order.never_sent = False
        changing = order.state is OrderState.PENDING_CANCEL
        gone = event.reject_reason is RejectReason.BROKER_UNKNOWN_ORDER
        if changing and not gone:
            self._follow(order, _standing(order))
        elif event.reject_reason is RejectReason.BROKER_DUPLICATE_ID and not order.state.terminal:
            if order.state is OrderState.PENDING_NEW:
                self._follow(order, OrderEvent.REPLY_LOST)
        elif not changing and not order.state.terminal:
            self._follow(order, OrderEvent.REJECTED)
            order.reject_reason = event.reject_reason
            if order.replaces and not gone:
                old = self.orders[order.replaces]
                self._follow(old, _standing(old))
        order.words = event.broker_reason
        return order

    # -- looking -------------------------------------------------------------------------------------------------

    def find(self, client_order_id: str, broker_order_id: str) -> Order | None:
        """Return the order an event speaks of. The broker's id decides: client ids may be given twice by others."""
        key = self._by_broker_id.get(broker_order_id)
        if key is not None:
            return self.orders[key]
        order = self.orders.get(client_order_id)
        if order is None or (broker_order_id and order.broker_order_id):
            return None
        return order

    def was_sent(self, key: str) -> bool:
        """Whether an order of this id was sent and may have reached the broker."""
        order = self.orders.get(key)
        return order is not None and not order.never_sent

    @property
    def has_open(self) -> bool:
        """Whether anything may still happen to any order."""
        return bool(self._open)

    def open(self) -> list[Order]:
        """Orders to which something may still happen, in key order."""
        return [self._open[key] for key in sorted(self._open)]

    def uncertain(self) -> list[Order]:
        """Orders of which only the broker can say what became of them, in key order."""
        return sorted((order for order in self._open.values() if order.unsettled), key=lambda order: order.key)

    def in_flight(self, besides: str = "") -> frozenset[str]:
        """Instruments with one of our orders still working; stops and targets and order ``besides`` do not count."""
        return frozenset(o.instrument for o in self._open.values() if o.entry and o.key != besides)

    # -- inside --------------------------------------------------------------------------------------------------

    def _enter(self, order: Order) -> Order:
        self.orders[order.key] = self._open[order.key] = order
        return order

    def _known(self, key: str) -> Order:
        order = self.orders.get(key)
        if order is None:
            raise IntegrityError(f"there is no order {key} in this session: its journal is damaged")
        return order

    def _set(self, order: Order, state: OrderState) -> None:
        order.state = state
        if state.terminal:
            self._open.pop(order.key, None)
        else:
            self._open[order.key] = order

    def _own(self, key: str, event: OrderEvent, words: str) -> Order:
        order = self._known(key)
        self._set(order, follow(key, order.state, event))
        order.words = words or order.words
        return order

    def _follow(self, order: Order, event: OrderEvent) -> None:
        try:
            self._set(order, follow(order.key, order.state, event))
        except IntegrityError as error:
            self.violations.append(error.message)

    def _revive(self, order: Order) -> None:
        """What was given up and turns up after all is open again: the broker's word is the last one."""
        if order.never_sent or order.assumed:
            order.never_sent = order.assumed = False
            self._set(order, OrderState.UNKNOWN)

    def _name(self, order: Order, broker_order_id: str) -> None:
        if broker_order_id and not order.broker_order_id:
            order.broker_order_id = broker_order_id
            self._by_broker_id[broker_order_id] = order.key

    def _parent_fill(self, event: OrderAccepted) -> int:
        """Return the fill that an order the broker made belongs to."""
        replaced = self.orders.get(self._by_broker_id.get(event.replaces, ""))
        if replaced is not None:
            return replaced.parent_transaction
        parent = self.orders.get(event.client_order_id.rpartition(".")[0])
        if parent is not None and event.client_order_id == _attached_id(parent.key, event.order_type):
            return parent.fill_transaction
        # Without an id of ours: the broker writes an attached order right after the fill it protects.
        return self._last_fill.get(event.instrument, 0)

    def _free_key(self, client_order_id: str, broker_order_id: str) -> str:
        """Return the key of an order that the broker made: its client id, unless it has none or that is taken."""
        taken = not client_order_id or client_order_id in self.orders
        return NAMED_BY_BROKER + broker_order_id if taken else client_order_id

    def _foreign(self, fill: Fill) -> Order:
        return self._enter(
            Order(
                key=self._free_key(fill.client_order_id, fill.broker_order_id),
                instrument=fill.instrument,
                units=fill.units,
                order_type=OrderType.MARKET,
                state=OrderState.ACCEPTED,
                created_ns=fill.time_ns,
            )
        )


def _standing(order: Order) -> OrderEvent:
    """A change came to nothing: the order is what it was before."""
    return OrderEvent.STANDS_PARTLY if order.filled_units else OrderEvent.STANDS


def _attached_id(parent: str, order_type: OrderType) -> str:
    return attached_order_id(parent, order_type) if order_type in PROTECTIVE else ""
