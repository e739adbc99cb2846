"""Sample weights: a label that shares its span with others of its instrument says less.

Average uniqueness (López de Prado, *Advances in Financial Machine Learning*, 2018, chapter 4.4): with ``c[s]`` labels
of the instrument alive in step ``s``, a label over the bars ``(start, end]`` weighs the mean of ``1/c[s]`` over its
span. With a horizon of one step every weight is 1.
"""

import numpy as np
from numpy.typing import NDArray


def average_uniqueness(
    instrument: NDArray[np.int64], bar: NDArray[np.int64], horizon: int | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the average uniqueness of labels over so many bars after ``bar``; float64 [R] in (0, 1].

    Args:
        instrument: int64 [R], index of the instrument.
        bar: int64 [R], ordinal of the bar among the instrument's own.
        horizon: bars a label looks ahead, at least 1: one number, or int64 [R] where labels end at barriers.
    """
    weights = np.ones(len(bar))
    lengths = np.broadcast_to(np.asarray(horizon, np.int64), bar.shape)
    for index in np.unique(instrument):
        rows = np.flatnonzero(instrument == index)
        starts = bar[rows] - bar[rows].min()
        ends = starts + lengths[rows]
        alive = np.zeros(ends.max() + 2)
        np.add.at(alive, starts + 1, 1.0)
        np.add.at(alive, ends + 1, -1.0)
        concurrent = np.cumsum(alive)
        inverse = np.divide(1.0, concurrent, out=np.zeros_like(concurrent), where=concurrent > 0.5)
        total = np.cumsum(inverse)
        weights[rows] = (total[ends] - total[starts]) / (ends - starts)
    return weights
