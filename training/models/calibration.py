"""Probability calibration around the class frequencies, fitted on out-of-fold predictions only.

A prediction says two things: whether price will move beyond cost, and which way. Each is a log-odds that is linear in
the log probabilities

    direction d = log p_long - log p_short
    flatness  f = log p_flat - (log p_long + log p_short) / 2

and each gets a slope around what the class frequencies of the training window say (``d0``, ``f0``):

    d' = d0 + a * (d - d0)        f' = f0 + b * (f - f0)

This is Platt's sigmoid (1999) once a question, or matrix scaling with two free numbers (Guo et al., "On Calibration of
Modern Neural Networks", ICML 2017), exact in ONNX; isotonic regression is not. Slope 1 leaves a prediction as it is,
slope 0 answers the class frequencies.

Two things are left out on purpose, both measured on the fixings. There are no free biases: how often price moves beyond
cost drifts over years, and a bias learnt in one regime is wrong in the next (with them the forest's log loss went from
0.823 to 0.834). And slopes lie in [0, 1]: where the frequencies drifted, sharpening the flat class looks right on the
folds before and is wrong on the next (slopes of up to 3.8, log loss 0.846). Out-of-fold evidence may make a model less
sure of itself, down to silence, never surer and never upside down.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
FLOOR = 1e-7  # the least probability whose logarithm is taken, the same in the exported graph
_RIDGE = 1e-4  # pulls towards "leave as it is" where the data does not say
DIRECTION = np.array([-1.0, 0.0, 1.0])
FLATNESS = np.array([-0.5, 1.0, -0.5])
_IMPOSSIBLE = -1e9  # the logit of a class that is ruled out
SIDES = np.array([-0.5, 0.0, 0.5])  # how the direction enters the logits
MIDDLE = np.array([0.0, 1.0, 0.0])  # how the flatness enters them


def log_softmax(logits: Probabilities) -> Probabilities:
    """Return the logarithm of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def log_floored(probabilities: Probabilities) -> Probabilities:
    """Return the logarithm of probabilities, floored."""
    return np.log(np.maximum(probabilities, FLOOR))


@dataclass(frozen=True)
class Slopes:
    """What calibration learns; the default leaves predictions as they are."""

    direction: float = 1.0
    flatness: float = 1.0

    def around(self, frequencies: Probabilities) -> "Calibration":
        """Return the map for a model whose training window had these class frequencies, float64 [3]."""
        logs = log_floored(frequencies)
        matrix = self.direction * np.outer(DIRECTION, SIDES) + self.flatness * np.outer(FLATNESS, MIDDLE)
        bias = (1.0 - self.direction) * (logs @ DIRECTION) * SIDES
        return Calibration(matrix, bias + (1.0 - self.flatness) * (logs @ FLATNESS) * MIDDLE)


@dataclass(frozen=True)
class Calibration:
    """``softmax(log(p) @ matrix + bias)`` with matrix [3, 3] and bias [3], float64."""

    matrix: Probabilities
    bias: Probabilities

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Return calibrated probabilities, float64 [N, 3]."""
        return np.exp(log_softmax(log_floored(probabilities) @ self.matrix + self.bias))


def fit_slopes(
    probabilities: Probabilities,
    frequencies: Probabilities,
    labels: NDArray[np.int8],
    weights: NDArray[np.float64],
    possible: Probabilities | None = None,
) -> Slopes:
    """Fit by weighted maximum likelihood.

    Args:
        probabilities: float64 [N, 3], out-of-fold: predictions on a model's own training rows are too sure.
        frequencies: float64 [N, 3], class frequencies of the window that the row's model was trained on.
        labels: classes, int8 [N].
        weights: float64 [N], not all zero.
        possible: float64 [N, 3] of 0 and 1: classes that are ruled out after calibration; None: none is.
    """
    from scipy.optimize import minimize

    logs, base = log_floored(probabilities), log_floored(frequencies)
    share = weights / weights.sum()
    hot = np.eye(3)[labels.astype(np.int64)]
    origin = (base @ DIRECTION)[:, None] * SIDES + (base @ FLATNESS)[:, None] * MIDDLE
    if possible is not None:
        origin = np.where(possible > 0.0, origin, _IMPOSSIBLE)
    moves = (
        ((logs - base) @ DIRECTION)[:, None] * SIDES,
        ((logs - base) @ FLATNESS)[:, None] * MIDDLE,
    )

    def loss(slopes: Probabilities) -> tuple[float, Probabilities]:
        log_q = log_softmax(origin + slopes[0] * moves[0] + slopes[1] * moves[1])
        residual = share[:, None] * (np.exp(log_q) - hot)
        gradient = np.array([(residual * move).sum() for move in moves]) + 2.0 * _RIDGE * (slopes - 1.0)
        penalty = _RIDGE * ((slopes - 1.0) ** 2).sum()
        return float(-(share[:, None] * hot * log_q).sum() + penalty), gradient

    result = minimize(loss, np.ones(2), jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * 2)
    # Rounded: the optimiser's last digits are noise, and the model's digest must not hang on them.
    return Slopes(round(float(result.x[0]), 6), round(float(result.x[1]), 6))
