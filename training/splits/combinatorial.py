"""Combinatorial purged cross-validation: every choice of test groups, and the paths their predictions make up.

Decision times are cut into ``groups`` adjoining groups; each choice of ``test_groups`` of them is a split, ``C(N, k)``
in all, trained on what is left after purge and embargo. Every group is tested ``C(N-1, k-1)`` times, so that the
predictions line up to ``φ = k/N · C(N, k)`` complete paths through history instead of one (López de Prado, *Advances in
Financial Machine Learning*, 2018, chapter 12.3 and 12.4).

Training rows lie after test rows as well as before: this tells how a result spreads over histories that could have
been, it does not replace the walk-forward test of what could have been known.
"""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.splits.refusals import check_spans
from training.splits.windows import Indices, Split, Times, embargo, purge

MAXIMUM_SPLITS = 10_000  # more fits than that is a typing mistake


@dataclass(frozen=True)
class CombinatorialSplit(Split):
    """One choice of test groups; ``test_window`` reaches from the first to the last of them."""

    groups: tuple[int, ...]  # which groups are tested
    windows: tuple[tuple[int, int], ...]  # of each: first decision time and last label end


@dataclass(frozen=True)
class CombinatorialPurged:
    """Combinatorial purged cross-validation over decision times, compatible with scikit-learn.

    Args:
        groups: number of groups N the decision times are cut into.
        test_groups: how many of them, k, are tested at once.
        embargo_steps: decision times after the last label end of each tested group that no training set uses.
    """

    groups: int = 6
    test_groups: int = 2
    embargo_steps: int = 0

    def __post_init__(self) -> None:
        if self.groups < 2 or not 1 <= self.test_groups < self.groups:
            raise BadInputError(
                f"combinatorial splits need 1 <= test_groups < groups, not {self.test_groups} of {self.groups}"
            )
        if self.embargo_steps < 0:
            raise BadInputError(f"the embargo must not be negative, not {self.embargo_steps}")
        if self.get_n_splits() > MAXIMUM_SPLITS:
            raise BadInputError(
                f"{self.test_groups} of {self.groups} groups make {self.get_n_splits()} splits, at most "
                f"{MAXIMUM_SPLITS}: lower groups or test_groups"
            )

    @property
    def path_count(self) -> int:
        """The number of complete paths, φ."""
        return comb(self.groups - 1, self.test_groups - 1)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803 - scikit-learn's names
        """Return the number of splits, as scikit-learn asks for it."""
        return comb(self.groups, self.test_groups)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Generator[tuple[Indices, Indices]]:  # noqa: N803
        """Yield train and test indices; ``groups`` is int64 [R, 2] with the columns time and label end.

        Raises:
            BadInputError: no groups, or too few decision times.
        """
        if groups is None:
            raise BadInputError("combinatorial splits need groups: an array [R, 2] of decision time and label end")
        spans = np.asarray(groups, np.int64)
        for fold in self.folds_of(spans[:, 0], spans[:, 1]):
            yield fold.train, fold.test

    def group_of(self, time_ns: Times) -> NDArray[np.int64]:
        """Return the group of each row, int64 [R]: equal numbers of decision times, whatever rows they hold."""
        axis = np.unique(time_ns)
        return np.searchsorted(self._edges(len(axis))[1:], np.searchsorted(axis, time_ns), side="right")

    def folds_of(self, time_ns: Times, label_end_ns: Times) -> list[CombinatorialSplit]:
        """Return the splits for rows with these decision times and label ends, both int64 [R].

        They are ordered as ``itertools.combinations`` orders their groups; rows may come in any order.

        Raises:
            BadInputError: too few decision times, labels longer than a group, or a training set that is left empty.
        """
        axis = np.unique(time_ns)
        if len(axis) < self.groups:
            raise BadInputError(
                f"{len(axis)} decision times cannot make {self.groups} groups: lower groups or ingest a longer history"
            )
        edges = self._edges(len(axis))
        check_spans(time_ns, label_end_ns, axis, int(np.diff(edges).min()), "a group")
        group = self.group_of(time_ns)
        windows: list[tuple[int, int]] = []
        usable: list[NDArray[np.bool_]] = []  # per group: the rows a training set may hold when it is tested
        for number in range(self.groups):
            window = (int(axis[edges[number]]), int(label_end_ns[group == number].max()))
            windows.append(window)
            keep = purge(time_ns, label_end_ns, window) & embargo(time_ns, axis, [window], self.embargo_steps)
            usable.append(keep & (group != number))
        result: list[CombinatorialSplit] = []
        for number, tested in enumerate(combinations(range(self.groups), self.test_groups)):
            train = np.logical_and.reduce([usable[index] for index in tested])
            if not train.any():
                raise BadInputError(
                    f"testing groups {', '.join(str(index + 1) for index in tested)} leaves no training row after "
                    "purging: raise groups or lower the embargo"
                )
            own = tuple(windows[index] for index in tested)
            result.append(
                CombinatorialSplit(
                    number,
                    np.flatnonzero(train),
                    np.flatnonzero(np.isin(group, tested)),
                    (own[0][0], max(end for _, end in own)),
                    tested,
                    own,
                )
            )
        return result

    def paths(self) -> NDArray[np.int64]:
        """Return which split predicts each group on each path, int64 [φ, N].

        Path ``p`` takes of every group the ``p``-th split that tests it, so that each split's prediction of a group is
        used on exactly one path (figure 12.2 of the book).
        """
        splits = list(combinations(range(self.groups), self.test_groups))
        columns = [[n for n, tested in enumerate(splits) if group in tested] for group in range(self.groups)]
        return np.array(columns, np.int64).T.copy()

    def assemble(
        self, time_ns: Times, folds: list[CombinatorialSplit], predictions: list[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the paths' predictions, float64 [φ, R, ...], from those of each split's test rows, [tests, ...].

        Raises:
            BadInputError: not one prediction per split and test row.
        """
        if [len(values) for values in predictions] != [len(fold.test) for fold in folds]:
            raise BadInputError("paths need one prediction for each test row of each split")
        group = self.group_of(time_ns)
        answer = np.full((self.path_count, len(time_ns), *predictions[0].shape[1:]), np.nan)
        for path, chosen in enumerate(self.paths()):
            for number, split in enumerate(chosen):
                rows = folds[split].test
                here = group[rows] == number
                answer[path, rows[here]] = predictions[split][here]
        return answer

    def _edges(self, count: int) -> NDArray[np.int64]:
        return np.linspace(0, count, self.groups + 1).astype(np.int64)
