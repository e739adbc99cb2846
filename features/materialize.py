"""Bring the newest known feature rows into the online store, keyed on when they arrived.

Feast's incremental materialisation remembers event time: a correction that arrives late for an old event is never
seen. Here the high-water mark is on arrival (created) time. Of the rows that arrived since, each instrument's newest is
offered to the online store, which takes it only if it is newer than what stands there (``features.online_store``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.digest import digest_value
from core.errors import BadInputError, IntegrityError
from core.files import read_json, write_json
from features.asof import Limits, connection, quoted
from features.sets import FeatureSet
from features.store import FEAST_FOLDER, apply, check_built, online_features, open_store

if TYPE_CHECKING:
    import pandas as pd

_NEVER = -(2**62)


@dataclass(frozen=True)
class MaterializeResult:
    """What one run did.

    Attributes:
        arrived: rows that had arrived since the mark.
        offered: instruments whose newest row was offered to the online store.
        mark_ns: the new high-water mark, UTC nanoseconds.
    """

    arrived: int
    offered: tuple[str, ...]
    mark_ns: int


def materialize(
    workspace: Path, definition: FeatureSet, online_url: str | None = None, until_ns: int | None = None
) -> MaterializeResult:
    """Offer the rows that arrived since the last run to the online store, and move the mark.

    The mark moves after the write: a run that dies in between is done again, which changes nothing. An instrument
    without a row in the online store is offered whatever the mark says: a lost store fills again.

    Args:
        workspace: where the features stage has run.
        definition: the feature set.
        online_url: a Redis URL; None: the workspace's SQLite file.
        until_ns: leave out rows that arrived later (a replayed clock); None: all.

    Raises:
        BadInputError: the features stage has not run with this definition.
        UnavailableError: the online store does not answer.
    """
    check_built(workspace, definition)
    store = open_store(workspace, online_url)
    apply(store, definition)
    path = mark_path(workspace, definition, online_url)
    mark = read_mark(path, definition)
    features = workspace / "data/processed/features/features.parquet"
    known = [str(name) for name in read_json(features.with_suffix(".json"))["instruments"]]
    absent = [row.instrument for row in online_features(store, definition, known, 0) if not row.time_ns]
    frame, arrived, newest = _arrived(features, definition, mark, until_ns, absent)
    if len(frame):
        store.write_to_online_store(definition.service, frame)
    mark = max(mark, newest)
    write_json(path, {"created_us": mark, "feature_digest": definition.digest})
    return MaterializeResult(arrived, tuple(str(name) for name in frame["instrument"]), mark * 1000)


def mark_path(workspace: Path, definition: FeatureSet, online_url: str | None) -> Path:
    """Return the file of the high-water mark. Each online store has its own; the file name does not show the URL."""
    target = digest_value(online_url or "sqlite")[:12]
    return workspace / FEAST_FOLDER / f"materialized-{definition.service}-{target}.json"


def read_mark(path: Path, definition: FeatureSet) -> int:
    """Return the mark in microseconds; far in the past where there is none.

    Raises:
        IntegrityError: the file is damaged or belongs to another definition.
    """
    try:
        content = read_json(path)
        mark, digest = int(content["created_us"]), content["feature_digest"]
    except FileNotFoundError:
        return _NEVER
    except (ValueError, KeyError, TypeError):
        raise IntegrityError(f"{path} is damaged: remove it, the next run materialises everything again") from None
    if digest != definition.digest:
        raise IntegrityError(f"{path} belongs to another feature definition: remove it")
    return mark


def _arrived(
    path: Path, definition: FeatureSet, mark: int, until_ns: int | None, absent: list[str]
) -> tuple["pd.DataFrame", int, int]:
    """Return each instrument's newest row among those that arrived, how many arrived, and the newest arrival."""
    import duckdb

    columns = ", ".join(quoted(column) for column in definition.columns)
    until = 2**62 if until_ns is None else until_ns // 1000
    parameters: dict[str, Any] = {"path": str(path), "mark": mark, "until": until, "absent": absent}
    # One statement: the file may be replaced between two.
    statement = f"""
        WITH known AS (
            SELECT *, epoch_us(created_timestamp) AS created_us FROM read_parquet($path)
            WHERE epoch_us(created_timestamp) <= $until
              AND (epoch_us(created_timestamp) > $mark OR list_contains($absent::VARCHAR[], instrument))
        )
        SELECT instrument, event_timestamp, created_timestamp, {columns},
               sum(count_new) OVER () AS arrived, max(newest) OVER () AS newest
        FROM (
            SELECT *, count(*) FILTER (created_us > $mark) OVER (PARTITION BY instrument) AS count_new,
                   max(created_us) OVER (PARTITION BY instrument) AS newest
            FROM known
            QUALIFY row_number() OVER (
                PARTITION BY instrument ORDER BY event_timestamp DESC, created_timestamp DESC) = 1
        )
        ORDER BY instrument
    """
    try:
        with connection(Limits()) as database:
            frame = database.sql(statement, params=parameters).to_arrow_table().to_pandas()
    except (duckdb.BinderException, duckdb.IOException, duckdb.InvalidInputException) as error:
        raise BadInputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    arrived = int(frame["arrived"].iloc[0]) if len(frame) else 0
    newest = int(frame["newest"].iloc[0]) if len(frame) else mark
    return frame.drop(columns=["arrived", "newest"]), arrived, newest
