"""Purged and embargoed walk-forward splits over decision times, compatible with scikit-learn.

All instruments of one time are on the same side of a split; what purge and embargo leave out is in ``windows``.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.errors import BadInputError
from training.splits.refusals import check_spans
from training.splits.windows import Indices, Split, Times, embargo, purge


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
            BadInputError: too few decision times, labels longer than a test window, or a training set that the purge
                leaves empty.
        """
        axis = np.unique(time_ns)
        if len(axis) < self.train_steps + self.folds:
            raise BadInputError(
                f"{len(axis)} decision times cannot hold validation.train_steps {self.train_steps} and "
                f"{self.folds} folds: lower train_steps or ingest a longer history"
            )
        edges = np.linspace(self.train_steps, len(axis), self.folds + 1).astype(np.int64)
        check_spans(time_ns, label_end_ns, axis, int(np.diff(edges).min()), "a test window")
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
