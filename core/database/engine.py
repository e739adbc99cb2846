"""The SQLAlchemy engine and the migration runner.

Rooms define their tables on ``metadata`` (``trading/ledger/tables.py`` and so on) and write their migrations into
``core/database/migrations/versions`` as branches of their own, so that no room waits for another's revision.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from core.errors import UnavailableError

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def create_engine(url: str, pool_size: int = 5, connect_timeout_seconds: int = 5) -> sa.Engine:
    """Create an engine for PostgreSQL (``postgresql+psycopg://``) or SQLite (``sqlite:///``).

    SQLite runs in WAL mode with foreign keys on and full synchronisation, so that a commit is durable there too.
    """
    if url.startswith("sqlite"):
        engine = sa.create_engine(url, connect_args={"timeout": connect_timeout_seconds})

        def configure(connection: Any, _record: Any) -> None:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        event.listen(engine, "connect", configure)
        return engine
    return sa.create_engine(
        url,
        pool_size=pool_size,
        pool_pre_ping=True,
        connect_args={"connect_timeout": connect_timeout_seconds},
    )


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest revision of every branch.

    Raises:
        UnavailableError: the database does not answer.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                # Two processes that start together must not migrate at the same time.
                connection.execute(sa.text("SELECT pg_advisory_lock(727400)"))
            elif engine.dialect.name == "sqlite":
                # One at a time too, and whole or not at all: the driver would commit after each table.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "heads")
            connection.commit()
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_unlock(727400)"))
    except OperationalError as error:
        raise UnavailableError(f"database does not answer: {str(error.orig).splitlines()[0]}") from error
