"""What follows a rollback that is in force: positions, notification, check, ledgers, registry, report.

Each step is an action that may be repeated and says in words what came of it. One that cannot be done now (a server is
away) keeps none of the others waiting; ``resume_rollbacks`` does it later, in this process or in another.
"""

import fcntl
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.clock import Clock
from core.crash_points import reach
from core.errors import TidegateError
from core.logging import get_logger
from serving.release.rollback import finish, strategy_folder
from serving.release.rollback_record import RollbackRecord, StepName, read_records, write_record
from serving.store import ModelStore

Action = Callable[[RollbackRecord], str]
_log = get_logger("serving")


def complete(
    store: ModelStore, record: RollbackRecord, actions: Mapping[StepName, Action], clock: Clock
) -> RollbackRecord:
    """Do what is left of a rollback and return its record; what cannot be done now stays pending.

    The report is asked for every time (it knows whether it is of this record), first before the registry, which may
    keep it waiting; it is done once nothing else is left.

    Args:
        store: the models of this machine.
        record: a rollback in force.
        actions: for each step after the policy; one that is missing here is left to another process.
        clock: of the machine.
    """
    folder = strategy_folder(store, record.strategy)
    with _locked(folder):
        record = _newest(folder, record)  # another process may have done some of it
        for name in (name for name in record.pending if name is not StepName.REPORT):
            if name is StepName.REGISTRY and StepName.REPORT in actions:
                _attempt(actions[StepName.REPORT], StepName.REPORT, record)
            words = _attempt(actions.get(name), name, record)
            if words is not None:
                record = _note(folder, record.with_step(name, clock.time_ns(), words))
        if StepName.REPORT in record.pending:
            words = _attempt(actions.get(StepName.REPORT), StepName.REPORT, record)
            if words is not None and record.pending == (StepName.REPORT,):
                record = _note(folder, record.with_step(StepName.REPORT, clock.time_ns(), words))
        return record


def resume_rollbacks(store: ModelStore, actions: Mapping[StepName, Action], clock: Clock) -> list[RollbackRecord]:
    """Carry on with every rollback of this machine that is not complete; return how far each is now.

    A damaged record of one strategy keeps no other waiting; it is logged.
    """
    found: list[RollbackRecord] = []
    for strategy in store.strategies():
        try:
            finish(store, strategy, clock)
            for record in read_records(strategy_folder(store, strategy)):
                if record.pending:
                    found.append(complete(store, record, actions, clock))
        except (TidegateError, OSError) as error:
            _log.error("rollback cannot be carried on", strategy=strategy, words=str(error))
    return found


def _attempt(action: Action | None, name: StepName, record: RollbackRecord) -> str | None:
    """Return what came of a step; None where it could not be done now."""
    if action is None:
        return None
    try:
        words = action(record)
    except (TidegateError, OSError) as error:
        _log.warning("rollback step later", step=name.value, rollback=record.rollback_id, words=str(error))
        return None
    reach("rollback.step_done")
    return words


def _note(folder: Path, record: RollbackRecord) -> RollbackRecord:
    write_record(folder, record)
    reach("rollback.step_written")
    return record


def _newest(folder: Path, record: RollbackRecord) -> RollbackRecord:
    return next((found for found in read_records(folder) if found.rollback_id == record.rollback_id), record)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """One process completes a strategy's rollbacks at a time. Its own lock: no rollback waits for it."""
    handle = os.open(folder / ".completion-lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
