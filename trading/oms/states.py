"""The order state machine: every state with every event. What the table does not allow must never happen.

The broker's word reaches us by several ways (reply, stream, catch-up), so its word may be late: an order's acceptance
after its fill says nothing new and changes nothing. What contradicts what we know is illegal. Our own records
(cancel requested, reply lost, …) are written by one place that looks at the state first; there nothing can be late.
"""

from enum import StrEnum

from core.domain import OrderState
from core.errors import IntegrityError


class OrderEvent(StrEnum):
    """What can happen to an order."""

    # the broker's word
    ACCEPTED = "accepted"
    PARTLY_FILLED = "partly_filled"  # an execution that leaves a rest
    FILLED = "filled"  # an execution that leaves none
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    # our own records
    REPLY_LOST = "reply_lost"
    NOT_SENT = "not_sent"  # certainly not at the broker
    CHANGE_REQUESTED = "change_requested"  # a cancel or an amendment goes out
    STANDS = "stands"  # that request changed nothing
    STANDS_PARTLY = "stands_partly"  # the same, of an order that was executed in part
    SETTLED_OPEN = "settled_open"  # a reconciliation found it open at the broker
    SETTLED_FILLED = "settled_filled"
    SETTLED_CANCELLED = "settled_cancelled"
    SETTLED_REJECTED = "settled_rejected"


_S, _E = OrderState, OrderEvent
_Row = dict[OrderEvent, OrderState | None]

# From a state in which it is not known whether the broker has the order, only the broker's word leads on.
_AT_LARGE: _Row = {
    _E.ACCEPTED: _S.ACCEPTED,
    _E.PARTLY_FILLED: _S.PARTIALLY_FILLED,
    _E.FILLED: _S.FILLED,
    _E.CANCELLED: _S.CANCELLED,
    _E.REJECTED: _S.REJECTED,
    _E.REPLY_LOST: _S.UNKNOWN,
    _E.NOT_SENT: _S.REJECTED,
    _E.CHANGE_REQUESTED: None,  # first it must be known to be there
    _E.STANDS: None,
    _E.STANDS_PARTLY: None,
    _E.SETTLED_OPEN: _S.ACCEPTED,
    _E.SETTLED_FILLED: _S.FILLED,
    _E.SETTLED_CANCELLED: _S.CANCELLED,
    _E.SETTLED_REJECTED: _S.REJECTED,
}
# What the broker holds is filled or cancelled, never rejected: nothing of it may end as if it had not been executed.
_HELD: _Row = {
    _E.ACCEPTED: _S.ACCEPTED,
    _E.PARTLY_FILLED: _S.PARTIALLY_FILLED,
    _E.FILLED: _S.FILLED,
    _E.CANCELLED: _S.CANCELLED,
    _E.REJECTED: None,
    _E.REPLY_LOST: None,
    _E.NOT_SENT: None,
    _E.CHANGE_REQUESTED: _S.PENDING_CANCEL,
    _E.STANDS: _S.ACCEPTED,
    _E.STANDS_PARTLY: None,
    _E.SETTLED_OPEN: _S.ACCEPTED,
    _E.SETTLED_FILLED: _S.FILLED,
    _E.SETTLED_CANCELLED: _S.CANCELLED,
    _E.SETTLED_REJECTED: None,
}
_HELD_PARTLY: _Row = _HELD | {
    _E.ACCEPTED: _S.PARTIALLY_FILLED,  # late
    _E.STANDS: None,
    _E.STANDS_PARTLY: _S.PARTIALLY_FILLED,
    _E.SETTLED_OPEN: _S.PARTIALLY_FILLED,
}
_LEAVING: _Row = _HELD | {
    _E.ACCEPTED: _S.PENDING_CANCEL,  # late
    _E.PARTLY_FILLED: _S.PENDING_CANCEL,  # the request is still on its way
    _E.CHANGE_REQUESTED: None,  # one request at a time: the first is settled by asking
    _E.STANDS_PARTLY: _S.PARTIALLY_FILLED,
    _E.SETTLED_OPEN: _S.PENDING_CANCEL,
}
# A final state stays. A request that lost the race against the end of its order is no event of the order.
_FINAL: _Row = dict.fromkeys(OrderEvent)

TABLE: dict[OrderState, _Row] = {
    _S.PENDING_NEW: _AT_LARGE,
    _S.UNKNOWN: _AT_LARGE,  # asking again without an answer leaves it there
    _S.ACCEPTED: _HELD,
    _S.PARTIALLY_FILLED: _HELD_PARTLY,
    _S.PENDING_CANCEL: _LEAVING,
    _S.FILLED: _FINAL
    | {_E.ACCEPTED: _S.FILLED, _E.STANDS: _S.FILLED, _E.STANDS_PARTLY: _S.FILLED, _E.SETTLED_FILLED: _S.FILLED},
    _S.CANCELLED: _FINAL
    | {
        _E.ACCEPTED: _S.CANCELLED,
        _E.CANCELLED: _S.CANCELLED,
        _E.STANDS: _S.CANCELLED,
        _E.STANDS_PARTLY: _S.CANCELLED,
        _E.SETTLED_CANCELLED: _S.CANCELLED,
    },
    _S.REJECTED: _FINAL | {_E.REJECTED: _S.REJECTED, _E.NOT_SENT: _S.REJECTED, _E.SETTLED_REJECTED: _S.REJECTED},
}

SETTLED: dict[OrderState, OrderEvent] = {
    _S.ACCEPTED: _E.SETTLED_OPEN,
    _S.PARTIALLY_FILLED: _E.SETTLED_OPEN,
    _S.FILLED: _E.SETTLED_FILLED,
    _S.CANCELLED: _E.SETTLED_CANCELLED,
    _S.REJECTED: _E.SETTLED_REJECTED,
}


def follow(order: str, state: OrderState, event: OrderEvent) -> OrderState:
    """Return the state of ``order`` after ``event``.

    Raises:
        IntegrityError: the table does not allow it; naming order, state and event.
    """
    after = TABLE[state][event]
    if after is None:
        raise IntegrityError(
            f"order {order} is {state.value} and cannot be {event.value.replace('_', ' ')}: reconcile the account"
        )
    return after
