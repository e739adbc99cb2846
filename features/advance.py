"""The one way into the compiled fold: checks and contiguous arrays."""

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS
from core.errors import BadInputError
from features.kernel import fold
from features.kernel.columns import START
from features.state import KernelState, currency_index

# A column without warm-up: it has a value in every row that was a bar, and only there.
PRESENT_COLUMN = START["calendar"]


class Advancer:
    """Moves one state forward. Batch gives it many steps at once, live one: the machine code is the same."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self._base, self._quote, self._currencies = currency_index(state.instruments)
        self._time = np.zeros(1, np.int64)
        self._rows = np.empty((1, len(state.instruments), len(INPUT_COLUMNS)))

    def advance(self, time_ns: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take in T steps and return their features, float64 [T, N, F].

        Args:
            time_ns: int64 [T], strictly increasing and later than the state's last step.
            values: float64 [T, N, 9], columns as in ``core.domain.INPUT_COLUMNS``; a row of NaN is no bar.

        Raises:
            BadInputError: shapes do not fit, or time does not increase.
        """
        state = self.state
        shape = (len(time_ns), len(state.instruments), len(INPUT_COLUMNS))
        if values.shape != shape:
            raise BadInputError(f"rows of shape {values.shape} for {shape[1]} instruments, expected {shape}")
        out = np.empty((shape[0], shape[1], len(state.definition.columns)))
        if not shape[0]:
            return out
        if int(time_ns[0]) <= state.time_ns or (shape[0] > 1 and not bool((time_ns[1:] > time_ns[:-1]).all())):
            raise BadInputError(
                f"time {int(time_ns[0])} ns is not later than {state.time_ns} ns, or times do not increase: "
                "feature state cannot go back"
            )
        times = np.require(time_ns, np.int64, ["C", "W"])
        rows = np.require(values, np.float64, ["C", "W"])
        self._fold(times, rows, out)
        return out

    def step(self, time_ns: int, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take in one step and return its features, float64 [N, F]; as ``advance`` with T = 1, without its overhead."""
        state = self.state
        if rows.shape != self._rows.shape[1:]:
            raise BadInputError(f"rows of shape {rows.shape} for {len(state.instruments)} instruments")
        if time_ns <= state.time_ns:
            raise BadInputError(f"time {time_ns} ns is not later than {state.time_ns} ns: feature state cannot go back")
        self._time[0] = time_ns
        self._rows[0] = rows
        out = np.empty((1, len(state.instruments), len(state.definition.columns)))
        self._fold(self._time, self._rows, out)
        return out[0]

    def _fold(self, times: NDArray[np.int64], rows: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        state = self.state
        fold(times, rows, self._base, self._quote, self._currencies, state.floats, state.counters, state.history, out)
        state.time_ns = int(times[-1])
