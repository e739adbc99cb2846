"""Write transactions of the trial ledger: one writer of a lineage at a time, repeated while the database is away.

Everything handed to ``write`` recognises its own earlier success, because a lost connection may hide a commit.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from core.errors import UnavailableError
from training.trials.tables import lineages

Result = TypeVar("Result")
_LOCK_SECONDS = 30  # longer than any honest holder; shorter than for ever behind a stopped process


def write(engine: sa.Engine, work: Callable[[sa.Connection], Result], patience_seconds: float) -> Result:
    """Run ``work`` in one write transaction and commit it; begin again while the database does not answer.

    Raises:
        UnavailableError: it did not answer for ``patience_seconds``, or cannot be written. Nothing may be concluded
            about the rows: whoever opens the ledger next finds what was committed.
    """
    deadline = time.monotonic() + patience_seconds
    pause = 0.05
    while True:
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
                result = work(connection)
                connection.commit()
                return result
        except SQLAlchemyError as error:
            if not _may_pass(error) or time.monotonic() + pause > deadline:
                raise unavailable(error, engine) from error
        time.sleep(pause)
        pause = min(2.0 * pause, 2.0)


@contextmanager
def reading(engine: sa.Engine) -> Generator[sa.Connection]:
    """Open a read transaction that sees one moment of the ledger.

    Raises:
        UnavailableError: the database does not answer.
    """
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
    except SQLAlchemyError as error:
        raise unavailable(error, engine) from error


def lock_lineage(connection: sa.Connection, lineage: str) -> sa.RowMapping:
    """Lock a lineage until the end of the transaction, making it when it is new; return its row."""
    insert = _insert_or_nothing(connection, lineages)
    connection.execute(insert, {"lineage": lineage, "last_sequence": 0, "closed": 0, "head_hash": "0" * 64})
    chosen = sa.select(lineages).where(lineages.c.lineage == lineage).with_for_update()
    return connection.execute(chosen).mappings().one()


def insert_new(connection: sa.Connection, table: sa.Table, row: dict[str, object]) -> None:
    """Insert a row unless its key is there."""
    connection.execute(_insert_or_nothing(connection, table), row)


def now_ns(connection: sa.Connection) -> int:
    """Return the time by the clock that all writers share: the server's, or on SQLite this machine's."""
    if connection.dialect.name == "sqlite":
        return time.time_ns()
    return int(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp()) * 1000000000")).scalar_one())


def unavailable(error: SQLAlchemyError, engine: sa.Engine) -> UnavailableError:
    """Return the one line about a database that cannot be written or read."""
    line = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    place = engine.url.render_as_string(hide_password=True)
    return UnavailableError(
        f"the trial ledger at {place} does not answer: {line}; trials are not run uncounted, so try again once it does"
    )


def _insert_or_nothing(connection: sa.Connection, table: sa.Table) -> sa.Executable:
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert

        return insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert as insert_postgresql

    return insert_postgresql(table).on_conflict_do_nothing()


def _may_pass(error: SQLAlchemyError) -> bool:
    """Whether the same transaction may succeed a little later: a lock, a restart, a lost connection."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause = str(error.orig)
    if "sqlite3" in type(error.orig).__module__:
        return "locked" in cause or "busy" in cause
    return True
