"""Take a version back: who answers instead is on disk before anything else is asked, then the rest follows.

Up to the policy nothing but files is needed: neither database nor registry nor a running replica. What else has to be
written (ledgers, registry, report) is done by ``rollback_completion``, now or when the others are back. Every step can
be repeated: a process that is killed at any place leaves an intent that ``finish`` carries on with.
"""

import fcntl
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from core.clock import Clock
from core.crash_points import reach
from core.errors import BadInputError, IntegrityError, RefusedError
from core.logging import get_logger
from serving.release.approval import Approval
from serving.release.bars import Bar, add_bars, read_bars
from serving.release.findings import Trigger
from serving.release.rollback_record import Positions, RollbackRecord, StepName, read_intent, write_record
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Arm, Traffic

FLAT = "flat"
_ATTEMPTS = 8  # somebody else moves the policy at the same moment; bars let nobody win twice
_log = get_logger("serving")


class Way(msgspec.Struct, frozen=True):
    """Where a rollback leads: the approval that answers from now on (None: nobody), and what is barred."""

    target: Approval | None
    barred: tuple[Approval, ...]


def roll_back(
    store: ModelStore,
    strategy: str,
    trigger: Trigger,
    *,
    actor: str,
    clock: Clock,
    positions: Positions = Positions.KEEP,
    to: str | None = None,
    version: str = "",
    revision: int | None = None,
    answering: Sequence[dict[str, Any]] = (),
) -> RollbackRecord:
    """Take back what the trigger names; return the record with the policy in force.

    Args:
        store: the models of this machine.
        strategy: whose policy.
        trigger: why. Its arm says what is taken back: the challenger, or the champion (and with it a challenger, whose
            tests were against that champion). An empty arm: the challenger where there is one, else the champion.
        actor: who asks.
        clock: of the machine.
        positions: what becomes of open positions; carried out by the completion.
        to: a version that was champion before, or ``flat``; None takes the newest champion before that still
            verifies, or nobody.
        version: that the trigger's figures are of; another one in its place by now is left alone. Empty: any.
        revision: of the policy that somebody looked at when they decided; None: whatever is there.
        answering: figures of the arms at this moment, for the report.

    Raises:
        BadInputError: nothing was ever published for the strategy.
        RefusedError: there is nothing to take back, ``to`` cannot answer, or the policy moved meanwhile.
        IntegrityError: the policy on disk is damaged.
    """
    folder = strategy_folder(store, strategy)
    with _locked(folder):
        interrupted = read_intent(folder)
        if interrupted is not None:
            _enforce(store, folder, interrupted, clock)
        before = store.pointer(strategy)
        if before is None:
            raise BadInputError(f"nothing was ever published for strategy {strategy}: there is nothing to roll back")
        if revision is not None and before.revision != revision:
            raise RefusedError(
                f"the policy of {strategy} is at revision {before.revision} by now, this was decided on {revision}: "
                "look at it again"
            )
        way = find_way(store, before, trigger.arm, to=to, version=version)
        now, rollback_id = clock.time_ns(), f"{before.revision:06d}"
        record = RollbackRecord(
            rollback_id=rollback_id,
            strategy=strategy,
            trigger=trigger,
            actor=actor,
            time_ns=now,
            before=before,
            target=way.target,
            flat="" if way.target is not None else trigger.words,
            bars=tuple(
                Bar.of(approval, rollback_id=rollback_id, time_ns=now, reason=trigger.words) for approval in way.barred
            ),
            positions=positions,
            answering=tuple(answering),
        )
        write_record(folder, record)
        reach("rollback.intended")
        return _enforce(store, folder, record, clock)


def finish(store: ModelStore, strategy: str, clock: Clock) -> RollbackRecord | None:
    """Put a rollback into force whose process was killed before the policy was written; None where there is none.

    Raises:
        RefusedError, IntegrityError: as ``roll_back``.
    """
    folder = strategy_folder(store, strategy)
    if read_intent(folder) is None:
        return None
    with _locked(folder):
        record = read_intent(folder)
        return None if record is None else _enforce(store, folder, record, clock)


def find_way(store: ModelStore, before: Pointer, arm: str, *, to: str | None = None, version: str = "") -> Way:
    """Say where a rollback of a policy leads; nothing is written. See ``roll_back`` for arguments and errors."""
    strategy = before.strategy
    champion = before.approval if not before.flat else None
    challenger = before.challenger.approval if before.challenger is not None and champion is not None else None
    carried = tuple(approval for approval in (champion, challenger) if approval is not None)
    if not carried:
        raise RefusedError(f"strategy {strategy} is flat already ({before.flat}): there is nothing to roll back")
    if to == FLAT:
        return Way(None, carried)
    if to is not None:
        target = _champion_before(store, before, version=to)
        barred = tuple(approval for approval in carried if approval.hash != target.hash)
        if not barred:
            raise RefusedError(f"version {to} of {strategy} answers everything already: there is nothing to roll back")
        return Way(target, barred)
    of_challenger = challenger is not None and arm != Arm.CHAMPION
    if arm and arm != Arm.CHAMPION and challenger is None:
        raise RefusedError(f"strategy {strategy} has no challenger (revision {before.revision}): it was taken back")
    present = challenger if of_challenger else champion
    if version and (present is None or present.version != version):
        raise RefusedError(
            f"version {version} of {strategy} is not {arm or 'there'} any more (revision {before.revision}): "
            "there is nothing to take back"
        )
    if of_challenger and challenger is not None:
        return Way(champion, (challenger,))
    return Way(_previous_champion(store, before), carried)


