"""Purged and embargoed walk-forward splits over decision times, compatible with scikit-learn.

All instruments of one time are on the same side of a split. A training row is used for a test window only if nothing
of its label lies in it: its span ``[time, label_end]`` must not meet ``[first test time, last test label end]``
(López de Prado, *Advances in Financial Machine Learning*, 2018, chapter 7.4). The purge follows each label's own end,
so that a longer label, or a label over a gap, purges more without anybody setting a number.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError

Times = NDArray[np.int64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


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


@dataclass(frozen=True)
class Split:
    """Row indices of one fold and the closed window of information its test rows use."""

    number: int
    train: Indices
    test: Indices
    test_window: tuple[int, int]


@dataclass(frozen=True)
class WalkForward:
    """Walk-forward validation: ``folds`` adjoining test windows after the first ``train_steps`` decision times.

    Args:
        folds: number of test windows; together they cover everything after the first training window.
        train_steps: decision times of a training window before purging; the least for ``anchored``, which starts
            every training window at the beginning.
        embargo_steps: decision times after each earlier test window that later training sets leave out.
    """

    folds: int
    train_steps: int
    embargo_steps: int = 0
    scheme: Literal["rolling", "anchored"] = "rolling"

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 - scikit-learn's names
        """Return the number of folds, as scikit-learn asks for it."""
        return self.folds

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Generator[tuple[Indices, Indices]]:  # noqa: N803
        """Yield train and test indices; ``groups`` is int64 [R, 2] with the columns time and label end.

        Raises:
            BadInputError: no groups, or too few decision times.
        """
        if groups is None:
            raise BadInputError("walk-forward splits need groups: an array [R, 2] of decision time and label end")
        spans = np.asarray(groups, np.int64)
        for fold in self.folds_of(spans[:, 0], spans[:, 1]):
            yield fold.train, fold.test

    def folds_of(self, time_ns: Times, label_end_ns: Times) -> list[Split]:
        """Return the folds for rows with these decision times and label ends, both int64 [R].

        Raises:
            BadInputError: too few decision times, or a training set that the purge leaves empty.
        """
        axis = np.unique(time_ns)
        if len(axis) < self.train_steps + self.folds:
            raise BadInputError(
                f"{len(axis)} decision times cannot hold validation.train_steps {self.train_steps} and "
                f"{self.folds} folds: lower train_steps or ingest a longer history"
            )
        if np.any(label_end_ns < time_ns):
            raise BadInputError("a label ends before its decision time")
        edges = np.linspace(self.train_steps, len(axis), self.folds + 1).astype(np.int64)
        result: list[Split] = []
        windows: list[tuple[int, int]] = []
        for number in range(self.folds):
            low, high = int(edges[number]), int(edges[number + 1])
            test = (time_ns >= axis[low]) & (time_ns <= axis[high - 1])
            window = (int(axis[low]), int(label_end_ns[test].max()))
            first = 0 if self.scheme == "anchored" else low - self.train_steps
            train = (time_ns >= axis[first]) & (time_ns < axis[low])
            train &= purge(time_ns, label_end_ns, window)
            train &= embargo(time_ns, axis, windows, self.embargo_steps)
            if not train.any():
                raise BadInputError(f"fold {number + 1} has no training row left after purging: raise train_steps")
            result.append(Split(number, np.flatnonzero(train), np.flatnonzero(test), window))
            # The embargo counts from the last decision time of the window, not from where its labels end.
            windows.append((int(axis[low]), int(axis[high - 1])))
        return result


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
