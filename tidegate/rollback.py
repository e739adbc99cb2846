"""Rollback wired together: what each step of it does on this machine, for the command line and the release service."""

import getpass
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from core.clock import NANOSECONDS, Clock, LiveClock, to_rfc3339
from core.database import create_engine, migrate
from core.errors import RefusedError, UnavailableError, UsageError
from core.params import read_params
from core.settings import Settings
from serving.release.approvals import ApprovalLedger
from serving.release.arm_figures import plain
from serving.release.cooldown import cool_down
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.notifications import NotificationSink
from serving.release.releases import Releases
from serving.release.rollback import FLAT, roll_back, strategy_folder
from serving.release.rollback_completion import Action, complete
from serving.release.rollback_record import Positions, RollbackRecord, StepName, read_records
from serving.release.rollback_steps import (
    approvals_action,
    check_action,
    notification_action,
    registry_action,
    release_action,
)
from serving.release.triggers import RollbackParameters
from serving.store import ModelStore
from serving.traffic.statistics import read_replicas, read_statistics
from tidegate.rollback_positions import positions_action

# What needs neither database nor registry, and waits for neither.
AT_ONCE = (StepName.POSITIONS, StepName.NOTIFICATION, StepName.CHECK)
CHECK_SECONDS = 10.0  # a replica looks for a new policy several times a second; after so long it is stuck


class Database:
    """An engine that is made when it is first needed, so that a rollback does not wait for a database.

    Args:
        url: gives the address at that moment; empty: there is none.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._engine: sa.Engine | None = None
        self._making = threading.Lock()  # several threads begin at once, one migrates

    def engine(self) -> sa.Engine:
        """Return the engine, with the tables up to date.

        Raises:
            UnavailableError: there is no database, or it does not answer.
        """
        with self._making:
            if self._engine is None:
                url = self._url()
                if not url:
                    raise UnavailableError("no database runs: `tidegate up`, or set TIDEGATE_DATABASE__URL")
                engine = create_engine(url, connect_timeout_seconds=2)
                try:
                    migrate(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def close(self) -> None:
        """Close the connections."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def rollback_parameters(workspace: Path) -> RollbackParameters:
    """Read the section ``rollback`` of a workspace's params.yaml.

    Raises:
        BadInputError: there is no params.yaml, or a value in it cannot be used.
    """
    return RollbackParameters.read(read_params(workspace / "params.yaml"))


def answering(state: Path, strategy: str) -> dict[str, int]:
    """The policy revision each living replica carries out."""
    return {f"replica {replica.pid}": replica.revisions.get(strategy, 0) for replica in read_replicas(state)}


def actions(settings: Settings, database: Database, clock: Clock) -> Mapping[StepName, Action]:
    """Return what each later step does on this machine. ``settings`` name the registry and the state directory."""
    from tidegate.release_report.rollback import report_action, report_path

    state = settings.state

    def link(record: RollbackRecord) -> str:
        return report_path(state, record).as_uri()

    return {
        StepName.POSITIONS: positions_action(settings),
        StepName.NOTIFICATION: notification_action(NotificationSink(state, settings.release.webhook_url), link),
        StepName.CHECK: check_action(lambda strategy: answering(state, strategy), CHECK_SECONDS, clock.time_ns),
        StepName.APPROVALS: approvals_action(lambda: ApprovalLedger(database.engine(), clock)),
        StepName.RELEASE: release_action(lambda: Releases(database.engine(), clock)),
        StepName.REGISTRY: registry_action(settings),
        StepName.REPORT: report_action(state),
    }


