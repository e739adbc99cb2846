"""Look at a ledger: what it holds of each session, how far behind the journal it is, and whether both agree."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from core.errors import BadInputError, IntegrityError
from core.journal import read_entries
from trading.ledger import tables
from trading.ledger.rows import Batch, Projection

_PLACES = Decimal("1E-10")  # of NUMERIC(30, 10)
EXAMPLES = 5


class TableDifference(msgspec.Struct, frozen=True):
    """How the rows of one table differ from those the journal makes. ``examples`` are keys and columns."""

    table: str
    missing: int
    unexpected: int
    different: int
    examples: tuple[str, ...]


class SessionLedger(msgspec.Struct, frozen=True):
    """One session in the ledger.

    Attributes:
        rows: by table.
        watermark: everything up to this journal entry is in the tables.
        journal: last entry of the journal; None where it is not on this machine.
        lag: entries of the journal that are not in the ledger.
        differences: of the tables that do not hold what the journal makes; None where that was not looked at.
    """

    session_id: str
    rows: dict[str, int]
    watermark: int
    journal: int | None
    lag: int | None
    differences: tuple[TableDifference, ...] | None = None


def sessions_of(engine: sa.Engine) -> list[str]:
    """Return the sessions with a watermark, sorted."""
    with engine.connect() as connection:
        found = connection.execute(sa.select(tables.watermarks.c.session_id)).scalars()
        return sorted(str(name) for name in found)


def inspect(engine: sa.Engine, session_id: str, directory: Path | None, verify: bool) -> SessionLedger:
    """Return what the ledger holds of a session.

    Args:
        engine: of the ledger, migrated. The trader may go on writing: one snapshot is looked at.
        session_id: names the rows.
        directory: of its journal; None where it is not here.
        verify: make the rows anew in memory and compare.

    Raises:
        BadInputError: ``verify`` without a journal.
        IntegrityError: the journal is damaged, or ends before the watermark.
    """
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        else:
            connection.exec_driver_sql("BEGIN")  # sqlite3 begins none by itself before a SELECT
        found = connection.execute(
            sa.select(tables.watermarks.c.sequence).where(tables.watermarks.c.session_id == session_id)
        ).scalar_one_or_none()
        watermark = int(found or 0)
        present = {
            str(table.name): {
                tuple(row[column.name] for column in table.primary_key): dict(row)
                for row in connection.execute(sa.select(table).where(table.c.session_id == session_id)).mappings()
            }
            for table in tables.PROJECTED
        }
    last = None if directory is None else _last_entry(directory)
    if last is not None and last < watermark:
        raise IntegrityError(
            f"journal {directory} ends at entry {last}, the ledger at {watermark}: restore the journal"
        )
    differences = None
    if verify:
        if directory is None:
            raise BadInputError(
                f"the journal of session {session_id} is not on this machine: there is nothing to compare"
            )
        differences = _compare(present, _rows(directory, session_id, watermark))
    return SessionLedger(
        session_id=session_id,
        rows={name: len(rows) for name, rows in present.items()},
        watermark=watermark,
        journal=last,
        lag=None if last is None else last - watermark,
        differences=differences,
    )


def _last_entry(directory: Path) -> int:
    last = 0
    for entry in read_entries(directory):
        last = entry.sequence
    return last


def _rows(directory: Path, session_id: str, last: int) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
    """Return the rows that the journal makes up to an entry, by table and key."""
    projection, batch = Projection(session_id), Batch(session_id)
    expected = 1
    for entry in read_entries(directory, last=last):
        if entry.sequence != expected:
            raise IntegrityError(f"journal {directory} begins with entry {entry.sequence}: its beginning is gone")
        projection.fold(entry, batch)
        expected += 1
    return batch.rows


def _compare(present: dict[str, Any], expected: dict[str, Any]) -> tuple[TableDifference, ...]:
    found: list[TableDifference] = []
    for name in sorted(expected):
        have, want = present[name], expected[name]
        missing = sorted(want.keys() - have.keys())
        unexpected = sorted(have.keys() - want.keys())
        examples = [f"{key[1:]} is missing" for key in missing[:EXAMPLES]]
        examples += [f"{key[1:]} is not in the journal" for key in unexpected[:EXAMPLES]]
        different = 0
        for key in sorted(want.keys() & have.keys()):
            columns = [column for column in want[key] if not _equal(want[key][column], have[key][column])]
            different += bool(columns)
            if columns and different <= EXAMPLES:
                column = columns[0]
                examples.append(f"{key[1:]} has {column} {have[key][column]}, the journal {want[key][column]}")
        if missing or unexpected or different:
            found.append(TableDifference(name, len(missing), len(unexpected), different, tuple(examples)))
    return tuple(found)


def _equal(ours: Any, stored: Any) -> bool:
    """Equal as the database keeps it: a decimal has ten places there."""
    if isinstance(stored, Decimal) and isinstance(ours, Decimal | int | float):
        return abs(Decimal(str(ours)) - stored) < _PLACES
    return bool(ours == stored)
