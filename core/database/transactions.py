"""What the ledgers ask of a transaction: to write alone, to read one moment, one line where the database is away."""

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.errors import UnavailableError


def lock_for_writing(connection: sa.Connection, table: sa.Table) -> None:
    """Begin a write that nobody else's falls into: PostgreSQL locks the table, SQLite its file before it reads."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(sa.text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))


def of_one_moment(connection: sa.Connection) -> sa.Connection:
    """Return the connection in a transaction whose reads all see the same moment."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")  # sqlite3 begins none by itself before a SELECT
        return connection
    return connection.execution_options(isolation_level="REPEATABLE READ")


def away(words: str, error: SQLAlchemyError) -> UnavailableError:
    """Return the error that says ``words`` and the first line of what the database said."""
    line = str(getattr(error, "orig", None) or error).splitlines()[0]
    return UnavailableError(f"{words}: {line}")
