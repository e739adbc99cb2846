"""How far a plan has come: read from the order book alone, so that a restart finds what a crash left."""

from decimal import Decimal

import msgspec

from core.domain import OrderState, OrderType
from trading.brokers.interface import attached_order_id
from trading.execution.plan import ExecutionPlan
from trading.oms.book import Order, OrderBook
from trading.oms.identity import amended_order_id, client_order_id

_ZERO = Decimal(0)
_STOPS = (OrderType.STOP_LOSS, OrderType.TRAILING_STOP_LOSS, OrderType.TAKE_PROFIT)


class Progress(msgspec.Struct):
    """What was sent of a plan and what became of it.

    Attributes:
        legs: children sent; an amended child counts once.
        revisions: amendments of the newest child that were sent.
        executed: signed units of all fills.
        value: sum of units times price of all fills.
        working: the one child to which something may still happen.
        last: the newest child in its newest revision.
        failures: how many of the newest children in a row were refused or found no counterpart.
        closed_by: client id of an attached stop or target of a child that was executed; "" for none.
    """

    legs: int = 0
    revisions: int = 0
    executed: Decimal = _ZERO
    value: Decimal = _ZERO
    working: Order | None = None
    last: Order | None = None
    failures: int = 0
    closed_by: str = ""

    @property
    def average_price(self) -> Decimal | None:
        """Average price of the executed units."""
        return self.value / self.executed if self.executed else None


def child_id(plan: ExecutionPlan, leg: int) -> str:
    """Return the client order id of a child; legs count from 1 (0 is the decision's own order)."""
    return client_order_id(plan.parent.decision_id, leg)


def read_progress(book: OrderBook, plan: ExecutionPlan) -> Progress:
    """Return how far a plan has come."""
    progress = Progress()
    while (order := book.orders.get(root := child_id(plan, progress.legs + 1))) is not None:
        progress.legs += 1
        revision = 0
        while order is not None:
            _count(progress, order, book)
            if revision == 0 or order.state is not OrderState.REJECTED:
                progress.last = order
            progress.revisions = revision
            revision += 1
            order = book.orders.get(amended_order_id(root, revision))
    return progress


def _count(progress: Progress, order: Order, book: OrderBook) -> None:
    progress.executed += order.filled_units
    progress.value += order.filled_value
    if not order.state.terminal and (progress.working is None or not progress.working.unsettled):
        progress.working = order  # of an order and its replacement under way, the one that has to be settled
    if order.filled_units:
        progress.failures = 0
    elif failed(order) and not order.replaces:
        progress.failures += 1
    for order_type in _STOPS:
        attached = book.orders.get(attached_order_id(order.key, order_type))
        if attached is not None and attached.state is OrderState.FILLED:
            progress.closed_by = attached.key


def failed(order: Order) -> bool:
    """Whether a child was refused, never arrived, or found no counterpart; one that we cancelled did not fail."""
    return order.state is OrderState.REJECTED or (
        order.state is OrderState.CANCELLED and order.reject_reason is not None
    )
