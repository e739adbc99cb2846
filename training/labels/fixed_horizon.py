"""Fixed-horizon labels after cost, compiled: their class, and what a trade would have realised.

A decision at bar ``t`` of an instrument buys at the ask (sells at the bid) of that bar's close and closes at the other
side ``horizon`` of the instrument's own bars later, paying slippage and commission on both sides. With ``m`` the move
of the middle and ``C`` the whole round trip in price units

    C = half_spread[t] + half_spread[t+h] + 2 * slippage + commission * (middle[t] + middle[t+h])

a row is *long* where ``m > k*C``, *short* where ``m < -k*C`` and *flat* otherwise; ``k`` is ``minimum_edge``. With
``k = 1`` long means exactly that a long paid after cost. Information up to ``label_end_ns`` went into the label: that
is what purging must respect (López de Prado, *Advances in Financial Machine Learning*, 2018, chapter 7.4.1).
"""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def fixed_horizon(  # pragma: no cover - compiled
    middle: NDArray[np.float64],
    half: NDArray[np.float64],
    slippage: float,
    commission: float,
    horizon: int,
    edge: float,
    decay: float,
    warm: int,
    trail: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8], NDArray[np.float64]]:
    """Label the gapless series of one instrument.

    Args:
        middle: float64 [n], no NaN.

    Returns:
        Start index, end index and class of each labelled bar, and float64 [n, 7]: net long, net short, round-trip cost,
        cost of one side, next step's return, volatility, trailing return.
    """
    n = len(middle)
    count = max(n - horizon, 0)
    start = np.arange(count)
    end = start + horizon
    label = np.empty(count, np.int8)
    out = np.full((count, 7), np.nan)
    variance = 0.0
    seen = 0
    for t in range(count):
        if t > 0:
            squared = np.log(middle[t] / middle[t - 1]) ** 2
            # The plain mean until the window is full: an exponential start would lean on the first return.
            seen += 1
            weight = max(1.0 - decay, 1.0 / seen)
            variance += weight * (squared - variance)
        e = t + horizon
        move = middle[e] - middle[t]
        cost = half[t] + half[e] + 2.0 * slippage + commission * (middle[t] + middle[e])
        label[t] = 2 if move > edge * cost else (0 if -move > edge * cost else 1)
        out[t, 0] = (move - cost) / middle[t]
        out[t, 1] = (-move - cost) / middle[t]
        # What is known at the decision: today's spread on both sides.
        out[t, 3] = (half[t] + slippage) / middle[t] + commission
        out[t, 2] = 2.0 * out[t, 3]
        out[t, 4] = middle[t + 1] / middle[t] - 1.0
        if seen >= warm:
            out[t, 5] = np.sqrt(variance)
        if t >= trail:
            out[t, 6] = middle[t] / middle[t - trail] - 1.0
    return start, end, label, out