def by_hand(
    settings: Settings,
    strategy: str,
    *,
    reason: str,
    parameters: RollbackParameters,
    to: str | None = None,
    positions: str | None = None,
    by: str | None = None,
    clock: Clock | None = None,
) -> RollbackRecord:
    """Take back what answers for a strategy because a person says so; return the record with the policy in force.

    Right after another rollback it must be said where to: the second press of a button would take back the version
    that the first one restored.

    Raises:
        UsageError: no reason, or no such way with the positions.
        RefusedError, BadInputError, IntegrityError: as ``roll_back``; also within the cool-down without ``to``.
    """
    if not reason.strip():
        raise UsageError("a rollback needs a reason: it is kept in the ledger")
    if positions is not None and positions not in set(Positions):
        raise UsageError(f"no way {positions!r} with positions: choose one of {', '.join(Positions)}")
    time = clock or LiveClock()
    store = ModelStore(settings.state / "serving")
    now, seen = time.time_ns(), store.pointer(strategy)
    recent = cool_down(strategy_folder(store, strategy), parameters.cool_down_seconds)
    if to is None and recent.active(now):
        seconds = parameters.cool_down_seconds - recent.seconds_left(now)
        raise RefusedError(
            f"{strategy} was rolled back {seconds:.0f} s ago (rollback {recent.rollback_id}): to go back further say "
            f"where to, with --to VERSION or --to {FLAT}"
        )
    who = by or getpass.getuser()
    trigger = Trigger(
        kind=TriggerKind.MANUAL,
        severity=Severity.CRITICAL,
        strategy=strategy,
        arm="",
        value=None,
        limit=None,
        time_ns=now,
        words=f"{who}: {reason.strip()}",
    )
    return roll_back(
        store,
        strategy,
        trigger,
        actor=who,
        clock=time,
        positions=Positions(positions) if positions is not None else parameters.positions,
        to=to,
        # Of two presses at one moment the second finds another policy than the one it was meant for.
        revision=seen.revision if seen is not None and to is None else None,
        answering=plain(read_statistics(settings.state), strategy),
    )


def completed(
    settings: Settings, record: RollbackRecord, database: Database, only: Collection[StepName] = tuple(StepName)
) -> RollbackRecord:
    """Do what can be done now of the steps after the policy, or of some of them."""
    clock = LiveClock()
    chosen = {name: action for name, action in actions(settings, database, clock).items() if name in only}
    return complete(ModelStore(settings.state / "serving"), record, chosen, clock)


def described(record: RollbackRecord, state: Path) -> dict[str, Any]:
    """Return a rollback as one JSON object for the command line and the button."""
    from tidegate.release_report.rollback import report_path

    report = report_path(state, record)
    return {
        "rollback": record.rollback_id,
        "strategy": record.strategy,
        "time": to_rfc3339(record.time_ns),
        "actor": record.actor,
        "trigger": msgspec.to_builtins(record.trigger),
        "taken_back": list(record.taken_back),
        "target": record.target.version if record.target is not None else None,
        "flat": record.flat,
        "revision": record.revision,
        "positions": record.positions.value,
        "seconds": {
            step.name.value: round((step.time_ns - record.trigger.time_ns) / NANOSECONDS, 3) for step in record.steps
        },
        "steps": {step.name.value: step.words for step in record.steps},
        "pending": [name.value for name in record.pending],
        "report": str(report) if report.exists() else None,
    }


def listed(settings: Settings, strategy: str | None) -> list[dict[str, Any]]:
    """Return the rollbacks of this machine, of one strategy or of all, newest first.

    Raises:
        IntegrityError: a record is damaged.
    """
    store = ModelStore(settings.state / "serving")
    found = [
        record
        for name in ([strategy] if strategy else store.strategies())
        for record in read_records(strategy_folder(store, name))
    ]
    return [
        {
            "strategy": record.strategy,
            "rollback": record.rollback_id,
            "time": to_rfc3339(record.time_ns)[:19] + "Z",
            "trigger": record.trigger.kind.value,
            "words": record.trigger.words,
            "taken_back": ", ".join(record.taken_back),
            "target": record.target.version if record.target is not None else FLAT,
            "actor": record.actor,
            "pending": ", ".join(record.pending),
        }
        for record in sorted(found, key=lambda record: (record.time_ns, record.rollback_id), reverse=True)
    ]
