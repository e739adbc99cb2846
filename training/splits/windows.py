"""What splits are made of: spans of labels, closed windows of information, purge and embargo.

A training row is used for a test window only if nothing of its label lies in it: its span ``[time, label_end]`` must
not meet ``[first test time, last test label end]`` (López de Prado, *Advances in Financial Machine Learning*, 2018,
chapter 7.4). The purge follows each label's own end, so that a longer label, or a label over a gap, purges more without
anybody setting a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError

Times = NDArray[np.int64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """Row indices of one fold and the closed window of information its test rows use."""

    number: int
    train: Indices
    test: Indices
    test_window: tuple[int, int]


def purge(time_ns: Times, label_end_ns: Times, window: tuple[int, int]) -> Mask:
    """Return which rows' label spans ``[time, label_end]`` do not meet the closed window ``[start, end]``; bool [R]."""
    start, end = window
    return (label_end_ns < start) | (time_ns > end)


def embargo(time_ns: Times, axis: Times, windows: Sequence[tuple[int, int]], steps: int) -> Mask:
    """Return which rows do not lie in the ``steps`` decision times that follow any of the closed windows; bool [R]."""
    keep = np.ones(len(time_ns), np.bool_)
    for _, end in windows:
        after = np.searchsorted(axis, end, side="right")
        if after < len(axis) and steps > 0:
            last = axis[min(after + steps, len(axis)) - 1]
            keep &= ~((time_ns > end) & (time_ns <= last))
    return keep


def last_window(time_ns: Times, train_steps: int) -> Indices:
    """Return the rows of the last ``train_steps`` decision times: the training set of the final model."""
    axis = np.unique(time_ns)
    return np.flatnonzero(time_ns >= axis[max(len(axis) - train_steps, 0)])


def validation_tail(time_ns: Times, label_end_ns: Times, share: float) -> tuple[Indices, Indices]:
    """Split a training set by time for early stopping: the last ``share`` of its decision times validates.

    Fitting rows whose label reaches the validation window are purged.

    Returns:
        Indices of the fitting and the validation rows.

    Raises:
        BadInputError: one side would be empty.
    """
    axis = np.unique(time_ns)
    edge = axis[min(max(int(len(axis) * (1.0 - share)), 1), len(axis) - 1)]
    validation = time_ns >= edge
    fit = ~validation & purge(time_ns, label_end_ns, (int(edge), int(label_end_ns[validation].max())))
    if not fit.any() or not validation.any():
        raise BadInputError(f"{len(axis)} decision times are too few to hold out {share:.0%} for early stopping")
    return np.flatnonzero(fit), np.flatnonzero(validation)
