"""Compare our view with the broker's: orders, positions, balance. Every difference is an event with a resolution."""

from decimal import Decimal

import msgspec

from core.clock import Clock
from core.crash_points import reach
from core.domain import OpenOrder, OrderState, Position
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.desk import Desk

_log = get_logger("trading")
CENT = Decimal("0.01")
_PRICE_TOLERANCE = Decimal("0.00001")  # relative: brokers round average prices


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


async def reconcile(broker: Broker, desk: Desk, clock: Clock) -> ReconciliationResult:
    """Catch up with the broker, settle unknown orders, then compare everything.

    What the comparison can settle it settles (an order the broker no longer has is closed in our book); what it cannot
    (units or money) halts new risk, for trading on a wrong position is worse than not trading.

    Raises:
        UnavailableError: the broker does not answer.
    """
    await desk.catch_up()
    if desk.state.book.uncertain():
        await desk.resolve_uncertain()
    account = await broker.account()
    positions = await broker.positions()
    open_orders = await broker.open_orders()
    if account.last_transaction_id > desk.state.caught_up:
        await desk.catch_up()  # something happened while we asked
        account = await broker.account()
        positions = await broker.positions()
        open_orders = await broker.open_orders()
    desk.commit(records.AccountSeen(account))
    now = clock.time_ns()
    differences: list[records.DifferenceFound] = []
    compared = _positions(desk, positions, differences, now)
    _orders(desk, open_orders, differences, now)
    difference = account.balance - desk.state.balance
    if abs(difference) >= CENT:
        differences.append(
            records.DifferenceFound(
                now, "balance", account.currency, str(desk.state.balance), str(account.balance), "new risk stopped"
            )
        )
    reach("reconcile.compared")
    for found in differences:
        desk.commit(found)
        _log.error(
            "reconciliation difference", kind=found.kind, subject=found.subject, ours=found.ours, theirs=found.theirs
        )
        if found.kind in ("position", "balance"):
            desk.halt("RECONCILIATION", f"{found.kind} {found.subject}: ours {found.ours}, broker {found.theirs}")
    return ReconciliationResult(
        reconciled=not differences,
        time_ns=now,
        our_balance=desk.state.balance,
        broker_balance=account.balance,
        balance_difference=difference,
        positions=tuple(compared),
        differences=tuple(
            f"{d.kind} {d.subject}: ours {d.ours}, broker {d.theirs}: {d.resolution}" for d in differences
        ),
        open_orders=len(open_orders),
        last_transaction_id=account.last_transaction_id,
    )


def _positions(
    desk: Desk, theirs: dict[str, Position], differences: list[records.DifferenceFound], now: int
) -> list[PositionComparison]:
    compared: list[PositionComparison] = []
    book = desk.state.positions
    for name in sorted({*book.held(), *theirs}):
        position = theirs.get(name, Position(name))
        ours = PositionComparison(
            name, book.units(name), position.units, book.average_price(name), position.average_price
        )
        compared.append(ours)
        if ours.our_units != ours.broker_units:
            differences.append(
                records.DifferenceFound(
                    now, "position", name, str(ours.our_units), str(ours.broker_units), "new risk stopped"
                )
            )
        elif abs(ours.our_price - ours.broker_price) > _PRICE_TOLERANCE * ours.broker_price:
            differences.append(
                records.DifferenceFound(
                    now, "price", name, f"{ours.our_price:.6f}", str(ours.broker_price), "the broker's is the true one"
                )
            )
    return compared


def _orders(desk: Desk, theirs: list[OpenOrder], differences: list[records.DifferenceFound], now: int) -> None:
    known = {order.broker_order_id: order for order in desk.state.book.open() if order.broker_order_id}
    their_ids = {order.broker_order_id for order in theirs}
    for identifier, order in sorted(known.items()):
        if identifier not in their_ids:
            desk.commit(
                records.OrderResolved(order.key, OrderState.CANCELLED, now, "the broker has no such open order")
            )
            differences.append(
                records.DifferenceFound(now, "order", order.key, order.state.value, "gone", "closed in our book")
            )
    for order in theirs:
        if order.broker_order_id not in known:
            name = order.client_order_id or order.broker_order_id
            differences.append(
                records.DifferenceFound(now, "order", name, "unknown", order.order_type, "left as it is: not ours")
            )
