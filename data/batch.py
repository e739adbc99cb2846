"""One batch of market data: what every source yields, the gate judges and the catalog keeps."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS
from data.granularity import Granularity

QUOTE_COLUMNS: tuple[str, ...] = ("bid", "ask", "bid_size", "ask_size")


def price_columns(granularity: Granularity) -> tuple[str, ...]:
    """Return the names of the value columns of a granularity, in their fixed order."""
    return QUOTE_COLUMNS if granularity.is_quote else INPUT_COLUMNS


@dataclass(frozen=True)
class Reject:
    """A row that could not be read, or was read and refused: kept with its reason, never dropped."""

    origin: str
    row: int  # 1-based row in the origin
    reason: str
    detail: str


@dataclass(frozen=True)
class Batch:
    """Rows of one instrument and granularity from one source, in the order of the source.

    Attributes:
        instrument: ``EUR_USD``.
        granularity: what one row is.
        source: name of the source.
        origin: file names the rows came from, for people.
        open_ns: int64 [n], bar start; equal to ``event_ns`` for quotes and fixings.
        event_ns: int64 [n], when the row happened: quote time, bar close, fixing time. UTC.
        arrival_ns: int64 [n], when it could first be known. UTC.
        values: float64 [n, C], columns ``price_columns(granularity)``; NaN where the source has no such value.
        row: int64 [n], 1-based row in the origin.
        derived: the prices are computed from others (a cross, a resampled bar).
        rejects: rows that could not be read.
        notes: what a person judging this data must know.
        window_ns: ``(first, last)`` event time the source claims to cover; the gaps are counted over it.
    """

    instrument: str
    granularity: Granularity
    source: str
    origin: str
    open_ns: NDArray[np.int64]
    event_ns: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    row: NDArray[np.int64]
    derived: bool = False
    rejects: tuple[Reject, ...] = ()
    notes: tuple[str, ...] = ()
    window_ns: tuple[int, int] | None = None
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        columns = price_columns(self.granularity)
        object.__setattr__(self, "columns", columns)
        rows = len(self.event_ns)
        if self.values.shape != (rows, len(columns)) or not (
            len(self.open_ns) == len(self.arrival_ns) == len(self.row) == rows
        ):
            raise ValueError(f"batch of {rows} rows with values of shape {self.values.shape}, expected {len(columns)}")

    def __len__(self) -> int:
        return len(self.event_ns)

    @property
    def name(self) -> str:
        """What people call it: ``EUR_USD H1``."""
        return f"{self.instrument} {self.granularity.name}"

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one value column as float64 [n]."""
        return self.values[:, self.columns.index(name)]

    def take(self, selection: NDArray[np.bool_] | NDArray[np.int64]) -> "Batch":
        """Return the selected rows; rejects and notes stay with the batch."""
        return replace(
            self,
            open_ns=self.open_ns[selection],
            event_ns=self.event_ns[selection],
            arrival_ns=self.arrival_ns[selection],
            values=self.values[selection],
            row=self.row[selection],
        )

    def between(self, since_ns: int | None, until_ns: int | None) -> "Batch":
        """Return the rows with ``since_ns <= event time < until_ns``; rows outside were never asked for."""
        low = np.iinfo(np.int64).min if since_ns is None else since_ns
        high = np.iinfo(np.int64).max if until_ns is None else until_ns
        window = self.window_ns
        if window is not None:
            window = (max(window[0], low), min(window[1], high - 1))
            window = window if window[0] <= window[1] else None
        inside = (self.event_ns >= low) & (self.event_ns < high)
        part = self if bool(inside.all()) else self.take(inside)
        return replace(part, window_ns=window)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Join batches of one instrument, granularity and source into one, in their order."""
    first = batches[0]
    if len(batches) == 1:
        return first
    windows = [batch.window_ns for batch in batches if batch.window_ns is not None]
    origins = list(dict.fromkeys(batch.origin for batch in batches))
    origin = origins[0] if len(origins) == 1 else f"{origins[0]} … {origins[-1]} ({len(origins)} files)"
    return Batch(
        first.instrument,
        first.granularity,
        first.source,
        origin,
        np.concatenate([batch.open_ns for batch in batches]),
        np.concatenate([batch.event_ns for batch in batches]),
        np.concatenate([batch.arrival_ns for batch in batches]),
        np.concatenate([batch.values for batch in batches]),
        np.concatenate([batch.row for batch in batches]),
        derived=first.derived,
        rejects=tuple(reject for batch in batches for reject in batch.rejects),
        notes=tuple(dict.fromkeys(note for batch in batches for note in batch.notes)),
        window_ns=(min(w[0] for w in windows), max(w[1] for w in windows)) if len(windows) == len(batches) else None,
    )
