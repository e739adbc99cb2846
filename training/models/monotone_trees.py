"""Trees whose odds of long against short never fall (or never rise) in a feature.

The library's multi-class objective applies one set of constraints to the trees of all classes: all log-odds would rise
together, which says nothing about their softmax. So each class has a booster of its own, grown on the gradient of the
same softmax: that of ``long`` is constrained to the wanted direction, that of ``short`` to the opposite one, that of
``flat`` is free. The log-odds of long to short are the difference of the first two and so monotone; calibration scales
them by a slope in [0, 1] and keeps them so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError

_SIDES = (-1, 0, 1)  # short, flat, long: how a class follows the wanted direction
_LEAST_HESSIAN = 1e-16  # as in the library's own softmax


def softmax(margins: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the softmax over the last axis, in double precision."""
    values = margins.astype(np.float64)
    raised = np.exp(values - values.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def direction_constraints(wanted: Mapping[str, int], feature_names: Sequence[str]) -> list[int] | None:
    """Return -1, 0 or 1 a feature, or None where nothing is constrained.

    Raises:
        BadInputError: a feature that the rows do not have, or rows without names.
    """
    if not wanted:
        return None
    unknown = sorted(set(wanted) - set(feature_names))
    if unknown:
        raise BadInputError(
            f"models.xgboost.monotone names {', '.join(unknown)}: the rows have "
            f"{', '.join(feature_names) if feature_names else 'no feature names'}"
        )
    return [wanted.get(name, 0) for name in feature_names]


class MonotoneTrees:
    """Three boosters on one softmax.

    Args:
        options: of the library, without objective.
        directions: -1, 0 or 1 a feature, of the odds of long to short.
        seed: of the rows and columns each class's trees draw.
    """

    def __init__(self, options: Mapping[str, Any], directions: Sequence[int], seed: int) -> None:
        self._options = [
            {
                **options,
                "objective": "reg:squarederror",
                "base_score": 0.0,
                "seed": (seed + number) % 2**31,
                "monotone_constraints": "(" + ",".join(str(side * direction) for direction in directions) + ")",
            }
            for number, side in enumerate(_SIDES)
        ]

    def grow(
        self,
        train: Any,
        validation: Any,
        rounds: int,
        patience: int,
        shift: NDArray[np.float32] | None = None,
        start: Sequence[Any] = (),
    ) -> list[Any]:
        """Return the boosters of the round with the least validation loss.

        Args:
            train: the library's matrix of the fitting rows, with labels and weights.
            validation: the same of the rows that decide when to stop.
            rounds: at most so many trees a class are added.
            patience: rounds without a better validation loss that end it.
            shift: log-odds [3] that the trees are added to while they are grown (``class_weights``); None: 0.
            start: boosters to go on from, which are kept where no round is better.
        """
        import xgboost

        boosters = [
            xgboost.Booster(options, [train, validation], bytearray(start[number].save_raw("ubj")) if start else None)
            for number, options in enumerate(self._options)
        ]
        before = start[0].num_boosted_rounds() if start else 0
        labels = train.get_label().astype(np.int64)
        weights = train.get_weight().astype(np.float64)
        hot = np.eye(3)[labels]
        best, kept = (_loss(boosters, validation, shift), 0) if start else (np.inf, 0)
        for number in range(rounds):
            said = _softmax_of(boosters, train, shift)
            gradient = weights[:, None] * (said - hot)
            hessian = np.maximum(2.0 * weights[:, None] * said * (1.0 - said), _LEAST_HESSIAN)
            for side, booster in enumerate(boosters):
                booster.boost(
                    train,
                    before + number,
                    grad=np.ascontiguousarray(gradient[:, side], np.float32),
                    hess=np.ascontiguousarray(hessian[:, side], np.float32),
                )
            loss = _loss(boosters, validation, shift)
            if loss < best:
                best, kept = loss, number + 1
            elif number + 1 - kept >= patience:
                break
        return [booster[: before + kept] for booster in boosters] if before + kept else boosters


def _softmax_of(boosters: Sequence[Any], matrix: Any, shift: NDArray[np.float32] | None) -> NDArray[np.float64]:
    margins = np.column_stack([booster.predict(matrix, output_margin=True) for booster in boosters])
    return softmax(margins if shift is None else margins + shift)


def _loss(boosters: Sequence[Any], matrix: Any, shift: NDArray[np.float32] | None) -> float:
    """Return the weighted mean log loss."""
    said = _softmax_of(boosters, matrix, shift)
    chosen = np.take_along_axis(said, matrix.get_label().astype(np.int64)[:, None], axis=1)[:, 0]
    weights = matrix.get_weight().astype(np.float64)
    return float((weights * -np.log(np.maximum(chosen, 1e-16))).sum() / weights.sum())
