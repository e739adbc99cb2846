"""Alerts of the release watch, each once: a hash-chained table of what was raised and what went away again.

A watch that looks every second finds the same disagreement every second. Here it is raised when it is first found and
cleared when it is no longer found; a thing that only happened (a refused attempt) is raised and never cleared. The
key says what is the same: raised again after it was cleared, it is a new alert.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.clock import Clock, LiveClock
from core.database.transactions import away, lock_for_writing
from core.digest import digest_value
from core.errors import IntegrityError, UnavailableError
from core.logging import get_logger
from serving.release.review_tables import alerts_table

GENESIS = "0" * 64
_log = get_logger("serving")


class Event(StrEnum):
    """What a record says of an alert."""

    RAISED = "raised"
    CLEARED = "cleared"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Something to be alerted: what is wrong, with what, in words. ``key`` tells it from others of its kind."""

    problem: str
    strategy: str
    model_name: str
    version: str
    key: str
    words: str


class AlertRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record of the table."""

    sequence: int
    time_ns: int
    event: Event
    problem: str
    strategy: str
    model_name: str
    version: str
    key: str
    words: str
    previous_hash: str
    hash: str = ""

    def computed_hash(self) -> str:
        """Return the hash that this record must carry."""
        fields = cast(dict[str, Any], msgspec.to_builtins(self))
        return digest_value({name: value for name, value in fields.items() if name != "hash"})


class AlertLedger:
    """Raise, clear and list. The table comes from the migration branch ``approvals``."""

    def __init__(self, engine: sa.Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or LiveClock()

    def happened(self, *found: Found) -> list[AlertRecord]:
        """Raise what has happened, each key once for ever; return what is new.

        Raises:
            UnavailableError: the database does not answer.
        """
        return self._write(lambda records: [(Event.RAISED, f) for f in found if not _any(records, f.key)])

    def lasting(self, scope: Iterable[tuple[str, str]], found: Iterable[Found]) -> list[AlertRecord]:
        """Raise what was found and was not there before, clear what is gone; return what is new.

        Args:
            scope: problems and strategies that were looked at; of others nothing is cleared.
            found: what was found of them.

        Raises:
            UnavailableError: the database does not answer.
        """
        looked, present = frozenset(scope), {f.key: f for f in found}

        def changes(records: list[AlertRecord]) -> list[tuple[Event, Found]]:
            open_now = {record.key: record for record in _open(records) if (record.problem, record.strategy) in looked}
            raised = [(Event.RAISED, f) for key, f in present.items() if key not in open_now]
            gone = [record for key, record in open_now.items() if key not in present]
            return raised + [(Event.CLEARED, _found(record)) for record in gone]

        return self._write(changes)

    def records(self) -> list[AlertRecord]:
        """Return all records, oldest first, checked.

        Raises:
            IntegrityError: the chain is broken; the message names the first bad record.
            UnavailableError: the database does not answer.
        """
        try:
            with self._engine.connect() as connection:
                records = _read(connection)
        except SQLAlchemyError as error:
            raise _unavailable(error) from error
        previous = GENESIS
        for position, record in enumerate(records, start=1):
            if (record.sequence, record.previous_hash, record.hash) != (position, previous, record.computed_hash()):
                raise IntegrityError(f"the release alerts were edited: record {position} does not hold")
            previous = record.hash
        return records

    def open(self) -> list[AlertRecord]:
        """Return the alerts that were raised and not cleared, oldest first.

        Raises:
            IntegrityError, UnavailableError: as ``records``.
        """
        return _open(self.records())

    def _write(self, changes: Any) -> list[AlertRecord]:
        try:
            with self._engine.connect() as connection:
                # Nearly always there is nothing to write, and then nothing is locked.
                if not changes(_read(connection)):
                    return []
                connection.rollback()
                lock_for_writing(connection, alerts_table)
                records, written = _read(connection), list[AlertRecord]()
                for event, found in cast(list[tuple[Event, Found]], changes(records)):
                    last = written[-1] if written else records[-1] if records else None
                    draft = AlertRecord(
                        sequence=last.sequence + 1 if last else 1,
                        time_ns=self._clock.time_ns(),
                        event=event,
                        previous_hash=last.hash if last else GENESIS,
                        **msgspec.structs.asdict(found),
                    )
                    record = msgspec.structs.replace(draft, hash=draft.computed_hash())
                    connection.execute(alerts_table.insert().values(**msgspec.structs.asdict(record)))
                    written.append(record)
                connection.commit()
        except SQLAlchemyError as error:
            raise _unavailable(error) from error
        for record in written:
            tell = _log.error if record.event is Event.RAISED else _log.info
            tell(
                f"release alert {record.event.value}",
                problem=record.problem,
                model=record.model_name,
                version=record.version,
                words=record.words,
            )
        return written


def _read(connection: sa.Connection) -> list[AlertRecord]:
    columns = [alerts_table.c[name] for name in AlertRecord.__struct_fields__]
    rows = connection.execute(sa.select(*columns).order_by(alerts_table.c.sequence))
    return [msgspec.convert(dict(zip(AlertRecord.__struct_fields__, r, strict=True)), AlertRecord) for r in rows]


def _open(records: Iterable[AlertRecord]) -> list[AlertRecord]:
    standing: dict[str, AlertRecord] = {}
    for record in records:
        if record.event is Event.RAISED:
            standing[record.key] = record
        else:
            standing.pop(record.key, None)
    return list(standing.values())


def _any(records: Iterable[AlertRecord], key: str) -> bool:
    return any(record.key == key for record in records)


def _found(record: AlertRecord) -> Found:
    return Found(**{name: getattr(record, name) for name in Found.__struct_fields__})


def _unavailable(error: SQLAlchemyError) -> UnavailableError:
    return away("the release alerts cannot be written", error)
