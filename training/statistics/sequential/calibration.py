"""Whether forecasts mean what they say, by betting against them.

The null is that each forecast is the law of its outcome given the past: ``P(Y = k | past) = p_k``. Whoever knows a
better law ``q`` before the outcome is paid ``q_Y / p_Y``, whose mean under the null is exactly 1 whatever ``q`` is, so
the product over time is an e-process (Henzi and Ziegel, "Valid sequential inference on probability forecast
performance", Biometrika 109, 2022; Arnold, Henzi and Ziegel, "Sequentially valid tests for forecast calibration",
Annals of Applied Statistics 17, 2023). The alternatives are recalibrations of the forecast itself,

    q_k proportional to p_k^slope * exp(shift_k),

over a fixed grid of slopes (below 1: the forecaster is too sure) and shifts of the sides, mixed with equal weights.

Two things are dependent that a product must not take as independent: outcomes of several instruments at one time
(their payments are averaged, which keeps the mean at 1 under any dependence) and outcomes whose horizons overlap (only
times a whole horizon apart are used: a look then never knows part of an outcome that is still open).
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from training.statistics.sequential.mean import EProcess

Array = NDArray[np.float64]
SLOPES = (0.25, 0.5, 0.75, 1.0, 1.5)
SHIFTS = (-0.5, 0.0, 0.5)  # of the log weight of short and of long
_SMALLEST = 1e-9  # a forecast of 0 that comes true would end every bet at once


def calibration_process(probabilities: Array, outcomes: NDArray[np.int64], times: NDArray[np.int64]) -> EProcess:
    """Return the evidence that forecasts are not calibrated, after each time.

    Args:
        probabilities: float64 [R, 3], rows in order of time.
        outcomes: int64 [R], the class that came true.
        times: int64 [R], ascending; rows of one time are averaged. Times must be a horizon apart (``spaced``).
    """
    if not len(outcomes):
        return EProcess(np.zeros(0))
    said = np.maximum(probabilities, _SMALLEST)
    said = said / said.sum(axis=1, keepdims=True)
    first = np.flatnonzero(np.diff(times, prepend=times[0] - 1))
    counts = np.diff(np.append(first, len(times)))
    rows = np.arange(len(outcomes))
    logs: list[Array] = []
    for slope, short, long in itertools.product(SLOPES, SHIFTS, SHIFTS):
        if (slope, short, long) == (1.0, 0.0, 0.0):
            continue  # the forecast itself pays nothing
        weighed = said**slope * np.exp(np.array([short, 0.0, long]))
        paid = (weighed / weighed.sum(axis=1, keepdims=True))[rows, outcomes] / said[rows, outcomes]
        logs.append(np.cumsum(np.log(np.add.reduceat(paid, first) / counts)))
    return EProcess(np.logaddexp.reduce(np.array(logs), axis=0) - np.log(len(logs)))


def spaced(steps: NDArray[np.int64], horizon: int) -> NDArray[np.bool_]:
    """Return which rows are used so that outcomes never overlap: steps are numbers of decision times, ascending."""
    chosen = np.zeros(len(steps), np.bool_)
    newest = None
    for index, step in enumerate(steps.tolist()):
        if newest is None or step == newest or step >= newest + horizon:
            chosen[index] = True
            newest = step
    return chosen
