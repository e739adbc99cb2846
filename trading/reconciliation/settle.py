"""Write differences down and do what each asks for."""

from collections.abc import Sequence

import msgspec

from core.crash_points import reach
from core.domain import OrderState
from core.logging import get_logger
from trading import records
from trading.desk import Desk
from trading.reconciliation.compare import Action, Finding
from trading.risk.limits import RiskState

_log = get_logger("trading")
REASON = "RECONCILIATION"  # of the risk states set here


def settle(desk: Desk, findings: Sequence[Finding], now_ns: int, scope: str, looks: str = "") -> None:
    """Carry out what the differences ask for, each a record, then note that the comparison is finished.

    Args:
        desk: of the session.
        findings: what differs.
        now_ns: the session's time.
        scope: start, in_flight, open_orders, positions, end.
        looks: how the difference was made sure of, added to each resolution.
    """
    reach("reconcile.compared")
    for found in findings:
        if found.action is Action.CLOSE_ORDER:
            desk.commit(
                records.OrderResolved(found.key, OrderState.CANCELLED, now_ns, "the broker has no such open order")
            )
        desk.commit(_record(found, now_ns, looks))
        _log.error(
            "reconciliation difference",
            kind=found.kind,
            subject=found.subject,
            ours=found.ours,
            theirs=found.theirs,
            resolution=found.resolution,
        )
        words = f"{found.kind} {found.subject}: ours {found.ours}, broker {found.theirs}"
        if found.action is Action.HALT:
            desk.halt(REASON, words)
        elif found.action is Action.STOP_NEW_RISK:
            desk.halt(REASON, words, RiskState.REDUCING)
    desk.commit(records.Reconciled(now_ns, scope, len(findings)))


def _record(found: Finding, now_ns: int, looks: str) -> records.DifferenceFound:
    record = records.DifferenceFound(now_ns, found.kind, found.subject, found.ours, found.theirs, found.resolution)
    return msgspec.structs.replace(record, resolution=f"{record.resolution} ({looks})") if looks else record
