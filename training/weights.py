"""Sample weights: a label that shares its span with others of its instrument says less.

Average uniqueness (López de Prado, *Advances in Financial Machine Learning*, 2018, chapter 4.4): with ``c[s]`` labels
of the instrument alive in step ``s``, a label over ``(t, t+h]`` weighs the mean of ``1/c[s]`` over its span. With a
horizon of one step every weight is 1.
"""

import numpy as np
from numpy.typing import NDArray


def average_uniqueness(instrument: NDArray[np.int64], bar: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
    """Return the average uniqueness of labels over ``horizon`` bars from ``bar``; float64 [R] in (0, 1].

    Args:
        instrument: int64 [R], index of the instrument.
        bar: int64 [R], ordinal of the bar among the instrument's own.
        horizon: bars a label looks ahead.
    """
    weights = np.ones(len(bar))
    for index in np.unique(instrument):
        rows = np.flatnonzero(instrument == index)
        starts = bar[rows] - bar[rows].min()
        alive = np.zeros(starts.max() + horizon + 2)
        np.add.at(alive, starts + 1, 1.0)
        np.add.at(alive, starts + horizon + 1, -1.0)
        concurrent = np.cumsum(alive)
        inverse = np.divide(1.0, concurrent, out=np.zeros_like(concurrent), where=concurrent > 0.5)
        total = np.cumsum(inverse)
        weights[rows] = (total[starts + horizon] - total[starts]) / horizon
    return weights
