"""The order state machine. A transition that is not in the table must never happen."""

from core.domain import OrderState
from core.errors import IntegrityError

_S = OrderState
TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    _S.PENDING_NEW: frozenset(
        {_S.UNKNOWN, _S.ACCEPTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.REJECTED},
    ),
    # Only the broker's word leads out of UNKNOWN; asking again without an answer leaves it there.
    _S.UNKNOWN: frozenset(
        {_S.UNKNOWN, _S.ACCEPTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED, _S.REJECTED},
    ),
    # What the broker holds is filled or cancelled, never rejected: a refused cancel leads back here after a partial
    # fill too, and such an order must not end as if nothing of it had been executed.
    _S.ACCEPTED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.PENDING_CANCEL, _S.CANCELLED}),
    _S.PARTIALLY_FILLED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.PENDING_CANCEL, _S.CANCELLED}),
    # A refused cancel leads back to ACCEPTED; a fill may win the race against the cancel.
    _S.PENDING_CANCEL: frozenset({_S.ACCEPTED, _S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELLED}),
    _S.FILLED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.REJECTED: frozenset(),
}


def transition(order: str, before: OrderState, after: OrderState) -> OrderState:
    """Return ``after`` where the table allows it.

    Raises:
        IntegrityError: naming the order and both states.
    """
    if after not in TRANSITIONS[before]:
        raise IntegrityError(f"order {order} cannot go from {before.value} to {after.value}: reconcile the account")
    return after
