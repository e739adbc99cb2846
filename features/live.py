"""Features of one step at a time: the trader's driver of the kernel."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from features.advance import PRESENT_COLUMN, Advancer
from features.sets import FeatureSet
from features.state import HISTORY_ROWS, KernelState


class LiveFeatures:
    """State, last rows and windows of N instruments.

    Args:
        feature_set: which features.
        instruments: names, sorted.
        window: rows L in a model's window, 1 to 64.

    Raises:
        BadInputError: the window is out of range, or instruments are not sorted pairs.
    """

    def __init__(self, feature_set: FeatureSet, instruments: Sequence[str], window: int) -> None:
        self._start(KernelState.fresh(feature_set, instruments), window)

    def _start(self, state: KernelState, window: int) -> None:
        if not 1 <= window <= HISTORY_ROWS:
            raise BadInputError(f"a window of {window} rows: between 1 and {HISTORY_ROWS} are kept")
        self.window = window
        self._advancer = Advancer(state)
        self._present = np.zeros(len(state.instruments), np.bool_)

    @classmethod
    def restore(
        cls, path: Path, window: int, feature_set: FeatureSet | None = None, instruments: Sequence[str] | None = None
    ) -> "LiveFeatures":
        """Go on from a state file, written by ``save`` or by the features stage.

        Args:
            path: the file.
            window: rows L in a model's window, 1 to 64.
            feature_set: what the state must belong to; None: the present definition of the set the file names.
            instruments: what it must hold; None: whatever it holds.

        Raises:
            BadInputError: the file is missing or no state, or the window is out of range.
            IntegrityError: the state is of another feature definition or other instruments.
        """
        live = cls.__new__(cls)
        live._start(KernelState.load(path, feature_set, instruments), window)
        return live

    @property
    def feature_set(self) -> FeatureSet:
        """The definition in use."""
        return self._advancer.state.definition

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names, sorted; the first axis of everything returned."""
        return self._advancer.state.instruments

    @property
    def time_ns(self) -> int:
        """Time of the last step taken in; -1 before the first."""
        return self._advancer.state.time_ns

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which instruments had a bar at the last step, bool [N]."""
        return self._present

    @property
    def rows_seen(self) -> NDArray[np.int64]:
        """How many bars each instrument has had since the state began, int64 [N]."""
        return self._advancer.state.counters[:, 0].copy()

    def update(self, time_ns: int, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take in one step and return its features, float64 [N, F].

        Args:
            time_ns: the step's decision time, later than the one before.
            rows: float64 [N, 9], columns as in ``core.domain.INPUT_COLUMNS``, NaN where an instrument has no bar.

        Raises:
            BadInputError: shapes do not fit, or time does not increase.
        """
        features = self._advancer.step(time_ns, rows)
        self._present = ~np.isnan(features[:, PRESENT_COLUMN])
        return features

    def windows(self) -> NDArray[np.float32]:
        """Return each instrument's last L feature rows, oldest first, float32 [N, L, F].

        A step without a bar adds no row: the window is the instrument's own last bars, as in training.
        """
        return np.ascontiguousarray(self._advancer.state.history[:, -self.window :])

    def save(self, path: Path) -> None:
        """Write the state atomically."""
        self._advancer.state.save(path)
