"""What no split can be made of is refused before any work starts, in one line that says what to change."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES
from core.errors import BadInputError
from training.splits.windows import Split, Times


def check_spans(time_ns: Times, label_end_ns: Times, axis: Times, shortest: int, what: str) -> None:
    """Refuse labels that end before they begin, or that typically outlast the shortest test window.

    A label longer than its fold makes the purge eat the neighbours of every window, and what is left tests the gap
    between regimes rather than the model. The median counts: single labels over a gap are what the purge is for.

    Args:
        time_ns: decision times, int64 [R].
        label_end_ns: label ends, int64 [R].
        axis: the distinct decision times, sorted.
        shortest: decision times of the shortest test window.
        what: how the caller calls a test window.

    Raises:
        BadInputError: naming the numbers.
    """
    if np.any(label_end_ns < time_ns):
        raise BadInputError("a label ends before its decision time: run the labels stage again")
    spans = np.searchsorted(axis, label_end_ns, side="right") - 1 - np.searchsorted(axis, time_ns)
    # An end beyond the axis counts as far as the axis goes; labels of the last rows cannot be told apart there.
    inside = label_end_ns <= axis[-1]
    typical = float(np.median(spans[inside])) if inside.any() else float(len(axis))
    if typical > shortest:
        raise BadInputError(
            f"half of the labels span {typical:g} decision times or more, longer than {what} of {shortest}: "
            "lower labels.horizon or validation.folds, or ingest a longer history"
        )


def check_classes(label: NDArray[np.int8], folds: Sequence[Split], weights: NDArray[np.float64]) -> None:
    """Refuse labels in which a class never occurs, in the whole data set or in a fold's training rows.

    Args:
        label: classes, int8 [R].
        folds: the splits.
        weights: float64 [R]; rows of weight 0 teach nothing and do not count.

    Raises:
        BadInputError: naming class and fold.
    """
    for index, name in enumerate(CLASSES):
        here = (label == index) & (weights > 0)
        if not here.any():
            raise BadInputError(
                f"the class {name} never occurs among {len(label)} labels: change labels.minimum_edge or labels.horizon"
            )
        for fold in folds:
            if not here[fold.train].any():
                raise BadInputError(
                    f"the class {name} never occurs among the {len(fold.train)} training rows of fold "
                    f"{fold.number + 1}: raise validation.train_steps or change labels.minimum_edge"
                )
