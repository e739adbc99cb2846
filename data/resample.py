"""Bars of any length from quotes or from shorter bars.

Bars stand on a grid of UTC, or days begin at 17:00 New York as brokers count them. A period without a row has no bar:
nothing is carried forward.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS
from core.errors import BadInputError
from data.batch import Batch
from data.granularity import DAY, Granularity
from data.timezones import wall_clock

_NEW_YORK = "America/New_York"
_ROLL = 7 * 3600 * 10**9


def resample(
    batch: Batch,
    granularity: Granularity,
    alignment: Literal["utc", "new_york"] = "utc",
    complete_until_ns: int | None = None,
) -> Batch:
    """Return bars of ``granularity`` made of a batch of quotes or shorter bars, marked derived.

    Args:
        batch: rows in any order; they are taken in the order of their event times.
        granularity: the bars to make, at most a day long.
        alignment: where days begin; only daily bars differ.
        complete_until_ns: leave out bars that close after this moment: their period is not over. None keeps all.

    Raises:
        BadInputError: the rows are not finer than the bars.
    """
    if granularity.is_quote or granularity.is_fixing or granularity.length_ns > DAY or batch.granularity.is_fixing:
        raise BadInputError(f"{batch.name} cannot be resampled to {granularity.name}")
    if batch.granularity.length_ns > granularity.length_ns or granularity.length_ns % max(
        batch.granularity.length_ns, 1
    ):
        raise BadInputError(f"{batch.name} cannot be resampled to {granularity.name}: its bars are no part of them")
    batch = batch.take(np.argsort(batch.event_ns, kind="stable"))
    # A bar belongs to the period in which it starts; a quote to the period it falls in.
    start, end = _periods(batch.open_ns, granularity, alignment)
    first = np.flatnonzero(np.r_[True, start[1:] != start[:-1]]) if len(start) else np.empty(0, np.int64)
    values = _quote_bars(batch, first) if batch.granularity.is_quote else _longer_bars(batch, first)
    last = np.r_[first[1:], len(start)] - 1 if len(first) else first
    event = end[first]
    # A bar is known when its last row is, and not before its period is over.
    arrival = np.maximum(event, np.maximum.reduceat(batch.arrival_ns, first)) if len(first) else event
    window = batch.window_ns
    bars = Batch(
        batch.instrument,
        granularity,
        batch.source,
        batch.origin,
        start[first],
        event,
        arrival,
        values,
        batch.row[last],
        derived=True,
        notes=(*batch.notes, f"made of {batch.granularity.name} rows"),
        window_ns=window,
    )
    return bars if complete_until_ns is None else bars.take(bars.event_ns <= complete_until_ns)


def merge_bars(batch: Batch) -> Batch:
    """Join bars of the same period into one, as when a period was split between two chunks."""
    merged = resample(batch, batch.granularity)
    return replace(merged, notes=batch.notes, arrival_ns=merged.arrival_ns)


def _periods(
    time_ns: NDArray[np.int64], granularity: Granularity, alignment: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if granularity.length_ns == DAY and alignment == "new_york":
        clock = wall_clock(_NEW_YORK)
        date = (clock.local(time_ns) + _ROLL) // DAY
        return clock.utc(date * DAY - _ROLL)[0], clock.utc((date + 1) * DAY - _ROLL)[0]
    start = time_ns // granularity.length_ns * granularity.length_ns
    return start, start + granularity.length_ns


def _quote_bars(batch: Batch, first: NDArray[np.int64]) -> NDArray[np.float64]:
    values = np.full((len(first), len(INPUT_COLUMNS)), np.nan)
    last = np.r_[first[1:], len(batch)] - 1
    if not len(first):
        return values
    for side in ("bid", "ask"):
        price = np.ascontiguousarray(batch.column(side))
        values[:, INPUT_COLUMNS.index(f"{side}_open")] = price[first]
        values[:, INPUT_COLUMNS.index(f"{side}_high")] = np.maximum.reduceat(price, first)
        values[:, INPUT_COLUMNS.index(f"{side}_low")] = np.minimum.reduceat(price, first)
        values[:, INPUT_COLUMNS.index(f"{side}_close")] = price[last]
    values[:, INPUT_COLUMNS.index("tick_volume")] = last - first + 1
    return values


def _longer_bars(batch: Batch, first: NDArray[np.int64]) -> NDArray[np.float64]:
    values = np.full((len(first), len(INPUT_COLUMNS)), np.nan)
    last = np.r_[first[1:], len(batch)] - 1
    if not len(first):
        return values
    for index, name in enumerate(INPUT_COLUMNS):
        column = np.ascontiguousarray(batch.values[:, index])
        if name.endswith("_open"):
            values[:, index] = column[first]
        elif name.endswith("_high"):
            values[:, index] = np.fmax.reduceat(column, first)
        elif name.endswith("_low"):
            values[:, index] = np.fmin.reduceat(column, first)
        elif name.endswith("_close"):
            values[:, index] = column[last]
        else:
            # A missing count makes the sum unknown: NaN spreads.
            values[:, index] = np.add.reduceat(column, first)
    return values
