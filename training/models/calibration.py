"""Probability calibration by temperature and class biases, fitted on out-of-fold predictions only.

``q = softmax(T * log(p) + b)``: bias-corrected temperature scaling (Alexandari, Kundaje and Shrikumar, "Maximum
Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation", ICML 2020; temperature and vector
scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017). Four numbers, exact in ONNX; isotonic
regression is not. ``T`` is kept at or above 0: with 0 the answer is the class frequencies, never the model upside down.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
FLOOR = 1e-7  # the least probability whose logarithm is taken, the same in the exported graph
_RIDGE = 1e-4  # pulls towards "leave as it is" where the data does not say


def log_softmax(logits: Probabilities) -> Probabilities:
    """Return the logarithm of the softmax over the last axis."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Calibration:
    """The map; the default leaves probabilities as they are."""

    temperature: float = 1.0
    bias: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Return calibrated probabilities, float64 [N, 3]."""
        logits = self.temperature * np.log(np.maximum(probabilities, FLOOR)) + np.array(self.bias)
        return np.exp(log_softmax(logits))


def fit_calibration(
    probabilities: Probabilities, labels: NDArray[np.int8], weights: NDArray[np.float64]
) -> Calibration:
    """Fit by weighted maximum likelihood.

    Args:
        probabilities: float64 [N, 3], out-of-fold: predictions on a model's own training rows are too sure.
        labels: classes, int8 [N].
        weights: float64 [N], not all zero.
    """
    from scipy.optimize import minimize

    logs = np.log(np.maximum(probabilities, FLOOR))
    share = weights / weights.sum()
    hot = np.eye(3)[labels.astype(np.int64)]

    def loss(theta: Probabilities) -> tuple[float, Probabilities]:
        bias = theta[1:] - theta[1:].mean()
        log_q = log_softmax(theta[0] * logs + bias)
        residual = share[:, None] * (np.exp(log_q) - hot)
        slope = residual.sum(axis=0) + 2 * _RIDGE * bias
        gradient = np.concatenate(([(residual * logs).sum() + 2 * _RIDGE * (theta[0] - 1.0)], slope - slope.mean()))
        penalty = _RIDGE * ((theta[0] - 1.0) ** 2 + (bias**2).sum())
        return float(-(share[:, None] * hot * log_q).sum() + penalty), gradient

    start = np.array([1.0, 0.0, 0.0, 0.0])
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 10.0), *[(-10.0, 10.0)] * 3])
    bias = result.x[1:] - result.x[1:].mean()
    # Rounded: the optimiser's last digits are noise, and the model's digest must not hang on them.
    return Calibration(round(float(result.x[0]), 6), tuple(round(float(value), 6) for value in bias))  # pyright: ignore[reportArgumentType] - three biases by construction
