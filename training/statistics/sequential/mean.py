"""Whether the mean of a stream is above zero, and where it is: at every look, at any stopping time.

Blocks are sums of paired differences over several decisions. They are neither bounded nor independent, and no test of
a mean has power without a bound of some kind (Bahadur and Savage, Annals of Mathematical Statistics 27, 1956). Here a
block is cut at multiples of a scale that was known before it. What is tested is therefore, word for word,

    E[ min(max(D, -loss * s), gain * s) | past ] <= 0   for every block,        (null of ``e_process(D)``)

with ``s`` the predictable scale. As ``loss > gain``, cutting favours the null: the mean of the cut block is at most the
mean of the block wherever losses beyond ``loss`` weigh no more than gains beyond ``gain``,

    E[(-D - loss * s)+ | past] <= E[(D - gain * s)+ | past],

so that a symmetric law of any weight of tail satisfies it. For other laws ``truncation_bias`` bounds what rare losses
beyond the cut may hide. Nothing else is assumed of tails, variances and their changes. What remains is the mean: given
the past, at the level of blocks, it must not be above zero. A block has to be longer than the memory of differences.

Bets: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal
Statistical Society B 86, 2024, section 4, the capital process ``prod (1 + lambda_i (X_i - m))``; e-processes: Ramdas,
Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38, 2023;
confidence sequences: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 49, 2021. The threshold ``1 / alpha`` at every look is Ville's inequality.
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.statistics.sequential.kernel import SHARES, log_wealth, predictable_scales

Array = NDArray[np.float64]
_LARGEST_LOG = 700.0  # e-values are shown as numbers: the next one would be infinite
_STEPS = 60  # of the bisection: to a 1e-18th of the bracket


class Cutting(msgspec.Struct, frozen=True, kw_only=True):
    """Where blocks are cut; all in blocks and predictable scales."""

    gain: float = 4.0
    loss: float = 6.0
    warm: int = 5
    half_life: float = 20.0

    def check(self) -> None:
        """Refuse values under which the tests mean nothing.

        Raises:
            BadInputError: naming the first one.
        """
        if not 0 < self.gain <= self.loss:
            raise BadInputError(
                f"blocks are cut at gains of {self.gain} and losses of {self.loss} scales: gains must be above 0 and "
                "not cut later than losses"
            )
        if self.warm < 1:
            raise BadInputError(f"at least 1 block must tell the scale before a bet is made, not {self.warm}")
        if not self.half_life > 0:
            raise BadInputError(f"the half-life of the scale must be above 0 blocks, not {self.half_life}")


@dataclass(frozen=True)
class EProcess:
    """The log e-value after each block, float64 [B]."""

    logs: Array

    @property
    def value(self) -> float:
        """The e-value now; 1 before the first bet."""
        return math.exp(min(float(self.logs[-1]), _LARGEST_LOG)) if len(self.logs) else 1.0

    @property
    def largest(self) -> float:
        """The largest e-value so far, at least 1: by Ville's inequality it is what alpha is held against."""
        return math.exp(min(max(float(self.logs.max(initial=0.0)), 0.0), _LARGEST_LOG))

    def rejected_at(self, alpha: float) -> int | None:
        """Return the block after which 1 / alpha was reached first; None where it never was."""
        reached = np.flatnonzero(self.logs >= -math.log(alpha))
        return int(reached[0]) if len(reached) else None


def e_process(blocks: Array, cutting: Cutting) -> EProcess:
    """Return the evidence that the mean of blocks is above zero.

    Args:
        blocks: float64 [B], in order of time. For the mean below zero give their negative.
        cutting: where they are cut.
    """
    scales = predictable_scales(blocks, cutting.warm, cutting.half_life)
    return EProcess(log_wealth(blocks, scales, 0.0, cutting.gain, cutting.loss, SHARES))


def confidence_sequence(blocks: Array, cutting: Cutting, confidence: float) -> tuple[float, float]:
    """Return the bounds of the mean of a block after the newest one, valid at all looks together.

    The means that the bets of ``e_process`` have not refused, from below and (on the negative) from above, each at half
    of the level; so the lower bound is above 0 exactly where the e-process has reached ``2 / (1 - confidence)``.

    Args:
        blocks: float64 [B].
        cutting: where they are cut.
        confidence: such as 0.9.

    Returns:
        Low and high; infinite before the first bet.
    """
    threshold = -math.log((1.0 - confidence) / 2.0)
    return _lower(blocks, cutting, threshold), -_lower(-blocks, cutting, threshold)


def truncation_bias(deviation: float, cutting: Cutting) -> float:
    """Return the most that losses beyond the cut may add to the mean of a cut block, in scales.

    ``E[(-D - c)+] <= E[D^2] / (4 c)`` for every law, as ``(x - c)+ <= x^2 / (4 c)``.

    Args:
        deviation: root mean square of a block given the past, in scales.
        cutting: where losses are cut.
    """
    return deviation**2 / (4.0 * cutting.loss)


def _lower(blocks: Array, cutting: Cutting, threshold: float) -> float:
    """Return the largest mean that was refused as too low; the wealth falls as the mean rises, so bisect."""
    scales = predictable_scales(blocks, cutting.warm, cutting.half_life)
    widest = float(scales.max(initial=0.0))
    if widest == 0.0:
        return -math.inf

    def refused(mean: float) -> bool:
        logs = log_wealth(blocks, scales, mean, cutting.gain, cutting.loss, SHARES)
        return bool(logs.max() >= threshold)

    high = max(float(blocks.max()), 0.0) + widest
    low = -widest
    while not refused(low):
        low *= 2.0
        if low < -1e9 * widest:
            return -math.inf
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if refused(middle):
            low = middle
        else:
            high = middle
    return low
