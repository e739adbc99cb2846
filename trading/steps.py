"""Decide when the bars of a step are complete, and give them the shape the feature kernel takes."""

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.clock import NANOSECONDS
from core.domain import INPUT_COLUMNS, Bar, Heartbeat, Quote, input_row
from trading import records
from trading.bars import BarSource
from trading.calendar import Schedule


class Step(msgspec.Struct, frozen=True):
    """The bars of one decision time.

    Attributes:
        time_ns: the boundary.
        rows: float64 [N, 9] in the order of the session's instruments; NaN where an instrument is missing.
        missing: instruments without a bar.
        simulated: whether a bar was made of simulated quotes.
    """

    time_ns: int
    rows: NDArray[np.float64]
    missing: tuple[str, ...]
    simulated: bool


_NO_BAR = (math.nan,) * len(INPUT_COLUMNS)


class StepAssembler:
    """Turns the feed into steps.

    A boundary closes when a heartbeat reaches it, when every instrument has quoted past it, or when any quote is
    ``timeout_seconds`` past it. A boundary at which nobody has a bar (a weekend) makes no step; it is put into
    ``empty``, from which the loop takes it.
    """

    def __init__(
        self, instruments: tuple[str, ...], source: BarSource, schedule: Schedule, timeout_seconds: float
    ) -> None:
        self._instruments = instruments
        self._source = source
        self._schedule = schedule
        self._timeout_ns = round(timeout_seconds * NANOSECONDS)
        self.empty: list[int] = []
        self._next = 0  # the boundary being waited for; 0 before the first event

    @property
    def next_boundary(self) -> int:
        """The boundary being waited for; 0 before the first event."""
        return self._next

    def start_after(self, time_ns: int) -> None:
        """Wait for boundaries after ``time_ns`` only: earlier ones are done or filled in from elsewhere."""
        self._next = self._schedule.next_after(time_ns)

    def boundaries(self, after_ns: int, until_ns: int) -> list[int]:
        """Return the boundaries in ``(after_ns, until_ns]``, oldest first."""
        found: list[int] = []
        boundary = self._schedule.next_after(after_ns)
        while boundary <= until_ns:
            found.append(boundary)
            boundary = self._schedule.next_after(boundary)
        return found

    def on_event(self, event: Quote | Heartbeat) -> list[Step]:
        """Take an event of the feed and return the steps it closed, oldest first; mostly none."""
        now = event.time_ns
        if self._next == 0:
            # The boundary at the very first event still counts: its quotes are yet to come.
            self._next = self._schedule.next_after(now - 1)
        if isinstance(event, Quote):
            self._source.on_quote(event)
            if now < self._next or (now < self._next + self._timeout_ns and not self._source.complete(self._next)):
                return []
        elif now < self._next:
            return []
        steps: list[Step] = []
        while self._next <= now:
            # The newest boundary may still get quotes when it was reached by a quote and not by a heartbeat.
            open_still = isinstance(event, Quote) and now < self._next + self._timeout_ns
            if open_still and not self._source.complete(self._next):
                break
            step = self._close(self._next)
            if step is not None:
                steps.append(step)
            else:
                self.empty.append(self._next)
            self._next = self._schedule.next_after(self._next)
        return steps

    def _close(self, boundary_ns: int) -> Step | None:
        bars = self._source.close_until(boundary_ns)
        return self.step_of(boundary_ns, bars) if bars else None

    def step_of(self, boundary_ns: int, bars: Mapping[str, Bar]) -> Step:
        """Give bars the shape of a step."""
        rows = np.array([input_row(bars[name]) if name in bars else _NO_BAR for name in self._instruments])
        missing = tuple(name for name in self._instruments if name not in bars)
        return Step(boundary_ns, rows, missing, any(bar.simulated for bar in bars.values()))


def step_of_record(record: records.StepClosed, instruments: int) -> Step:
    """Return the step of a journal's record; its rows are read-only."""
    rows = np.frombuffer(record.rows, np.float64).reshape(instruments, len(INPUT_COLUMNS))
    return Step(record.time_ns, rows, record.missing, record.simulated)
