"""The step over a cross-section and its fold over time: the only compiled entry, for history and for one live step."""

import math

import numpy as np

from features.kernel.bars import bar_features
from features.kernel.calendar import calendar_features
from features.kernel.columns import CLOSE_COUNT, COUNT, LONGEST_WARM_UP, START, WARM_UP
from features.kernel.compilation import Floats, Integers, Table, compiled
from features.kernel.currency import currency_features
from features.kernel.layout import PRICES, RING_MASK, ROWS
from features.kernel.price import price_features

CALENDAR = START["calendar"]
HOURS = START["hours"]
BID_CLOSE, ASK_CLOSE = 3, 7


@compiled
def step(
    time_ns: int,
    rows: Table,
    base: Integers,
    quote: Integers,
    state: Table,
    counters: Table,
    present: Table,
    strength: Floats,
    members: Floats,
    clock: Floats,
    out: Table,
) -> None:
    """Take in one row per instrument and write its features.

    A row without two finite positive closing prices is no bar: its features are NaN and its state stays as it is.

    Args:
        time_ns: int64, later than every time before.
        rows: float64 [N, 9], columns as in ``core.domain.INPUT_COLUMNS``.
        base, quote: int64 [N], positions of the two currencies of each instrument.
        state, counters: float64 [N, SLOTS] and int64 [N, COUNTERS], changed in place.
        present, strength, members, clock: scratch, bool [N], float64 [C], [C] and [F].
        out: float64 [N, F]; F decides the set: closing features alone or all.
    """
    width = out.shape[1]
    bars = width > CLOSE_COUNT
    calendar_features(time_ns, bars, clock)
    for index in range(rows.shape[0]):
        middle = 0.5 * (rows[index, BID_CLOSE] + rows[index, ASK_CLOSE])
        usable = rows[index, BID_CLOSE] > 0.0 and rows[index, ASK_CLOSE] > 0.0 and middle < math.inf
        present[index] = usable
        if usable:
            seen = counters[index, ROWS]
            price = math.log(middle)
            price_features(state[index], counters[index], time_ns, price, out[index])
            out[index, CALENDAR] = clock[CALENDAR]
            out[index, CALENDAR + 1] = clock[CALENDAR + 1]
            if bars:
                previous = state[index, PRICES + ((seen - 1) & RING_MASK)]
                bar_features(state[index], rows[index], price, previous, out[index])
                for column in range(HOURS, COUNT):
                    out[index, column] = clock[column]
    currency_features(present, base, quote, strength, members, out)
    for index in range(rows.shape[0]):
        if not present[index]:
            for column in range(width):
                out[index, column] = math.nan
        elif counters[index, ROWS] <= LONGEST_WARM_UP:
            for column in range(width):
                if counters[index, ROWS] <= WARM_UP[column]:
                    out[index, column] = math.nan


@compiled
def fold(
    times: Integers,
    values: Table,
    base: Integers,
    quote: Integers,
    currencies: int,
    state: Table,
    counters: Table,
    history: Table,
    out: Table,
) -> None:
    """Apply the step to T rows per instrument in order; with T = 1 it is the live step.

    Args:
        times: int64 [T], strictly increasing.
        values: float64 [T, N, 9].
        base, quote: int64 [N].
        currencies: how many currencies there are.
        state, counters: float64 [N, SLOTS] and int64 [N, COUNTERS], changed in place.
        history: float32 [N, H, F], the last rows of each instrument, oldest first, changed in place.
        out: float64 [T, N, F].
    """
    present = np.empty(values.shape[1], np.bool_)
    strength = np.empty(currencies, np.float64)
    members = np.empty(currencies, np.float64)
    clock = np.empty(COUNT, np.float64)
    for index in range(len(times)):
        step(
            times[index],
            values[index],
            base,
            quote,
            state,
            counters,
            present,
            strength,
            members,
            clock,
            out[index],
        )
    remember(history, out)


@compiled
def remember(history: Table, out: Table) -> None:
    """Move the newest rows of ``out`` into each instrument's history. A row without a bar is no row."""
    depth = history.shape[1]
    for index in range(history.shape[0]):
        # How far back the rows reach that can stay; a column without warm-up is NaN exactly where there was no bar.
        first = out.shape[0]
        count = 0
        while first > 0 and count < depth:
            first -= 1
            if not math.isnan(out[first, index, CALENDAR]):
                count += 1
        if count == 0:
            continue
        for place in range(depth - count):
            for column in range(history.shape[2]):
                history[index, place, column] = history[index, place + count, column]
        place = depth - count
        for step_index in range(first, out.shape[0]):
            if not math.isnan(out[step_index, index, CALENDAR]):
                for column in range(history.shape[2]):
                    history[index, place, column] = out[step_index, index, column]
                place += 1
