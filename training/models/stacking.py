"""Stacking: a logistic regression on the log-odds of components (Wolpert, "Stacked Generalization", Neural Networks 5,
1992; Ting and Witten, "Issues in Stacked Generalization", JAIR 10, 1999, section 4: on probabilities, by a regression).

Like the calibration it speaks of two log-odds, direction ``d`` and flatness ``f``, around what the class frequencies
say (``d0``, ``f0``); component ``k`` has a weight for each:

    d' = d0 + sum_k a_k (d_k - d0)        f' = f0 + sum_k b_k (f_k - f0)

Weights lie in [0, 1], as slopes of a calibration do and for the same reasons (``training.models.calibration``); their
sum may exceed 1, for evidence of components that err independently adds up. With K components there are 2 K numbers to
learn; a ridge pulls them to equal shares, which is the logarithmic pool.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.models.calibration import DIRECTION, FLATNESS, MIDDLE, SIDES, log_floored, log_softmax

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticStack:
    """Weights of components' direction and flatness, each float64 [K]."""

    direction: NDArray[np.float64]
    flatness: NDArray[np.float64]

    def matrices(self) -> NDArray[np.float64]:
        """Return what each component's log probabilities are multiplied with, float64 [K, 3, 3]."""
        return (
            self.direction[:, None, None] * np.outer(DIRECTION, SIDES)
            + self.flatness[:, None, None] * np.outer(FLATNESS, MIDDLE)
        )  # fmt: skip

    def bias(self, frequencies: Probabilities) -> Probabilities:
        """Return what the frequencies [..., 3] add to the logits, float64 [..., 3]."""
        logs = log_floored(frequencies)
        direction = (1.0 - self.direction.sum()) * (logs @ DIRECTION)[..., None] * SIDES
        return direction + (1.0 - self.flatness.sum()) * (logs @ FLATNESS)[..., None] * MIDDLE

    def combine(self, stacked: Probabilities, frequencies: Probabilities) -> Probabilities:
        """Return probabilities [N, 3] from those of components [K, N, 3] and the class frequencies [3] or [N, 3]."""
        logits = np.einsum("kni,kij->nj", log_floored(stacked), self.matrices()) + self.bias(frequencies)
        return np.exp(log_softmax(logits))

    def shares(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return the weights of each component by question."""
        named = (("direction", self.direction), ("flatness", self.flatness))
        return {f"{name}_{question}": float(values[k]) for k, name in enumerate(names) for question, values in named}


def fit_stack(
    stacked: Probabilities,
    frequencies: Probabilities,
    labels: NDArray[np.int8],
    weights: NDArray[np.float64],
    ridge: float,
) -> LogisticStack:
    """Fit by weighted maximum likelihood.

    Args:
        stacked: out-of-fold probabilities of components, float64 [K, N, 3].
        frequencies: class frequencies of the window that each row's models were trained on, float64 [N, 3].
        labels: classes, int8 [N].
        weights: of the rows, float64 [N], not all zero.
        ridge: pull to equal shares, in nats for a weight that is off by one.
    """
    from scipy.optimize import minimize

    count = len(stacked)
    logs, base = log_floored(stacked), log_floored(frequencies)
    share = weights / weights.sum()
    hot = np.eye(3)[labels.astype(np.int64)]
    origin = (base @ DIRECTION)[:, None] * SIDES + (base @ FLATNESS)[:, None] * MIDDLE
    moves = np.concatenate([(logs - base) @ DIRECTION, (logs - base) @ FLATNESS])  # [2 K, N]
    enters = np.repeat(np.stack([SIDES, MIDDLE]), count, axis=0)  # [2 K, 3]
    equal = np.full(2 * count, 1.0 / count)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_q = log_softmax(origin + (values[:, None] * moves).T @ enters)
        residual = share[:, None] * (np.exp(log_q) - hot)
        gradient = (moves * (enters @ residual.T)).sum(axis=1) + 2.0 * ridge * (values - equal)
        return float(-(share[:, None] * hot * log_q).sum() + ridge * ((values - equal) ** 2).sum()), gradient

    result = minimize(loss, equal, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * (2 * count))
    # Rounded: the optimiser's last digits are noise, and the model's digest must not hang on them.
    values = np.round(result.x, 6)
    return LogisticStack(values[:count], values[count:])
