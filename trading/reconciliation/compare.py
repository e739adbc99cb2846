"""Compare our view with the broker's: orders, positions, balance. Pure: nothing is asked and nothing written here.

Orders are matched by the broker's id, which our book learnt under our client id; never by time or size.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from core.domain import AccountState, OpenOrder, OrderState, OrderType, Position
from trading.state import SessionState

CENT = Decimal("0.01")
_PRICE_TOLERANCE = Decimal("0.00001")  # relative: brokers round average prices
_PROTECTIVE = (OrderType.STOP_LOSS, OrderType.TRAILING_STOP_LOSS)
_STANDING = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)


class Action(StrEnum):
    """What a difference asks for."""

    NOTE = "note"
    CLOSE_ORDER = "close_order"  # the broker has no such order: neither have we
    STOP_NEW_RISK = "stop_new_risk"  # exits stay possible
    HALT = "halt"  # units or money differ: an exit might be no exit


class Finding(msgspec.Struct, frozen=True):
    """One difference. ``key`` names an order of our book where the action needs it."""

    kind: str  # order, position, price, balance, naked
    subject: str
    ours: str
    theirs: str
    resolution: str
    action: Action
    key: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes a second look see the same difference."""
        return self.kind, self.subject, self.ours, self.theirs


class PositionComparison(msgspec.Struct, frozen=True):
    """One instrument's units and average price, ours beside the broker's."""

    instrument: str
    our_units: Decimal
    broker_units: Decimal
    our_price: Decimal
    broker_price: Decimal


class ReconciliationResult(msgspec.Struct, frozen=True):
    """The outcome: ``reconciled`` only where units, open orders and the balance to the cent are the same."""

    reconciled: bool
    time_ns: int
    our_balance: Decimal
    broker_balance: Decimal
    balance_difference: Decimal
    positions: tuple[PositionComparison, ...]
    differences: tuple[str, ...]
    open_orders: int
    last_transaction_id: int


def compare_positions(
    state: SessionState, theirs: dict[str, Position]
) -> tuple[list[PositionComparison], list[Finding]]:
    """Compare units and average prices, instrument by instrument."""
    compared: list[PositionComparison] = []
    findings: list[Finding] = []
    book = state.positions
    for name in sorted({*book.held(), *theirs}):
        position = theirs.get(name, Position(name))
        ours = PositionComparison(
            name, book.units(name), position.units, book.average_price(name), position.average_price
        )
        compared.append(ours)
        if ours.our_units != ours.broker_units:
            findings.append(
                Finding("position", name, str(ours.our_units), str(ours.broker_units), "new risk stopped", Action.HALT)
            )
        elif abs(ours.our_price - ours.broker_price) > _PRICE_TOLERANCE * ours.broker_price:
            words = "the broker's is the true one"
            findings.append(Finding("price", name, f"{ours.our_price:.6f}", str(ours.broker_price), words, Action.NOTE))
    return compared, findings


def compare_orders(state: SessionState, theirs: Sequence[OpenOrder]) -> list[Finding]:
    """Compare open orders. What the broker no longer has is closed in our book; what is not ours is left as it is.

    A lot that was opened with a stop and has none at the broker is naked: a difference of its own. The stop is not
    placed again, for why it went is not known (a person may have taken it away, and at today's price it might close
    the position at once): new risk stops, exits stay possible, and a person looks.
    """
    findings: list[Finding] = []
    known = {order.broker_order_id: order for order in state.book.open() if order.broker_order_id}
    their_ids = {order.broker_order_id for order in theirs}
    for identifier, order in sorted(known.items()):
        if identifier in their_ids or order.state not in _STANDING:
            continue  # one in flight is the business of the questions about orders in flight
        findings.append(
            Finding("order", order.key, order.state.value, "gone", "closed in our book", Action.CLOSE_ORDER, order.key)
        )
    for order in theirs:
        ours = known.get(order.broker_order_id)
        if ours is None or (ours.request is None and not ours.protective):
            name = order.client_order_id or order.broker_order_id
            findings.append(
                Finding("order", name, "not ours", order.order_type, "left as it is: somebody else's", Action.NOTE)
            )
    return findings + _naked(state, their_ids)


def _naked(state: SessionState, their_ids: set[str]) -> list[Finding]:
    """Find open lots whose opening order asked for a stop that does not stand at the broker."""
    lots = {lot.transaction_id: (name, lot) for name in state.positions.held() for lot in state.positions.lots(name)}
    if not lots:
        return []
    protected = {
        order.parent_transaction
        for order in state.book.open()
        if order.order_type in _PROTECTIVE and order.broker_order_id in their_ids
    }
    findings: list[Finding] = []
    for order in state.book.orders.values():
        request = order.request
        if request is None or order.fill_transaction not in lots or order.fill_transaction in protected:
            continue
        if request.stop_loss_price is None and request.trailing_stop_distance is None:
            continue
        name, lot = lots[order.fill_transaction]
        findings.append(
            Finding(
                "naked",
                name,
                f"{lot.units} units of {order.key} with a stop",
                "no stop",
                "new risk stopped: look at the position, protect it or close it",
                Action.STOP_NEW_RISK,
            )
        )
    return findings


def compare_balance(state: SessionState, account: AccountState) -> list[Finding]:
    """Compare the money to the cent."""
    if abs(account.balance - state.balance) < CENT:
        return []
    return [
        Finding("balance", account.currency, str(state.balance), str(account.balance), "new risk stopped", Action.HALT)
    ]


def confirmed(findings: Iterable[Finding], seen_before: Iterable[Finding]) -> list[Finding]:
    """Return the findings that were seen in the look before as well, word for word."""
    before = {finding.identity for finding in seen_before}
    return [finding for finding in findings if finding.identity in before]
