"""The ledger of releases: every transition as a hash chain, and the releases they come to.

``release_transitions`` only grows. ``releases`` is what the transitions come to, kept beside them for two promises
that the database itself holds: one open release and one champion a strategy (unique places), and which transition's
effects are done. ``verify`` computes it again from the chain.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import orjson
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError as DuplicateError
from sqlalchemy.exc import SQLAlchemyError

from core.clock import Clock, LiveClock
from core.crash_points import reach
from core.database.transactions import away, lock_for_writing, of_one_moment
from core.digest import canonical_json
from core.errors import BadInputError, RefusedError, UnavailableError
from serving.release.approval import Approval
from serving.release.release_chain import GENESIS, broken, check_head, computed_hash, replay
from serving.release.release_tables import (
    head_table,
    read_head,
    read_records,
    read_releases,
    release_columns,
    releases_table,
    transitions_table,
)
from serving.release.states import (
    Cause,
    Release,
    ReleaseState,
    Transition,
    TransitionRecord,
    check_way,
    follow,
)

Result = TypeVar("Result")


class Releases:
    """Append to and read the ledger. The tables come from the migration branch ``releases``."""

    def __init__(self, engine: sa.Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or LiveClock()

    def open(
        self,
        *,
        strategy: str,
        version: str,
        model_digest: str,
        evidence_digest: str,
        policy: dict[str, Any],
        cause: Cause,
        reason: str,
        actor: str,
    ) -> Release:
        """Begin a release as a candidate and return it. ``policy`` is what it goes by from now on.

        Raises:
            BadInputError: no reason or nobody is named.
            RefusedError: a release of the version has not ended.
            IntegrityError: the chain is broken; nothing is written.
            UnavailableError: the database does not answer.
        """
        draft = Transition(to=ReleaseState.CANDIDATE, cause=cause, reason=reason, figures={"policy": policy})
        return self._begin(strategy, version, model_digest, evidence_digest, draft, actor)

    def reinstate(
        self, approval: Approval, *, reason: str, actor: str, figures: dict[str, Any] | None = None
    ) -> Release:
        """Record that a rollback gave an earlier champion its place back: a release that begins as the champion.

        A release of that version that is the champion already is returned as it is.

        Raises:
            RefusedError: another release still holds the champion's place: append its end first.
            BadInputError, IntegrityError, UnavailableError: as ``open``.
        """
        standing = self.champion(approval.strategy)
        if standing is not None and standing.model_digest == approval.model_digest:
            return standing
        draft = Transition(
            to=ReleaseState.CHAMPION,
            cause=Cause.ROLLBACK,
            reason=reason,
            figures=figures or {},
            approval=approval.sequence,
        )
        return self._begin(
            approval.strategy, approval.version, approval.model_digest, approval.evidence_digest, draft, actor
        )

    def append(self, release_id: str, transition: Transition, *, actor: str, expected: int | None = None) -> Release:
        """Write a transition of a release and return what it became.

        A new champion retires the one before it in the same transaction.

        Args:
            release_id: of the release.
            transition: where to.
            actor: who: a person's name, or ``tidegate``.
            expected: the release's ``sequence`` the decision was made on; None: whatever it is now.

        Raises:
            RefusedError: there is no such way (``serving.release.states``), the release moved meanwhile, or another
                release holds the strategy's place.
            BadInputError: there is no such release; no reason or nobody is named.
            IntegrityError: the chain is broken; nothing is written.
            UnavailableError: the database does not answer.
        """

        def write(connection: sa.Connection) -> Release:
            release = _release(connection, release_id)
            if expected is not None and release.sequence != expected:
                raise RefusedError(f"release {release_id} moved meanwhile: it is {release.words}; look again")
            check_way(release, transition)
            if transition.to is ReleaseState.CHAMPION and release.state is not ReleaseState.CHAMPION:
                self._retire_champion(connection, release, transition, actor)
            return self._write(connection, release, release, transition, actor)

        return self._transaction(write)

    def current(self, strategy: str) -> Release | None:
        """Return the open release of a strategy (approved, in shadow or in canary), None when there is none.

        Raises:
            UnavailableError: the database does not answer.
        """
        found = self._select(releases_table.c.open_place == strategy)
        return found[0] if found else None

    def champion(self, strategy: str) -> Release | None:
        """Return the release whose version is the champion; None also for a champion from before there were releases.

        Raises:
            UnavailableError: the database does not answer.
        """
        found = self._select(releases_table.c.champion_place == strategy)
        return found[0] if found else None

    def candidates(self, strategy: str) -> list[Release]:
        """Return the releases that wait for an approval, oldest first."""
        return self._select(releases_table.c.strategy == strategy, releases_table.c.state == "candidate")

    def releases(self, strategy: str | None = None) -> list[Release]:
        """Return all releases in the order of their last transition.

        Raises:
            UnavailableError: the database does not answer.
        """
        return self._select(*([releases_table.c.strategy == strategy] if strategy else []))

    def get(self, release_id: str) -> Release:
        """Return one release.

        Raises:
            BadInputError: there is no such release.
            UnavailableError: the database does not answer.
        """
        found = self._select(releases_table.c.release_id == release_id)
        if not found:
            raise BadInputError(_none(release_id))
        return found[0]

    def history(self, release_id: str) -> list[TransitionRecord]:
        """Return the transitions of a release, oldest first.

        Raises:
            BadInputError: there is no such release.
            UnavailableError: the database does not answer.
        """
        records = self._read(lambda c: read_records(c, transitions_table.c.release_id == release_id))
        if not records:
            raise BadInputError(_none(release_id))
        return records

    def records(self, strategy: str | None = None) -> list[TransitionRecord]:
        """Return all transitions, oldest first.

        Raises:
            UnavailableError: the database does not answer.
        """
        clauses = [transitions_table.c.strategy == strategy] if strategy else []
        return self._read(lambda c: read_records(c, *clauses))

    def unfinished(self, strategy: str | None = None) -> list[Release]:
        """Return the releases with a transition whose effects are not done, oldest first."""
        clauses = [releases_table.c.applied < releases_table.c.sequence]
        return self._select(*clauses, *([releases_table.c.strategy == strategy] if strategy else []))

    def effects_done(self, release: Release) -> None:
        """Note that the world is as this state of the release wants it. Later transitions stay unfinished."""

        def write(connection: sa.Connection) -> None:
            row = releases_table.c
            statement = releases_table.update().where(
                row.release_id == release.release_id, row.applied < release.sequence
            )
            connection.execute(statement.values(applied=release.sequence))

        self._transaction(write)

    def bento_built(self, release: Release, tag: str) -> None:
        """Note the Bento of a promoted version."""

        def write(connection: sa.Connection) -> None:
            statement = releases_table.update().where(releases_table.c.release_id == release.release_id)
            connection.execute(statement.values(bento=tag))

        self._transaction(write)

    def verify(self, known: Iterable[TransitionRecord] = ()) -> list[TransitionRecord]:
        """Check every record, the links, the head, every way taken, and the releases against them; return the records.

        ``known`` are records kept elsewhere, which must still be there unchanged.

        Raises:
            IntegrityError: something was edited, removed, inserted or reordered; the message names the first place.
            UnavailableError: the database does not answer.
        """

        def read(connection: sa.Connection) -> tuple[tuple[int, str] | None, list[TransitionRecord], list[Release]]:
            connection = of_one_moment(connection)
            head = read_head(connection)
            return head, read_records(connection), read_releases(connection)

        head, records, kept = self._read(read)
        replayed = replay(records)
        check_head(head, records[-1] if records else None)
        for record in known:
            if not (0 < record.sequence <= len(records) and records[record.sequence - 1] == record):
                raise broken(f"record {record.sequence} ({record.hash}) is known elsewhere and not in the ledger")
        for release in kept:
            expected = replayed.pop(release.release_id, None)
            if (
                expected is None
                or msgspec.structs.replace(expected, applied=release.applied, bento=release.bento) != release
            ):
                raise broken(f"release {release.release_id} is {release.words}, its transitions say otherwise")
        if replayed:
            raise broken(f"release {next(iter(replayed))} has transitions and is not there")
        return records

    def _begin(
        self, strategy: str, version: str, model_digest: str, evidence_digest: str, draft: Transition, actor: str
    ) -> Release:
        def write(connection: sa.Connection) -> Release:
            check_way(None, draft)
            earlier = read_releases(connection, releases_table.c.strategy == strategy)
            same = [release for release in earlier if release.version == version]
            for release in same:
                if release.open or release.state in (ReleaseState.CANDIDATE, ReleaseState.CHAMPION):
                    raise RefusedError(
                        f"version {version} of {strategy} has a release already: {release.release_id} is "
                        f"{release.words}; nothing was changed"
                    )
            fresh = Release(
                release_id=f"{strategy}.{version}.{len(same) + 1}",
                strategy=strategy,
                version=version,
                model_digest=model_digest,
                evidence_digest=evidence_digest,
                state=draft.to,
                opened_ns=0,
                entered_ns=0,
                policy={},
                number=0,
                sequence=0,
            )
            return self._write(connection, None, fresh, draft, actor)

        return self._transaction(write)

    def _retire_champion(
        self, connection: sa.Connection, successor: Release, transition: Transition, actor: str
    ) -> None:
        found = read_releases(connection, releases_table.c.champion_place == successor.strategy)
        if found:
            draft = Transition(
                to=ReleaseState.RETIRED,
                cause=transition.cause,
                reason=f"version {successor.version} took its place",
                figures={"successor": successor.release_id},
            )
            check_way(found[0], draft)
            self._write(connection, found[0], found[0], draft, actor)

    def _write(
        self, connection: sa.Connection, before: Release | None, identity: Release, transition: Transition, actor: str
    ) -> Release:
        """Write one record behind the head and what the release becomes. ``before`` is None for its first record."""
        if not actor.strip() or not transition.reason.strip():
            raise BadInputError("a transition of a release needs who and why: give both")
        head = read_head(connection)
        last = read_records(connection, order=transitions_table.c.sequence.desc(), limit=1)
        check_head(head, last[0] if last else None)
        draft = TransitionRecord(
            sequence=head[0] + 1 if head else 1,
            release_id=identity.release_id,
            number=identity.number + 1,
            strategy=identity.strategy,
            version=identity.version,
            model_digest=identity.model_digest,
            evidence_digest=identity.evidence_digest,
            before=str(before.state) if before else "",
            after=transition.to,
            step=transition.step,
            cause=transition.cause,
            reason=transition.reason,
            # Exactly what the database gives back, so that the hash of what is read is the hash of what was written.
            figures=orjson.loads(canonical_json(transition.figures)),
            approval=transition.approval,
            against=transition.against,
            market_ns=transition.market_ns,
            actor=actor,
            time_ns=self._clock.time_ns(),
            previous_hash=head[1] if head else GENESIS,
        )
        record = msgspec.structs.replace(draft, hash=computed_hash(draft))
        values = msgspec.to_builtins(record)
        connection.execute(
            transitions_table.insert().values({**values, "figures": canonical_json(record.figures).decode()})
        )
        release = follow(before, record)
        columns = release_columns(release)
        if before is None:
            connection.execute(releases_table.insert().values(**columns))
        else:
            of_it = releases_table.c.release_id == release.release_id
            connection.execute(releases_table.update().where(of_it).values(**columns))
        place = {"sequence": record.sequence, "hash": record.hash}
        connection.execute(head_table.update().values(**place) if head else head_table.insert().values(only=1, **place))
        reach("release.in_transaction")
        return release

    def _transaction(self, write: Callable[[sa.Connection], Result]) -> Result:
        """Run a write alone: PostgreSQL locks the head table, SQLite takes the write lock before it reads."""
        try:
            with self._engine.connect() as connection:
                lock_for_writing(connection, head_table)
                result = write(connection)
                connection.commit()
        except DuplicateError as error:
            raise RefusedError(
                "another release holds the place: a strategy has one open release and one champion at a time "
                "(`tidegate release list`); nothing was changed"
            ) from error
        except SQLAlchemyError as error:
            raise _unavailable(error) from error
        reach("release.committed")
        return result

    def _read(self, read: Callable[[sa.Connection], Result]) -> Result:
        try:
            with self._engine.connect() as connection:
                return read(connection)
        except SQLAlchemyError as error:
            raise _unavailable(error) from error

    def _select(self, *clauses: sa.ColumnElement[bool]) -> list[Release]:
        return self._read(lambda connection: read_releases(connection, *clauses))


def _release(connection: sa.Connection, release_id: str) -> Release:
    found = read_releases(connection, releases_table.c.release_id == release_id)
    if not found:
        raise BadInputError(_none(release_id))
    return found[0]


def _none(release_id: str) -> str:
    return f"there is no release {release_id}: `tidegate release list` lists what there is"


def _unavailable(error: SQLAlchemyError) -> UnavailableError:
    return away("release ledger does not answer", error)
