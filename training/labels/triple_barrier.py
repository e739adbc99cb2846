"""Triple-barrier labels after cost, compiled: the first of target, stop and horizon ends each side's trade.

A long decided at bar ``t`` buys at the ask of that bar's close and watches the bid of the bars that follow; a short
sells at the bid and watches the ask. Each has a target and a stop at a distance from its own entry price and ends after
``horizon`` own bars at the latest (López de Prado, *Advances in Financial Machine Learning*, 2018, chapter 3.4, where
both sides share barriers around one price and trade for nothing).

What a bar says about the path inside it is its open, high and low, so where the order is not known the worse is taken:

* a bar that touches both barriers met the stop first, unless it opened beyond the target: the open came before;
* a stop fills at its level, or at the open where the bar opened beyond it;
* a target fills at its level, never better.

A side *pays* where the move of the middle to its exit beats ``minimum_edge`` round trips, as for a fixed horizon. A row
is *long* where the long pays, *short* where the short pays, and the one that paid first where both did (possible with a
stop wider than the target); in the same bar, or where neither pays, it is *flat*.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@numba.njit(cache=True)
def triple_barrier(  # pragma: no cover - compiled
    middle: Array,
    half: Array,
    bid: Array,
    ask: Array,
    distance: Array,
    target: float,
    stop: float,
    slippage: float,
    commission: float,
    horizon: int,
    edge: float,
) -> tuple[NDArray[np.int8], NDArray[np.int64], Array, NDArray[np.int8]]:
    """Label the gapless series of one instrument of ``n`` bars; ``count = max(n - horizon, 0)`` rows.

    Args:
        middle, half: closing middle and half spread, float64 [n], no NaN.
        bid, ask: opens, highs and lows of the bars, float64 [n, 3], price.
        distance: what one unit of a barrier is worth at each bar, float64 [count], price; NaN or 0: not labelled here.
        target, stop: distances in units; infinity: no such barrier.
        slippage: a side, price.
        commission: a side, fraction of the notional.
        horizon: own bars until the vertical barrier.
        edge: round trips a move must beat to pay.

    Returns:
        Class int8 [count]; last bar of the long and of the short, int64 [count, 2]; their net returns as fractions of
        the entry's middle, float64 [count, 2]; and int8 [count, 4]: which barrier ended them, and whether they paid.
        Where ``distance`` is no distance the last bars are -1.
    """
    count = max(len(middle) - horizon, 0)
    label = np.empty(count, np.int8)
    end = np.empty((count, 2), np.int64)
    net = np.empty((count, 2), np.float64)
    how = np.empty((count, 4), np.int8)
    for t in range(count):
        unit = distance[t]
        if not unit > 0.0:
            label[t] = 1
            end[t, 0] = end[t, 1] = -1
            net[t, 0] = net[t, 1] = np.nan
            how[t, 0] = how[t, 1] = how[t, 2] = how[t, 3] = 0
            continue
        last = t + horizon

        entry = middle[t] + half[t]
        upper, lower = entry + target * unit, entry - stop * unit
        e, touch, price = last, 0, middle[last]
        for s in range(t + 1, last + 1):
            if bid[s, 2] <= lower or bid[s, 1] >= upper:
                e = s
                if bid[s, 0] >= upper or bid[s, 2] > lower:
                    touch, price = 1, upper + half[s]
                else:
                    touch, price = -1, min(lower, bid[s, 0]) + half[s]
                break
        move = price - middle[t]
        cost = half[t] + half[e] + 2.0 * slippage + commission * (middle[t] + price)
        long_pays = move > edge * cost
        end[t, 0], how[t, 0], how[t, 2] = e, touch, long_pays
        net[t, 0] = (move - cost) / middle[t]
        long_end = e

        entry = middle[t] - half[t]
        lower, upper = entry - target * unit, entry + stop * unit
        e, touch, price = last, 0, middle[last]
        for s in range(t + 1, last + 1):
            if ask[s, 1] >= upper or ask[s, 2] <= lower:
                e = s
                if ask[s, 0] <= lower or ask[s, 1] < upper:
                    touch, price = 1, lower - half[s]
                else:
                    touch, price = -1, max(upper, ask[s, 0]) - half[s]
                break
        move = price - middle[t]
        cost = half[t] + half[e] + 2.0 * slippage + commission * (middle[t] + price)
        short_pays = -move > edge * cost
        end[t, 1], how[t, 1], how[t, 3] = e, touch, short_pays
        net[t, 1] = (-move - cost) / middle[t]

        if long_pays and (not short_pays or long_end < e):
            label[t] = 2
        elif short_pays and (not long_pays or e < long_end):
            label[t] = 0
        else:
            label[t] = 1
    return label, end, net, how
