"""The whole comparison, at the start of a session that goes on and at the end of every one."""

from core.clock import Clock
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.desk import Desk
from trading.reconciliation.compare import (
    ReconciliationResult,
    compare_balance,
    compare_orders,
    compare_positions,
)
from trading.reconciliation.settle import settle

_log = get_logger("trading")
_LOOKS = 5  # at a moving account, until two questions in a row see the same last transaction


async def reconcile(broker: Broker, desk: Desk, clock: Clock, scope: str) -> ReconciliationResult:
    """Catch up with the broker, settle orders in flight, then compare everything.

    What the comparison can settle it settles (an order the broker no longer has is closed in our book); what it cannot
    (units or money) halts new risk, for trading on a wrong position is worse than not trading. One look is enough
    here: it counts only where no transaction came between its first and its last question.

    Args:
        broker: of the account.
        desk: of the session.
        clock: of the session.
        scope: ``start`` or ``end``.

    Raises:
        UnavailableError: the broker does not answer.
    """
    await desk.catch_up()
    if desk.state.book.uncertain():
        await desk.resolve_uncertain()
    account = await broker.account()
    for _ in range(_LOOKS):
        positions = await broker.positions()
        open_orders = await broker.open_orders()
        if account.last_transaction_id <= desk.state.newest_transaction:
            after = await broker.account()
            if after.last_transaction_id == account.last_transaction_id:
                break
            account = after
        await desk.catch_up()  # something happened while we asked
        account = await broker.account()
    else:
        positions = await broker.positions()
        open_orders = await broker.open_orders()
        _log.warning("the account moves while it is compared", last_transaction=account.last_transaction_id)
    desk.commit(records.AccountSeen(account))
    now = clock.time_ns()
    compared, findings = compare_positions(desk.state, positions)
    findings += compare_orders(desk.state, open_orders)
    findings += compare_balance(desk.state, account)
    settle(desk, findings, now, scope)
    return ReconciliationResult(
        reconciled=not findings,
        time_ns=now,
        our_balance=desk.state.balance,
        broker_balance=account.balance,
        balance_difference=account.balance - desk.state.balance,
        positions=tuple(compared),
        differences=tuple(f"{d.kind} {d.subject}: ours {d.ours}, broker {d.theirs}: {d.resolution}" for d in findings),
        open_orders=len(open_orders),
        last_transaction_id=account.last_transaction_id,
    )
