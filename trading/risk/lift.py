"""Lift a restriction by hand: only a person does it, with a reason, while the trader is stopped."""

import getpass
from pathlib import Path

from core.clock import Clock
from core.errors import RefusedError, UsageError
from core.journal import Journal
from trading import records
from trading.risk.limits import RiskState
from trading.summary import SummaryCollector, read_state


def lift_restriction(journal_directory: Path, reason: str, clock: Clock) -> RiskState:
    """Set a session's risk state back to ACTIVE and return what it was; the journal keeps who asked and why.

    It lifts what the trader set itself (drawdown, reconciliation, a broker that forbids). The kill switch is a switch
    of its own: ``tidegate kill-switch off``.

    Raises:
        UsageError: no reason was given.
        RefusedError: the trader is running, there is no such session, or nothing is restricted.
    """
    if not reason.strip():
        raise UsageError("lifting a restriction needs a reason: it is kept in the journal")
    with Journal(journal_directory) as journal:
        state, _ = read_state(journal_directory, SummaryCollector(""))
        if not state.opened:
            raise RefusedError(f"no session in {journal_directory}: name the folder of an existing one")
        if state.risk_state is RiskState.ACTIVE:
            raise RefusedError("the session is not restricted: nothing to lift")
        if state.kill_switch is not None and state.kill_switch.on:
            raise RefusedError("the kill switch is on: `tidegate kill-switch off --reason …` first")
        words = f"{getpass.getuser()}: {reason}"
        record = records.RiskStateChanged(RiskState.ACTIVE, clock.time_ns(), "LIFTED", words, by_hand=True)
        journal.append(records.kind_of(record), records.encode(record), clock.time_ns(), durable=True)
        return state.risk_state
