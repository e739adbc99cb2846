"""Look-back windows that are gathered when they are asked for.

The windows [N, L, F] of a network hold each feature row L times: on a million rows of 60 features 20 rows deep that is
5 GB for a matrix of 0.24 GB. ``Windows`` keeps the one matrix and where each window ends.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class Windows:
    """N windows over one matrix of features.

    Args:
        features: float32 [R, F].
        rows: the last row of each window, int64 [N].
        lookback: L.
        order: rows of all instruments one after the other in time, int64 [R]; None where ``lookback`` is 1.
        place: where each row stands in that order, int64 [R].
        depth: rows of the same instrument before each row, int64 [R].
    """

    features: NDArray[np.float32]
    rows: Rows
    lookback: int
    order: Rows | None = None
    place: Rows | None = None
    depth: Rows | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, L, F."""
        return len(self.rows), self.lookback, self.features.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Rows | slice) -> NDArray[np.float32]:
        """Return the chosen windows, float32 [n, L, F], oldest row first; NaN before an instrument's first row."""
        ends = self.rows[chosen]
        if self.order is None or self.place is None or self.depth is None:
            return self.features[ends][:, None, :]
        steps = np.arange(self.lookback - 1, -1, -1)
        missing = steps[None, :] > self.depth[ends][:, None]
        back = self.place[ends][:, None] - steps[None, :]
        result = self.features[self.order[np.maximum(back, 0)]]
        result[missing] = np.nan
        return result

    def last(self, chosen: Rows | slice = slice(None)) -> NDArray[np.float32]:
        """Return the last row of the chosen windows, float32 [n, F]; a view where they adjoin: do not write."""
        return adjoining(self.features, self.rows[chosen])


def adjoining(values: NDArray[Value], rows: Rows) -> NDArray[Value]:
    """Return ``values[rows]``; a view where the rows adjoin, so that no memory is taken: do not write to it."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (rows[1:] > rows[:-1]).all():
        return values[rows[0] : rows[-1] + 1]
    return values[rows]


AnyWindows = NDArray[np.float32] | Windows


def last_rows(windows: AnyWindows, chosen: Rows | slice = slice(None)) -> NDArray[np.float32]:
    """Return the last row of the chosen windows, float32 [n, F]; do not write to it."""
    return windows.last(chosen) if isinstance(windows, Windows) else windows[chosen, -1]


def instrument_order(instrument: Rows, time_ns: Rows) -> tuple[Rows, Rows, Rows]:
    """Return ``order``, ``place`` and ``depth`` of ``Windows`` for rows of these instruments and times."""
    order = np.lexsort((time_ns, instrument))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    sorted_instrument = instrument[order]
    starts = np.flatnonzero(np.r_[True, np.diff(sorted_instrument) != 0])
    first = np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    depth = np.empty(len(order), np.int64)
    depth[order] = np.arange(len(order)) - first
    return order, place, depth
