"""Named places at which a drill may end this process, as a power cut or the kernel's memory killer would.

Unarmed (always, outside a drill) a place costs one comparison. Armed by the environment variable
``TIDEGATE_CRASH_POINT=NAME:N`` the process kills itself with SIGKILL the N-th time it passes the place: nothing is
flushed, no handler runs.
"""

import os
import signal

VARIABLE = "TIDEGATE_CRASH_POINT"

# Every place there is, with what has and what has not happened there. ``reach`` takes no other name.
CRASH_POINTS: dict[str, str] = {
    "session.opened": "the session's first record is written, nothing is reconciled",
    "recovery.reconciled": "a restart has reconciled, no event of the feed was taken",
    "quote.noted": "a quote is in the journal's buffer, nothing was made of it",
    "step.closed": "a step's bars are written, no prediction was asked for",
    "step.predicted": "the predictions are written, nothing is decided",
    "step.decided": "all decisions of the step are written, no order was sent",
    "step.done": "every order of the step was sent or blocked",
    "order.checked": "risk let an order pass, it is not written",
    "order.written": "an order is durable in the journal, not a byte has left",
    "order.replied": "the broker's reply is here, none of its events is written",
    "order.applied": "the reply's events are written and applied",
    "order.unknown": "the reply was lost and the order is written as unknown",
    "cancel.written": "a cancellation is durable, not a byte has left",
    "cancel.replied": "the reply to a cancellation is here, none of its events is written",
    "amend.written": "an amendment is durable, not a byte has left",
    "amend.replied": "the reply to an amendment is here, none of its events is written",
    "event.written": "an event of the broker is in the journal's buffer and applied",
    "catch_up.fetched": "missed transactions were fetched, none is written",
    "catch_up.applied": "missed transactions are applied, the watermark is not written",
    "plan.started": "an execution plan is durable, none of its orders was sent",
    "plan.ended": "the end of an execution plan is written",
    "kill_switch.written": "the kill switch is durable in the journal, nothing is cancelled",
    "kill_switch.cancelled": "open orders are cancelled, no position is flattened",
    "reconcile.compared": "differences were found, none is written",
    "journal.buffered": "a durable entry is in the buffer, not written",
    "journal.written": "a durable entry is written, not synchronised",
    "journal.rotated": "a new segment was made, nothing is in it",
    "ledger.before_commit": "a batch of rows is in an open transaction",
    "ledger.committed": "a batch of rows and its watermark are committed",
    "features.saved": "a snapshot of the features is on disk, no record names it",
    "approval.in_transaction": "a reviewer's decision and that it was read are in an open transaction",
    "approval.recorded": "a reviewer's decision is in the ledger, the registry's page does not say so",
    "features.replaced": "a snapshot's record is written and older snapshots are gone",
    "rollback.intended": "the intent of a rollback is on disk, nothing is barred and the policy is as it was",
    "rollback.barred": "what is taken back is barred, the policy is as it was",
    "rollback.policy_written": "the policy is written, the rollback's record does not say so",
    "rollback.in_force": "the record of a rollback says that the policy is written, no other step is done",
    "rollback.step_done": "a later step of a rollback has had its effect, the record does not say so",
    "rollback.step_written": "the record of a rollback holds one more step",
    "release.in_transaction": "a transition of a release is written in an open transaction",
    "release.committed": "a write to the ledger of releases is committed, no effect of it is done",
    "release.package_stored": "the package of a release is in the store, no policy names it",
    "release.policy_set": "the policy is as a release wants it, the registry is as before",
    "release.alias_set": "the aliases are as a release wants them, its tags are as before",
    "release.tags_set": "policy and registry are as a release wants them, the ledger does not say so",
    "release.bento_built": "the Bento of a promoted version is built, the ledger does not name it",
}

# What a trading session passes; the others belong to the release of a version.
TRADER_POINTS: tuple[str, ...] = tuple(
    name for name in CRASH_POINTS if name.partition(".")[0] not in ("approval", "release", "rollback")
)


class _Armed:
    """The place and how often it may still be passed."""

    def __init__(self, value: str) -> None:
        name, _, count = value.partition(":")
        self.name = name if name in CRASH_POINTS else ""
        self.left = int(count) if count.isdigit() else 1


_armed: _Armed | None = _Armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def arm(value: str) -> None:
    """Arm this process as the environment variable would; empty disarms. For a process that is forked, not started.

    Raises:
        KeyError: there is no such place.
    """
    global _armed
    if not value:
        _armed = None
        return
    name = value.partition(":")[0]
    if name not in CRASH_POINTS:
        raise KeyError(f"{name} is no crash point: the list is CRASH_POINTS")
    _armed = _Armed(value)


def reach(name: str) -> None:
    """Pass a place; die there if a drill asked for it."""
    if _armed is not None:
        _strike(_armed, name)


def _strike(armed: _Armed, name: str) -> None:
    if name not in CRASH_POINTS:
        raise KeyError(f"{name} is no crash point: add it to CRASH_POINTS")
    if name == armed.name:
        armed.left -= 1
        if armed.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
