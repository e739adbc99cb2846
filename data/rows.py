"""Rows of one series as the catalog keeps them, and their Arrow form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.batch import price_columns
from data.granularity import Granularity


@dataclass(frozen=True)
class Rows:
    """Rows of one series, sorted by event time and sequence, one version of each.

    ``sequence`` numbers rows of the same event time (quotes of the same millisecond).
    """

    open_ns: NDArray[np.int64]
    event_ns: NDArray[np.int64]
    sequence: NDArray[np.int32]
    arrival_ns: NDArray[np.int64]
    version: NDArray[np.int32]
    values: NDArray[np.float64]
    derived: NDArray[np.bool_]
    source: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.event_ns)

    def take(self, selection: NDArray[np.bool_] | NDArray[np.int64]) -> "Rows":
        """Return the selected rows."""
        return Rows(
            self.open_ns[selection],
            self.event_ns[selection],
            self.sequence[selection],
            self.arrival_ns[selection],
            self.version[selection],
            self.values[selection],
            self.derived[selection],
            self.source[selection],
        )


def to_table(rows: Rows, granularity: Granularity) -> pa.Table:
    """Return rows as an Arrow table with UTC nanosecond timestamps."""
    stamp = pa.timestamp("ns", "UTC")
    arrays: dict[str, Any] = {
        "open_time": pa.array(rows.open_ns).cast(stamp),
        "event_time": pa.array(rows.event_ns).cast(stamp),
        "sequence": pa.array(rows.sequence),
        "arrival_time": pa.array(rows.arrival_ns).cast(stamp),
        "version": pa.array(rows.version),
    }
    for index, name in enumerate(price_columns(granularity)):
        arrays[name] = pa.array(np.ascontiguousarray(rows.values[:, index]))
    arrays["derived"] = pa.array(rows.derived)
    arrays["source"] = pa.array(rows.source, pa.string()).dictionary_encode()
    return pa.table(arrays)


def from_table(tables: Sequence[pa.Table], granularity: Granularity) -> Rows:
    """Return Arrow tables of one granularity as rows, in their order."""
    names = price_columns(granularity)
    if not tables:
        empty = np.empty(0, np.int64)
        return Rows(
            empty,
            empty,
            empty.astype(np.int32),
            empty,
            empty.astype(np.int32),
            np.empty((0, len(names))),
            np.empty(0, bool),
            np.empty(0, object),
        )

    def column(name: str, dtype: Any) -> NDArray[Any]:
        chunks = [np.asarray(_plain(table.column(name)).to_numpy(), dtype) for table in tables]
        return np.concatenate(chunks)

    return Rows(
        column("open_time", np.int64),
        column("event_time", np.int64),
        column("sequence", np.int32),
        column("arrival_time", np.int64),
        column("version", np.int32),
        np.column_stack([column(name, np.float64) for name in names]),
        column("derived", bool),
        column("source", object),
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64())
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def number_repeats(event_ns: NDArray[np.int64]) -> NDArray[np.int32]:
    """Number the rows of each event time from 0, given sorted times."""
    if not len(event_ns):
        return np.empty(0, np.int32)
    starts = np.r_[0, np.flatnonzero(np.diff(event_ns)) + 1]
    lengths = np.diff(np.r_[starts, len(event_ns)])
    return (np.arange(len(event_ns)) - np.repeat(starts, lengths)).astype(np.int32)


def find_rows(
    known: Rows, event_ns: NDArray[np.int64], sequence: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where each (event, sequence) is among sorted rows and whether it is there.

    Sequences of one event time have no holes, so the row lies ``sequence`` places after the first of its time.
    """
    position = np.searchsorted(known.event_ns, event_ns, side="left") + sequence
    inside = position < len(known)
    position = np.where(inside, position, 0)
    there = inside & (known.event_ns[position] == event_ns) if len(known) else np.zeros(len(event_ns), bool)
    return position, there


def equal_rows(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows are equal; NaN equals NaN."""
    return ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)
