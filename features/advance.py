"""The one way into the compiled fold: checks, contiguous arrays, and the rows that windows are made of."""

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS
from core.errors import BadInputError
from features.kernel import fold
from features.kernel.columns import START
from features.state import HISTORY_ROWS, KernelState, currency_index

# A column without warm-up: it has a value in every row that was a bar, and only there.
PRESENT_COLUMN = START["calendar"]


class Advancer:
    """Moves one state forward. Batch gives it many steps at once, live one: the machine code is the same."""

    def __init__(self, state: KernelState) -> None:
        self.state = state
        self._base, self._quote, self._currencies = currency_index(state.instruments)

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
        fold(times, rows, self._base, self._quote, self._currencies, state.floats, state.counters, out)
        state.time_ns = int(times[-1])
        self._remember(out)
        return out

    def _remember(self, out: NDArray[np.float64]) -> None:
        history = self.state.history
        for index in range(out.shape[1]):
            # Only the newest rows can stay; look no further back than needed.
            present = ~np.isnan(out[:, index, PRESENT_COLUMN])
            newest = np.flatnonzero(present)[-HISTORY_ROWS:]
            count = len(newest)
            if count:
                if count < HISTORY_ROWS:
                    history[index, :-count] = history[index, count:]
                history[index, HISTORY_ROWS - count :] = out[newest, index]