def strategy_folder(store: ModelStore, strategy: str) -> Path:
    """Return where policy and rollbacks of a strategy lie.

    Raises:
        BadInputError: the name cannot be a folder name.
    """
    return store.package_folder(strategy, "any").parents[1]


def _enforce(store: ModelStore, folder: Path, record: RollbackRecord, clock: Clock) -> RollbackRecord:
    """Bar, then write the policy, then note both."""
    add_bars(folder, record.bars)
    reach("rollback.barred")
    pointer, words = _write_policy(store, record)
    reach("rollback.policy_written")
    now, target = clock.time_ns(), pointer.approval if not pointer.flat else None
    barred = ", ".join(f"version {bar.version} (approval {bar.approval_sequence})" for bar in record.bars)
    record = record.with_step(StepName.BARS, now, f"barred until a new approval: {barred}")
    changes = {"revision": pointer.revision, "target": target, "flat": pointer.flat}
    record = record.with_step(StepName.POLICY, now, words, **changes)
    write_record(folder, record)
    reach("rollback.in_force")
    _log.error(
        "rolled back",
        strategy=record.strategy,
        rollback=record.rollback_id,
        taken_back=record.taken_back,
        target=record.target_words,
        revision=record.revision,
        trigger=record.trigger.kind.value,
        reason=record.trigger.words,
        actor=record.actor,
    )
    return record


def _write_policy(store: ModelStore, record: RollbackRecord) -> tuple[Pointer, str]:
    """Write the policy unless nothing of what is barred has traffic any more: then it is written already."""
    barred = {bar.approval_hash for bar in record.bars}
    trouble, target, flat = "", record.target, record.flat
    for _ in range(_ATTEMPTS):
        standing = store.pointer(record.strategy)
        if standing is None:
            raise IntegrityError(f"the policy of {record.strategy} is gone; publish a version")
        if barred.isdisjoint(_carried(standing)):
            who = "nobody" if standing.flat else f"version {standing.version}"
            return standing, f"{who} answers since revision {standing.revision}"
        try:
            pointer = store.set_policy(
                record.strategy,
                champion=target,
                challenger=None,
                traffic=Traffic(),
                flat=flat,
                expected_revision=standing.revision,
            )
        except RefusedError as error:
            trouble = error.message
            moved = store.pointer(record.strategy)
            if moved is not None and moved.revision == standing.revision:
                # Nobody else was quicker: what should answer cannot. Nobody answering is what is left.
                target, flat = None, f"{record.trigger.words}; {trouble}"
            continue
        who = "nobody" if pointer.flat else f"version {pointer.version}"
        return pointer, f"{who} answers since revision {pointer.revision}{f' ({trouble})' if trouble else ''}"
    raise RefusedError(f"the policy of {record.strategy} could not be written: {trouble}; `tidegate rollback` again")


def _carried(pointer: Pointer) -> set[str]:
    """The hashes of the approvals that a policy gives traffic to."""
    return set() if pointer.flat else {standing.approval.hash for standing in pointer.standings}


def _previous_champion(store: ModelStore, before: Pointer) -> Approval | None:
    """The newest champion before this one that is another model, is not barred and still verifies."""
    barred = {bar.approval_hash for bar in read_bars(strategy_folder(store, before.strategy))}
    tried = {before.evidence_digest}
    for pointer, approval in _history(store, before):
        if approval.evidence_digest in tried or approval.hash in barred:
            continue
        tried.add(approval.evidence_digest)
        if _verifies(store, pointer):
            return approval
    return None


def _verifies(store: ModelStore, pointer: Pointer) -> bool:
    """Whether the champion of a policy can be loaded: a version that cannot answer takes nobody's place."""
    try:
        store.load(pointer)
    except (IntegrityError, OSError) as error:
        _log.error("champion before is not verified: not gone back to", version=pointer.version, words=str(error))
        return False
    return True


def _champion_before(store: ModelStore, before: Pointer, *, version: str) -> Approval:
    """The newest approval under which a version was champion here.

    Raises:
        RefusedError: it never was, it is barred, or its package no longer verifies.
    """
    barred = {bar.approval_hash for bar in read_bars(strategy_folder(store, before.strategy))}
    present = [(before, before.approval)] if before.approval is not None and not before.flat else []
    found = [(pointer, approval) for pointer, approval in (*present, *_history(store, before))]
    found = [(pointer, approval) for pointer, approval in found if approval.version == version]
    if not found:
        raise RefusedError(
            f"version {version} was never champion of {before.strategy} on this machine: a version gets there with "
            f"`tidegate promote {version}`"
        )
    free = [(pointer, approval) for pointer, approval in found if approval.hash not in barred]
    if not free:
        raise RefusedError(
            f"version {version} of {before.strategy} was rolled back and stays barred until somebody approves it anew"
        )
    pointer, approval = free[0]
    if pointer.revision != before.revision and not _verifies(store, pointer):
        raise RefusedError(f"version {version} of {before.strategy} no longer verifies: its package was changed")
    return approval


def _history(store: ModelStore, before: Pointer) -> Generator[tuple[Pointer, Approval]]:
    """The policies before one that had a champion, newest first, with its approval; damaged ones are passed over."""
    for revision in range(before.revision - 1, 0, -1):
        try:
            pointer = store.policy_at(before.strategy, revision)
        except IntegrityError as error:
            _log.error("policy of the history cannot be read", revision=revision, words=error.message)
            continue
        if pointer is not None and pointer.approval is not None and not pointer.flat:
            yield pointer, pointer.approval


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """One rollback of a strategy at a time, whoever asks."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".rollback-lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
