"""The windows of a walk-forward strategy search, in days of one research span, and the span it never sees.

::

    | research span: everything the search computes on                  | unseen span | holdout |
    | training 0 ......... | test 0 |                                   |             |         |
    |          | training 1 ......... | test 1 |                        |             |         |
    |                                ...                                |             |         |
    |                       final: | training .........................  | test        | not read|

Fold ``k`` chooses on its training window and is scored on its test window. The last fold, called *final*, has its
training window at the end of the research span and its test window is the unseen span: nothing after the research span
is in the arrays the search works on. A rule has no labels, its state looks back only, and returns are marked every
bar: the windows need no purge.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from trading.matching.schedule import day_end

LEAST_DAYS = 40  # of a training or test window: fewer say nothing about a Sharpe ratio


@dataclass(frozen=True)
class Fold:
    """Training window and test window as half-open ranges of days; the final fold's test window is ``None``."""

    number: int
    train: tuple[int, int]
    test: tuple[int, int] | None

    @property
    def final(self) -> bool:
        """Whether this fold chooses what will be used."""
        return self.test is None


def folds_of(
    days: int, folds: int, train_share: float, scheme: Literal["rolling", "anchored"] = "rolling"
) -> list[Fold]:
    """Return ``folds`` walk-forward folds and the final one over a research span of ``days`` days.

    The test windows adjoin, are disjoint, and cover everything after the first training window.

    Raises:
        BadInputError: a window would be shorter than ``LEAST_DAYS`` days.
    """
    train = int(days * train_share)
    edges = np.linspace(train, days, folds + 1).astype(np.int64)
    shortest = int(np.diff(edges).min())
    if train < LEAST_DAYS or shortest < LEAST_DAYS:
        raise BadInputError(
            f"a research span of {days} trading days gives training windows of {train} and test windows of {shortest} "
            f"days, at least {LEAST_DAYS} are needed: ingest a longer history, or lower search.strategy.windows.folds"
        )
    result: list[Fold] = []
    for number in range(folds + 1):
        end = int(edges[number])
        start = 0 if scheme == "anchored" else end - train
        result.append(Fold(number, (start, end), (end, int(edges[number + 1])) if number < folds else None))
    return result


@dataclass(frozen=True)
class Days:
    """The days of a time axis: where each begins among the steps, and when it ends.

    Attributes:
        first: int64 [D], index of the first step of each day.
        end_ns: int64 [D], time of the last step of each day.
        steps: number of steps T.
    """

    first: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    steps: int

    def __len__(self) -> int:
        return len(self.first)

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums per day of values per step; float64 [P, T] to [P, D]."""
        return np.add.reduceat(values, self.first, axis=1)

    def years(self, window: tuple[int, int]) -> float:
        """Return the length of a window of days in years of 365.25 days, weekends and holidays included."""
        start, end = window
        begin = self.end_ns[start - 1] if start else self.end_ns[0] - _DAY
        return float(self.end_ns[end - 1] - begin) / (365.25 * _DAY)


_DAY = 86_400_000_000_000


def days_of(times_ns: NDArray[np.int64]) -> Days:
    """Group steps by trading day, which ends at 17:00 New York; a bar belongs to the day that its close falls into.

    Sunday evening is part of Monday, as for the exchange. A daily series has one step a day.
    """
    ends = [day_end(int(times_ns[0]) - 1)]
    while ends[-1] < times_ns[-1]:
        ends.append(day_end(ends[-1]))
    day = np.searchsorted(np.array(ends), times_ns)
    first = np.flatnonzero(np.r_[True, day[1:] != day[:-1]]).astype(np.int64)
    last = np.r_[first[1:], len(times_ns)] - 1
    return Days(first, times_ns[last], len(times_ns))
