"""Optuna's tables in the platform's database, and the lease by which one process at a time searches a study.

Optuna names its tables ``trials`` and ``alembic_version``, as the platform does. So on PostgreSQL they lie in a schema
of their own, on SQLite in a file of their own beside the platform's.
"""

import fcntl
import os
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.database import create_engine
from core.digest import digest_bytes
from core.errors import RefusedError, UnavailableError

SCHEMA = "optuna"
_LOCK_SECONDS = 30


def optuna_url(database_url: str) -> str:
    """Return where Optuna's tables lie, given the platform's database."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database)
        return url.set(database=str(path.with_name(f"{path.stem}-{SCHEMA}{path.suffix}"))).render_as_string(False)
    return database_url


def open_storage(database_url: str) -> Any:
    """Return an ``optuna.storages.RDBStorage``, its tables made when they are missing.

    Raises:
        UnavailableError: the database does not answer.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = optuna_url(database_url)
    sqlite = url.startswith("sqlite")
    if sqlite:
        Path(str(sa.make_url(url).database)).parent.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, Any] = {"timeout": _LOCK_SECONDS}
    else:
        arguments = {"options": f"-csearch_path={SCHEMA}", "connect_timeout": 5}
    try:
        if not sqlite:
            _make_schema(database_url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return optuna.storages.RDBStorage(
                url, engine_kwargs={"connect_args": arguments, **({} if sqlite else {"pool_pre_ping": True})}
            )
    except SQLAlchemyError as error:
        raise away(error) from error


def away(error: BaseException) -> UnavailableError:
    """Return the one line about a database that Optuna cannot reach."""
    line = str(getattr(error, "orig", None) or error.__cause__ or error).strip().splitlines()[0]
    return UnavailableError(
        f"the database of the search does not answer: {line}; what was found is kept, the same command goes on with it"
    )


def _make_schema(database_url: str) -> None:
    engine = create_engine(database_url)
    try:
        with engine.begin() as connection:
            # CREATE SCHEMA IF NOT EXISTS is not safe against itself; the lock ends with the transaction.
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(727401)"))
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    finally:
        engine.dispose()


@contextmanager
def study_lease(database_url: str, study: str, wait_seconds: float = 15.0) -> Generator[None]:
    """Hold a study; it is free again when this process or its database session ends, however that ends.

    Raises:
        RefusedError: another process searches the study.
        UnavailableError: the database does not answer.
    """
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        with _file_lease(Path(str(url.database)), study, wait_seconds):
            yield
        return
    key = int(digest_bytes(f"tidegate search {study}".encode())[:15], 16)
    engine = create_engine(database_url)
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        engine.dispose()
        raise away(error) from error
    try:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        taken = _until(
            lambda: bool(connection.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar()),
            wait_seconds,
        )
        if not taken:
            raise _held(study)
        yield
    finally:
        connection.close()
        engine.dispose()


@contextmanager
def _file_lease(database: Path, study: str, wait_seconds: float) -> Generator[None]:
    path = database.with_name(f"{database.stem}-{SCHEMA}-{digest_bytes(study.encode())[:16]}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        if not _until(take, wait_seconds):
            raise _held(study)
        yield
    finally:
        os.close(descriptor)


def _until(attempt: Any, wait_seconds: float) -> bool:
    """Try for a while: a process that was just killed may hold it for a moment."""
    deadline = time.monotonic() + wait_seconds
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _held(study: str) -> RefusedError:
    return RefusedError(
        f"the study {study} is being searched by another process: wait for its end, or choose another name with --study"
    )
