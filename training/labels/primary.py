"""Meta-labels: a primary rule says which side, the model only whether to take it (López de Prado, 2018, chapter 3.6).

The rule is the sign of one feature, so that training, the exported graph and the trader read the side from the same
row of the same kernel. A row of side *long* is ``LONG`` where its long paid and ``FLAT`` where it did not, a *short*
one ``SHORT`` or ``FLAT``; with no side there is nothing to take and the row is ``FLAT``. Whatever the model says about
the other side is ruled out: its probability is 0 and the rest is scaled to 1, in the evaluation as inside the graph.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.label_parameters import LabelParameters
from training.labels.rows import FLAT, LONG, SHORT

Probabilities = NDArray[np.float64]
Sides = NDArray[np.int8]


@dataclass(frozen=True)
class PrimaryRule:
    """Long where ``sign * feature > threshold``, short where it is below ``-threshold``; else, and where NaN, nothing.

    ``column`` is the position among the feature set's columns; the feature is compared in float32, as it is served.
    """

    feature: str
    column: int
    threshold: float
    sign: int

    def sides(self, features: NDArray[Any]) -> Sides:
        """Return 1 for long, -1 for short and 0 for neither, int8 [N], from feature rows [N, F]."""
        return self.sides_of(features[:, self.column])

    def sides_of(self, feature: NDArray[Any]) -> Sides:
        """Return the same from the values of the rule's feature alone, [N]."""
        values = self.sign * feature.astype(np.float32)
        limit = np.float32(self.threshold)
        return (values > limit).astype(np.int8) - (values < -limit).astype(np.int8)


def primary_rule(parameters: LabelParameters, feature_names: tuple[str, ...]) -> PrimaryRule | None:
    """Return the rule of ``meta_labels``, None for other kinds.

    Raises:
        BadInputError: the feature set has no such column.
    """
    if parameters.kind != "meta_labels":
        return None
    options = parameters.primary
    if options.feature not in feature_names:
        raise BadInputError(f"params.yaml: labels.primary.feature {options.feature!r} is no column of the feature set")
    sign = 1 if options.direction == "follow" else -1
    return PrimaryRule(options.feature, feature_names.index(options.feature), options.threshold, sign)


def allowed(sides: Sides) -> Probabilities:
    """Return which classes each side leaves possible, float64 [N, 3] of 0 and 1."""
    mask = np.ones((len(sides), 3))
    mask[:, SHORT] = sides < 0
    mask[:, LONG] = sides > 0
    return mask


def only_side(probabilities: Probabilities, sides: Sides | None) -> Probabilities:
    """Return the probabilities given the side, float64 [N, 3]; as they are where there is no rule."""
    if sides is None:
        return probabilities
    possible = probabilities * allowed(sides)
    total = possible.sum(axis=1, keepdims=True)
    certain = np.zeros(3)
    certain[FLAT] = 1.0
    # A model sure of the side that is ruled out has said nothing about this one.
    return np.where(total > 0.0, possible / np.where(total > 0.0, total, 1.0), certain)


def side_frequencies(label: NDArray[np.int8], sides: Sides, weights: NDArray[np.float64]) -> Probabilities:
    """Return class frequencies [3] whose ``only_side`` is the weighted share of rows that paid on that side.

    The frequencies over both sides would not do: half of what one side did not pay belongs to the other.
    """
    odds = np.ones(3)
    for side, paid in ((1, LONG), (-1, SHORT)):
        own = sides == side
        odds[paid] = (weights[own & (label == paid)].sum() + 1.0) / (weights[own & (label == FLAT)].sum() + 1.0)
    return odds / odds.sum()


def take_side(columns: dict[str, Any], sides: Sides) -> dict[str, Any]:
    """Return the columns of a dataset with the classes, spans and sides of meta-labels.

    Args:
        columns: of ``labels.parquet``, with the outcomes of both sides; arrays [R].
        sides: int8 [R].
    """
    long, short = sides > 0, sides < 0
    paid = np.where(long, columns["pays_long"], short & columns["pays_short"])
    label = np.where(paid, np.where(long, LONG, SHORT), FLAT).astype(np.int8)
    # Without a side nothing was waited for: the row's span is its own decision time.
    nothing = columns["time_ns"], columns["bar"]
    ends = np.where(long, columns["end_ns_long"], np.where(short, columns["end_ns_short"], nothing[0]))
    bars = np.where(long, columns["end_bar_long"], np.where(short, columns["end_bar_short"], nothing[1]))
    return columns | {"label": label, "label_end_ns": ends, "end_bar": bars, "side": sides}
