"""Exact checks of time: purge, label ends and holdout."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.leaks.report import LeakRule
from training.splits import CombinatorialSplit, Split, purge


def overlaps(dataset: Dataset, folds: Sequence[Split]) -> LeakRule:
    """Count training rows whose label span meets the span of a test row's label of their fold."""
    found = 0
    for fold in folds:
        start, end = dataset.time_ns[fold.test].min(), dataset.label_end_ns[fold.test].max()
        spans = dataset.time_ns[fold.train], dataset.label_end_ns[fold.train]
        # A combinatorial split tests several windows: rows between them are no overlap.
        inside = (spans[1] >= start) & (spans[0] <= end)
        if isinstance(fold, CombinatorialSplit):
            inside = np.zeros(len(fold.train), np.bool_)
            for window in fold.windows:
                inside |= ~purge(spans[0], spans[1], window)
        found += int(np.count_nonzero(inside))
    return LeakRule(
        "purge",
        found == 0,
        float(found),
        0.0,
        f"{found} training rows carry a label that reaches into the test window of their fold",
    )


def purge_removed(dataset: Dataset, folds: Sequence[Split]) -> LeakRule:
    """Count the folds whose test window would meet no earlier label if the purge were taken away.

    Every label takes time, so the rows just before a test window must overlap it. Where no fold has such a row the
    label ends are not to be believed: the purge had nothing to hold on to. Single folds may follow a gap in the rows.
    """
    learns = _learns(dataset)
    idle = 0
    for fold in folds:
        start = dataset.time_ns[fold.test].min()
        before = learns & (dataset.time_ns < start)
        idle += int(not (before.any() and dataset.label_end_ns[before].max() >= start))
    return LeakRule(
        "purge_has_work",
        idle < len(folds),
        float(idle),
        float(len(folds) - 1),
        f"{idle} of {len(folds)} folds would lose no row without the purge",
    )


def label_ends(dataset: Dataset) -> LeakRule:
    """Count labels whose declared end is earlier than the time of the bar they end in."""
    wrong = 0
    spans = dataset.horizon if dataset.end_bar is None else dataset.end_bar - dataset.bar
    last = dataset.bar + spans
    for index in range(len(dataset.instruments)):
        rows = np.flatnonzero((dataset.instrument == index) & _learns(dataset))
        own = np.flatnonzero(dataset.instrument == index)
        bars, times = dataset.bar[own], dataset.time_ns[own]
        place = np.minimum(np.searchsorted(bars, last[rows]), len(bars) - 1)
        known = bars[place] == last[rows]
        wrong += int(np.count_nonzero(known & (dataset.label_end_ns[rows] < times[place])))
    return LeakRule(
        "label_ends", wrong == 0, float(wrong), 0.0, f"{wrong} labels claim to end before the bar that decides them"
    )


def holdout(dataset: Dataset) -> LeakRule:
    """Count rows that lie in the holdout or whose label does."""
    late = int(np.count_nonzero((dataset.time_ns >= dataset.cutoff_ns) | (dataset.label_end_ns >= dataset.cutoff_ns)))
    return LeakRule("holdout", late == 0, float(late), 0.0, f"{late} rows reach into the holdout")


def _learns(dataset: Dataset) -> NDArray[np.bool_]:
    """Return which rows carry a label that is learnt, bool [R]."""
    return np.ones(len(dataset.label), np.bool_) if dataset.side is None else dataset.side != 0
