"""Build bar batches from OHLC columns on a file's clock: the part that the text formats share."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS
from data.batch import Batch, Reject
from data.granularity import Granularity
from data.tables import TextColumns
from data.timezones import wall_clock

OHLC = ("open", "high", "low", "close")


def bar_values(rows: int, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return float64 [rows, 9] with the given columns of ``INPUT_COLUMNS``, NaN elsewhere."""
    values = np.full((rows, len(INPUT_COLUMNS)), np.nan)
    for name, column in columns.items():
        values[:, INPUT_COLUMNS.index(name)] = column
    return values


def bars_on_clock(
    instrument: str,
    granularity: Granularity,
    source: str,
    origin: str,
    clock: tuple[NDArray[np.int64], NDArray[np.bool_], str],
    values: NDArray[np.float64],
    text: TextColumns,
    notes: tuple[str, ...] = (),
) -> Batch:
    """Return bars that start at ``clock``: UTC starts, which of them the wall clock skipped, and its words.

    A skipped start becomes a reject.
    """
    start, skipped, words = clock
    end = start + granularity.length_ns
    notes = (*notes, f"clock {words}")
    batch = Batch(
        instrument, granularity, source, origin, start, end, end, values, text.line, rejects=text.rejects, notes=notes
    )
    return without(batch, skipped, "impossible_time", f"skipped by the clock {words}")


def on_zone(local_ns: NDArray[np.int64], zone: str) -> tuple[NDArray[np.int64], NDArray[np.bool_], str]:
    """Return wall-clock times of a zone as the ``clock`` of ``bars_on_clock``."""
    start, skipped = wall_clock(zone).utc(local_ns)
    return start, skipped, zone


def without(batch: Batch, bad: NDArray[np.bool_], reason: str, detail: str) -> Batch:
    """Return the batch with some rows turned into rejects of one reason."""
    if not bad.any():
        return batch
    rejects = tuple(Reject(batch.origin, int(row), reason, detail) for row in batch.row[bad].tolist())
    kept = batch.take(~bad)
    return replace(kept, rejects=(*kept.rejects, *rejects))
