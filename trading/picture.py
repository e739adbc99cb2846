"""What a running session says about itself on its status page."""

from typing import Any

from core.clock import Clock, to_rfc3339
from trading.config import TraderConfig
from trading.degradation import Degradation
from trading.desk import Desk
from trading.summary import SummaryCollector
from trading.upkeep import Upkeep


def describe(
    config: TraderConfig,
    broker: str,
    clock: Clock,
    desk: Desk,
    degradation: Degradation,
    upkeep: Upkeep,
    collector: SummaryCollector,
) -> dict[str, Any]:
    """Return the session's state as JSON can hold it; ``broker`` is its name."""
    state = desk.state
    held = state.positions.held()
    return {
        "session_id": config.session_id,
        "strategy": config.strategy,
        "broker": broker,
        "simulated": collector.simulated,
        "state": state.risk_state.value,
        "state_reason": state.risk_reason,
        "degraded": dict(state.degraded),
        "degraded_since": {what: to_rfc3339(since) for what, since in degradation.since().items()},
        "kill_switch": upkeep.kill_switch.describe(),
        "plans": sorted(state.plans),
        "reconciliation": upkeep.reconciler.describe(),
        "processed_through": to_rfc3339(collector.steps[-1]) if collector.steps else None,
        "clock": to_rfc3339(clock.time_ns()),
        "steps": state.steps,
        "equity": state.equity,
        "balance": str(state.balance),
        "value_at_risk": desk.risk.describe(state, desk.rates()),
        "positions": {name: str(units) for name, units in held.items()},
        "open_orders": len(state.book.open()),
        "orders": len(collector.orders),
        "fills": collector.fills,
        "rejects": collector.rejects,
        "last_transaction_id": state.newest_transaction,
    }
