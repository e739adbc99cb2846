"""Classes that count more while a model is fitted, and probabilities that are right all the same.

A model fitted on rows whose class ``k`` counts ``f_k`` fold answers ``q_k`` proportional to ``f_k p_k``. A forest is
put right afterwards: dividing by ``f_k`` gives ``p_k`` back (Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI
2001, theorem 2; Saerens et al., Neural Computation 14, 2002, equation 2.4). Boosting starts at ``log f_k`` and learns
what is beside it, which is ``log p_k`` (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, equation
10): stopped early, it would not have reached ``f_k`` yet, and dividing would overdo it. So the weights decide where a
model looks, and not how often it says a class comes.
"""

import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES
from training.model_parameters import ClassWeights

Factors = NDArray[np.float64]


def class_factors(option: ClassWeights, labels: NDArray[np.int8], weights: NDArray[np.float64]) -> Factors | None:
    """Return the factor of each class [3], so that the weight of all rows stays the same; None where all count one.

    Args:
        option: "balanced": every class that occurs weighs the same in sum. Or a factor a class. Or None.
        labels: classes, int8 [N].
        weights: of the rows, float64 [N].
    """
    if option is None:
        return None
    sums = np.bincount(labels, weights=weights, minlength=len(CLASSES))
    if option == "balanced":
        factors = np.divide(1.0, sums, out=np.ones(len(CLASSES)), where=sums > 0)
    else:
        factors = np.array([float(option[name]) for name in CLASSES])
    return factors * sums.sum() / (factors * sums).sum()


def put_right(probabilities: NDArray[np.float64], factors: Factors | None) -> NDArray[np.float64]:
    """Return probabilities [N, 3] as if all classes had counted the same."""
    if factors is None:
        return probabilities
    divided = probabilities / factors
    return divided / divided.sum(axis=1, keepdims=True)
