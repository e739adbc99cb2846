"""A mixture of two versions' probabilities, for a gradual hand-over.

With ``w`` the challenger's weight of the policy at the decision's market time, every row of the mixture is
``(1 − v)·champion + v·challenger``:

* fixed, performance: ``v = w``. Performance weights come from ``performance_weight`` and are written into the policy,
  so that they too can be read from its revision.
* confidence: ``v = w·c₂ / ((1 − w)·c₁ + w·c₂)`` with the confidence ``c = ln 3 − H(p)``, the information a row carries
  beyond the uniform distribution (``H``: Shannon entropy in nats). A row on which neither says anything takes ``w``.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.traffic.policy import Blend, Weighting

_ROUNDING = 1e-9  # nats; what uniform probabilities in float32 seem to say
_TINY = 1e-300  # its logarithm is finite, so that a probability of 0 adds 0


def mixed(scored: NDArray[np.float32], blend: Blend, time_ns: int) -> NDArray[np.float32]:
    """Return the mixture float32 [N, 3] of what champion and challenger said, [2, N, 3], at a market time.

    A row that one of them left NaN is NaN.
    """
    values = scored.astype(np.float64)
    weight = weights(values, blend, time_ns)[:, None]
    return ((1.0 - weight) * values[0] + weight * values[1]).astype(np.float32)


def weights(scored: NDArray[np.float64], blend: Blend, time_ns: int) -> NDArray[np.float64]:
    """Return the challenger's weight of every row, float64 [N] in [0, 1]."""
    weight = blend.weight_at(time_ns)
    if blend.weighting is not Weighting.CONFIDENCE:
        return np.full(scored.shape[1], weight)
    confidence = math.log(3.0) + (scored * np.log(np.maximum(scored, _TINY))).sum(axis=2)
    confidence = np.where(confidence > _ROUNDING, confidence, 0.0)
    mine, others = weight * confidence[1], (1.0 - weight) * confidence[0]
    total = mine + others
    return np.where(total > 0.0, mine / np.maximum(total, _TINY), weight)


def performance_weight(champion: Sequence[float], challenger: Sequence[float], rate: float) -> float:
    """Return the challenger's weight from both versions' net returns of the same blocks, in [0, 1].

    Exponentially weighted forecaster: a version weighs ``exp(rate · sum of its returns)``, both begin with a half
    (Cesa-Bianchi and Lugosi, *Prediction, Learning, and Games*, 2006, section 2.2, with losses ``−return``).

    Args:
        champion: net returns of the blocks, fractions of equity.
        challenger: of the same blocks.
        rate: how fast money moves the weight: at 100 a lead of one percent of equity gives 0.73 of it.
    """
    lead = rate * (math.fsum(challenger) - math.fsum(champion))
    return 1.0 / (1.0 + math.exp(-lead)) if lead >= 0.0 else math.exp(lead) / (1.0 + math.exp(lead))
