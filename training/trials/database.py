"""Transactions of the trial ledger: one writer of a lineage at a time, repeated while the database is away.

Everything handed to ``write`` recognises its own earlier success, because a lost connection may hide a commit.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError as UniqueViolation
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from core.database import create_engine, migrate
from core.errors import IntegrityError, UnavailableError, UsageError
from training.trials.tables import REVISION

Result = TypeVar("Result")
LOCK_SECONDS = 30  # longer than any honest holder; shorter than for ever behind a stopped process


class Database:
    """The database of the ledger, with its tables up to date.

    Args:
        url: SQLAlchemy URL, PostgreSQL or SQLite; the folder of a SQLite file is made.
        patience_seconds: how long a write waits for a database that does not answer.

    Raises:
        UnavailableError: the database does not answer.
    """

    def __init__(self, url: str, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._process = os.getpid()
        self._file: Path | None = None
        self._identity: tuple[int, int] | None = None
        sqlite = url.startswith("sqlite")
        if sqlite and (path := sa.make_url(url).database):
            self._file = Path(path)
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UnavailableError(f"the trial ledger at {path} cannot be made: {error.strerror}") from None
        self.engine = create_engine(url, connect_timeout_seconds=LOCK_SECONDS if sqlite else 5)
        try:
            with self._alone():
                if not self._current():
                    migrate(self.engine)
                self._identity = self._found()
        except (SQLAlchemyError, OSError) as error:
            self.engine.dispose()
            raise self._unavailable(error) from error
        except BaseException:
            self.engine.dispose()
            raise

    @property
    def url(self) -> str:
        """Where it is, without the password."""
        return self.engine.url.render_as_string(hide_password=True)

    def dispose(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def write(self, work: Callable[[sa.Connection], Result], patience_seconds: float | None = None) -> Result:
        """Run ``work`` in one write transaction and commit it; begin again while the database does not answer.

        Raises:
            IntegrityError: the rows contradict their counter: somebody else wrote them.
            UnavailableError: it did not answer for ``patience_seconds``, or cannot be written. Nothing may be concluded
                about the rows: whoever opens the ledger next finds what was committed.
        """
        self._require_process()
        deadline = time.monotonic() + (self._patience if patience_seconds is None else patience_seconds)
        pause = 0.05
        while True:
            try:
                with self.engine.connect() as connection:
                    if connection.dialect.name == "sqlite":
                        self._require_file()
                        connection.exec_driver_sql("BEGIN IMMEDIATE")
                    else:
                        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                    result = work(connection)
                    connection.commit()
                    self._require_file()
                    return result
            except UniqueViolation as error:
                raise IntegrityError(
                    f"the trial ledger at {self.url} holds a row that was never begun here "
                    f"({str(error.orig).splitlines()[0]}): run tidegate trials verify"
                ) from error
            except SQLAlchemyError as error:
                if not _may_pass(error) or time.monotonic() + pause > deadline:
                    raise self._unavailable(error) from error
            time.sleep(pause)
            pause = min(2.0 * pause, 2.0)

    @contextmanager
    def reading(self) -> Generator[sa.Connection]:
        """Open a read transaction that sees one moment of the ledger.

        Raises:
            UnavailableError: the database does not answer.
        """
        self._require_process()
        try:
            with self.engine.connect() as connection:
                if connection.dialect.name == "sqlite":
                    self._require_file()
                    connection.exec_driver_sql("BEGIN")
                else:
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection
        except SQLAlchemyError as error:
            raise self._unavailable(error) from error

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Let one process at a time make a SQLite file; PostgreSQL has a lock of its own for that."""
        if self._file is None:
            yield
            return
        with Path(f"{self._file}.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _current(self) -> bool:
        """Whether the tables are there: migrating takes a moment that a worker process need not spend."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return False
            found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars()
            return REVISION in set(found)

    def _found(self) -> tuple[int, int] | None:
        """Return which file lies at the path of a SQLite database."""
        if self._file is None:
            return None
        try:
            state = self._file.stat()
        except OSError:
            return None
        return state.st_dev, state.st_ino

    def _require_file(self) -> None:
        """Refuse a SQLite file that was moved or deleted: an open connection would go on writing into nothing."""
        if self._found() != self._identity:
            raise UnavailableError(
                f"the trial ledger at {self.url} was moved, deleted or replaced while it was open: restore the file; "
                "trials are not run uncounted"
            )

    def _require_process(self) -> None:
        """Refuse a process that was forked from the one that opened the ledger: connections cannot be shared."""
        if os.getpid() != self._process:
            raise UsageError("the trial ledger was opened by another process: open it anew in each")

    def _unavailable(self, error: SQLAlchemyError | OSError) -> UnavailableError:
        line = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return UnavailableError(
            f"the trial ledger at {self.url} does not answer: {line}; trials are not run uncounted, so try again "
            "once it does"
        )


def now_ns(connection: sa.Connection) -> int:
    """Return the time by the clock that all writers share: the server's, or on SQLite this machine's."""
    if connection.dialect.name == "sqlite":
        return time.time_ns()
    return int(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp()) * 1000000000")).scalar_one())


def insert_new(connection: sa.Connection, table: sa.Table, row: dict[str, object]) -> None:
    """Insert a row unless its key is there."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert

        connection.execute(insert(table).on_conflict_do_nothing(), row)
        return
    from sqlalchemy.dialects.postgresql import insert as insert_postgresql

    connection.execute(insert_postgresql(table).on_conflict_do_nothing(), row)


def _may_pass(error: SQLAlchemyError) -> bool:
    """Whether the same transaction may succeed a little later: a lock, a restart, a lost connection."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause = str(error.orig)
    if "sqlite3" in type(error.orig).__module__:
        return "locked" in cause or "busy" in cause
    return True
