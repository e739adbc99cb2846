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

Probabilities = NDArray[np.float32]


def mixed(champion: Probabilities, challenger: Probabilities, blend: Blend, time_ns: int) -> Probabilities:
    """Return the mixture float32 [N, 3] of two arrays [N, 3] at a market time."""
    first, second = champion.astype(np.float64), challenger.astype(np.float64)
    weight = weights(first, second, blend, time_ns)[:, None]
    return ((1.0 - weight) * first + weight * second).astype(np.float32)


def weights(
    champion: NDArray[np.float64], challenger: NDArray[np.float64], blend: Blend, time_ns: int
) -> NDArray[np.float64]:
    """Return the challenger's weight of every row, float64 [N] in [0, 1]."""
    weight = blend.weight_at(time_ns)
    if blend.weighting is not Weighting.CONFIDENCE:
        return np.full(len(champion), weight)
    mine, others = weight * _confidence(challenger), (1.0 - weight) * _confidence(champion)
    total = mine + others
    return np.where(total > 0.0, mine / np.where(total > 0.0, total, 1.0), weight)


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


def _confidence(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``ln 3 − H`` of rows [N, 3] in nats, not below 0."""
    with np.errstate(invalid="ignore"):  # rows without an answer stay NaN
        safe = np.where(probabilities > 0.0, probabilities, 1.0)
        return np.maximum(math.log(probabilities.shape[1]) + (probabilities * np.log(safe)).sum(axis=1), 0.0)
