"""The compiled part: predictable scales of a stream, and the wealth of bets on its mean.

Both walk a stream in order and use nothing of a block before it is paid: that is what makes them valid at every look.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Shares of the wealth that are bet on every block, as a mixture with equal weights: the largest may lose four fifths
# of its part in the worst block, the smallest one twentieth. With fixed shares nothing is learnt from the stream, so
# that dependence between blocks cannot be bet on; a mixture stays near its best share in hindsight, at the price of
# log 5 (the method of mixtures: Howard et al. 2021; for bets: Cover, Mathematical Finance 1, 1991).
SHARES = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
_ABSOLUTE = np.sqrt(np.pi / 2.0)  # standard deviation over mean absolute value of a normal law


@numba.njit(cache=True)
def predictable_scales(blocks: Array, warm: int, half_life: float) -> Array:  # pragma: no cover - compiled
    """Return the scale of each block as it was known before the block; 0 where no bet is made.

    The larger of the plain mean of all absolute values before and one that forgets by half in ``half_life`` blocks:
    a quiet time must not make the next loud block one that is cut.

    Args:
        blocks: float64 [B].
        warm: so many blocks only tell the scale.
        half_life: in blocks.
    """
    scales = np.zeros(len(blocks))
    forget = 1.0 - 0.5 ** (1.0 / half_life)
    recent = plain = 0.0
    for index in range(len(blocks)):
        if index >= warm:
            scales[index] = _ABSOLUTE * max(recent, plain)
        size = abs(blocks[index])
        plain += (size - plain) / (index + 1.0)
        recent += max(forget, 1.0 / (index + 1.0)) * (size - recent)
    return scales


@numba.njit(cache=True)
def log_wealth(
    blocks: Array, scales: Array, mean: float, gain: float, loss: float, shares: Array
) -> Array:  # pragma: no cover - compiled
    """Return the log wealth after each block of bets that the mean is above ``mean``; float64 [B].

    A block is cut to ``[-loss * scale, gain * scale]`` and bet on as a share of the most that can be lost, so each
    factor is at least ``1 - share`` and has a mean of at most 1 where the mean of the cut block is at most ``mean``.

    Args:
        blocks: float64 [B].
        scales: float64 [B], known before each block; 0 makes no bet.
        mean: that is bet against.
        gain: where gains are cut, in scales.
        loss: where losses are cut, in scales.
        shares: float64 [J], below 1.
    """
    logs = np.full(len(shares), -np.log(len(shares)))
    result = np.zeros(len(blocks))
    wealth = 0.0
    for index in range(len(blocks)):
        scale = scales[index]
        if scale > 0.0:
            cut = min(max(blocks[index], -loss * scale), gain * scale)
            paid = (cut - mean) / (loss * scale + max(mean, 0.0))
            largest = -np.inf
            for j in range(len(shares)):
                logs[j] += np.log1p(shares[j] * paid)
                largest = max(largest, logs[j])
            total = 0.0
            for j in range(len(shares)):
                total += np.exp(logs[j] - largest)
            wealth = largest + np.log(total)
        result[index] = wealth
    return result


@numba.njit(cache=True)
def stream_wealth(
    streams: Array, warm: int, half_life: float, gain: float, loss: float, shares: Array
) -> Array:  # pragma: no cover - compiled
    """Return the log wealth against a mean of at most 0 for many streams; float64 [S, B] to float64 [S, B]."""
    result = np.empty_like(streams)
    for row in range(streams.shape[0]):
        scales = predictable_scales(streams[row], warm, half_life)
        result[row] = log_wealth(streams[row], scales, 0.0, gain, loss, shares)
    return result
