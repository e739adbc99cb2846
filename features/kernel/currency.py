"""Cross-currency strength: what the whole cross-section says about the two currencies of an instrument."""

import math

from features.kernel.columns import START
from features.kernel.compilation import Floats, Integers, Table, compiled

RETURNS = START["returns"]
STRENGTH = START["strength"]
DISPERSION = START["dispersion"]
SLOTS_OF_HORIZONS = (RETURNS, RETURNS + 3, RETURNS + 5)  # horizons 1, 5 and 21 rows


@compiled
def currency_features(
    present: Integers, base: Integers, quote: Integers, strength: Floats, members: Floats, out: Table
) -> None:
    """Write strengths and their dispersion for one time step.

    A currency's strength is the mean return of the instruments that hold it, counted positive where it is the base and
    negative where it is the quote; only instruments with a bar at this step and a return over the horizon take part.

    Args:
        present: bool [N].
        base, quote: int64 [N], positions of the two currencies.
        strength, members: float64 [C], scratch.
        out: float64 [N, F], returns are read from it.
    """
    for horizon in range(3):
        column = SLOTS_OF_HORIZONS[horizon]
        strength[:] = 0.0
        members[:] = 0.0
        for index in range(len(present)):
            if present[index]:
                move = out[index, column]
                if move == move:
                    strength[base[index]] += move
                    strength[quote[index]] -= move
                    members[base[index]] += 1.0
                    members[quote[index]] += 1.0
        total = 0.0
        known = 0.0
        for currency in range(len(strength)):
            if members[currency] > 0.0:
                strength[currency] /= members[currency]
                total += strength[currency]
                known += 1.0
        mean = total / known
        squares = 0.0
        for currency in range(len(strength)):
            if members[currency] > 0.0:
                difference = strength[currency] - mean
                squares += difference * difference
        dispersion = math.sqrt(squares / known)
        for index in range(len(present)):
            if present[index]:
                move = out[index, column]
                ours = strength[base[index]] if move == move else move
                theirs = strength[quote[index]]
                out[index, STRENGTH + 3 * horizon] = ours
                out[index, STRENGTH + 3 * horizon + 1] = theirs if move == move else move
                out[index, STRENGTH + 3 * horizon + 2] = ours - theirs
                out[index, DISPERSION + horizon] = dispersion if move == move else move
