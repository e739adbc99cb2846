"""The point-in-time join: for each asked key and moment, the newest row that was known by then. DuckDB over parquet.

Two times decide. A row is *about* its event time and was *known* from its created time on. Asked at a moment, the
answer is the row with the latest event time among those known by then, and of corrections of one event the latest. With
two inequalities this is no plain ASOF join, so each key's rows are first turned into a step function of the moment
they became visible: the best row known so far. One ASOF join over that function answers every question.
"""

import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator

_ATTEMPTS = 5


@dataclass(frozen=True)
class Limits:
    """What DuckDB may use; past them a query fails instead of taking the machine down."""

    memory: str = "1GB"
    temporary_space: str = "2GB"
    threads: int = 2


@dataclass(frozen=True)
class Source:
    """A parquet file of feature rows.

    Attributes:
        path: the file.
        keys: its key columns.
        event: its event time column.
        created: its arrival time column, None where it has none.
        columns: the columns to fetch.
        time_to_live_seconds: a row older than this at the asked moment is no answer; 0: any age is.
    """

    path: Path
    keys: tuple[str, ...]
    event: str
    created: str | None
    columns: tuple[str, ...]
    time_to_live_seconds: float = 0.0


@contextmanager
def connection(limits: Limits) -> "Generator[Any]":
    """Open a DuckDB in memory with bounded memory, temporary space and threads."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="tidegate-duckdb-") as folder:
        opened = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": limits.memory,
                "temp_directory": folder,
                "max_temp_directory_size": limits.temporary_space,
                "threads": limits.threads,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            opened.execute("SET TimeZone = 'UTC'")
            yield opened
        finally:
            opened.close()


def quoted(name: str) -> str:
    """Return a column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def microseconds(column: Any) -> Any:
    """Return an Arrow timestamp column as int64 microseconds since the epoch, rounded down; naive means UTC."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        raise BadInputError(f"event timestamps have the type {column.type}: give them as timestamps")
    if column.null_count:
        raise BadInputError("an entity row has no event timestamp: remove it")
    whole = column.cast(pa.int64()).to_numpy()
    ticks = {"s": 1_000_000, "ms": 1_000, "us": 1}
    unit = column.type.unit
    return pa.array(whole // 1_000 if unit == "ns" else whole * ticks[unit])


def asof_join(
    asked: Any, moments: Any, keys: Sequence[str], source: Source, known_by_then: bool, limits: Limits | None = None
) -> Any:
    """Return the feature columns for each asked row, as an Arrow table in the order asked, duplicates kept.

    Args:
        asked: Arrow table with the key columns ``keys``.
        moments: Arrow int64 [R], microseconds since the epoch.
        keys: columns of ``asked``, one for each of ``source.keys``.
        source: where the features are.
        known_by_then: leave out rows created after the moment (what a decision could not have seen).
        limits: what DuckDB may use.

    Raises:
        BadInputError: the file is missing or lacks a column.
        UnavailableError: the limits do not suffice, or the file keeps changing.
    """
    import duckdb
    import pyarrow as pa

    named = {f"key_{index}": asked[key] for index, key in enumerate(keys)}
    questions = pa.table({"row": pa.array(range(asked.num_rows), pa.int64()), "moment": moments} | named)
    statement = _statement(source, known_by_then and source.created is not None)
    for _ in range(_ATTEMPTS):
        try:
            before = _identity(source.path)
            with connection(limits or Limits()) as database:
                database.register("questions", questions)
                answer = database.sql(statement, params={"path": str(source.path)}).to_arrow_table()
            # The join reads the file twice; a stage may have replaced it in between.
            if _identity(source.path) == before:
                return answer.select(list(source.columns))
        except OSError:
            raise BadInputError(f"feature file {source.path} not found: run the features stage first") from None
        except duckdb.OutOfMemoryException as error:
            raise UnavailableError(
                f"the point-in-time join over {source.path} needs more than {(limits or Limits()).memory} of memory "
                f"and {(limits or Limits()).temporary_space} of disk: ask for fewer rows or raise the limits "
                f"({str(error).splitlines()[0]})"
            ) from None
        except (duckdb.BinderException, duckdb.InvalidInputException, duckdb.IOException) as error:
            raise BadInputError(f"{source.path} cannot be joined: {str(error).splitlines()[0]}") from None
    raise UnavailableError(f"{source.path} is being rewritten all the time: wait until the features stage has ended")


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _statement(source: Source, by_created: bool) -> str:
    aliases = [f"key_{index}" for index in range(len(source.keys))]
    selected = ", ".join(f"{quoted(key)} AS {alias}" for key, alias in zip(source.keys, aliases, strict=True))
    listed = ", ".join(aliases)
    equal = " AND ".join(f"q.{alias} = t.{alias}" for alias in aliases)
    created = f"epoch_us({quoted(source.created)})" if source.created else "NULL::BIGINT"
    visible = "greatest(event, coalesce(created, event))" if by_created else "event"
    lifetime = round(source.time_to_live_seconds * 1e6)
    fresh = f"AND r.event >= m.moment - {lifetime}" if lifetime else ""
    columns = ", ".join(f"f.{quoted(column)}" for column in source.columns)
    return f"""
        WITH ranked AS (
            SELECT *, {visible} AS visible,
                   row_number() OVER (ORDER BY event, created NULLS FIRST, position) AS rank
            FROM (
                SELECT {selected}, epoch_us({quoted(source.event)}) AS event, {created} AS created,
                       file_row_number AS position
                FROM read_parquet($path, file_row_number = true)
            )
        ), timeline AS (
            SELECT {listed}, visible, max(best) AS best
            FROM (
                SELECT {listed}, visible,
                       max(rank) OVER (PARTITION BY {listed} ORDER BY visible, rank ROWS UNBOUNDED PRECEDING) AS best
                FROM ranked
            )
            GROUP BY {listed}, visible
        ), matched AS (
            SELECT q.row, q.moment, t.best
            FROM questions q ASOF LEFT JOIN timeline t ON {equal} AND q.moment >= t.visible
        ), found AS (
            SELECT m.row, r.position FROM matched m LEFT JOIN ranked r ON r.rank = m.best {fresh}
        )
        SELECT {columns}
        FROM found LEFT JOIN read_parquet($path, file_row_number = true) f ON f.file_row_number = found.position
        ORDER BY found.row
    """
