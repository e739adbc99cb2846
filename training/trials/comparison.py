"""Trials side by side: what was tried differently, what came out, and whether the paired returns tell them apart."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from core.errors import BadInputError
from training.statistics.dependence import standard_error_of_mean
from training.trials.ledger import TrialLedger
from training.trials.record import TrialRecord
from training.trials.series import Returns

_NORMAL_95 = 1.959963984540054
_LEAST_STEPS = 10  # fewer paired steps say nothing about a mean under serial dependence
_FIELDS = ("study", "kind", "subject", "seed", "code_digest", "data_digest", "number", "attempt", "status")


class Pair(msgspec.Struct, frozen=True):
    """The net returns of one trial beside those of the first, on the steps both have."""

    first: str
    other: str
    steps: int
    correlation: float | None  # None where one of them never moves
    difference: float  # mean of other minus first, per step
    low: float  # 95 % interval, Newey and West (1987)
    high: float


class TrialComparison(msgspec.Struct, frozen=True):
    """Columns follow the order of ``trials``; None where a trial has no such entry."""

    trials: list[TrialRecord]
    parameters: dict[str, list[Any]]  # dotted names of what differs
    values: dict[str, list[float | None]]
    folds: dict[int, list[float | None]]
    pairs: list[Pair]
    without_returns: list[str]


def compare(ledger: TrialLedger, ids: Sequence[str]) -> TrialComparison:
    """Put trials side by side; the first with returns is what the others' returns are paired with.

    Raises:
        BadInputError: fewer than two different ids, an unknown one, or returns without a time in common.
        IntegrityError, UnavailableError: as for ``TrialLedger.trials``.
    """
    if len(set(ids)) < 2 or len(set(ids)) != len(ids):
        raise BadInputError("a comparison needs at least two trials, each once: tidegate trials list shows their ids")
    records = ledger.trials(ids=ids)
    tried = [_described(record) for record in records]
    names = sorted({name for one in tried for name in one}, key=lambda name: (name not in _FIELDS, name))
    columns = {name: [one.get(name) for one in tried] for name in names}
    measured = list(dict.fromkeys(name for record in records for name in record.values))
    numbers = sorted({fold.number for record in records for fold in record.folds})
    losses = [{fold.number: fold.loss for fold in record.folds} for record in records]
    with_returns = [record.id for record in records if record.steps]
    pairs: list[Pair] = []
    for other in with_returns[1:]:
        _, matrix = ledger.returns([with_returns[0], other])
        pairs.append(_pair(with_returns[0], other, matrix))
    return TrialComparison(
        trials=records,
        parameters={name: values for name, values in columns.items() if any(one != values[0] for one in values)},
        values={name: [record.values.get(name) for record in records] for name in measured},
        folds={number: [one.get(number) for one in losses] for number in numbers},
        pairs=pairs,
        without_returns=[record.id for record in records if not record.steps],
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested parameters under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        nested = isinstance(value, Mapping) and value
        flat |= flatten(cast("Mapping[str, Any]", value), f"{name}.") if nested else {name: value}
    return flat


def _described(record: TrialRecord) -> dict[str, Any]:
    fields = {name: getattr(record, name) for name in _FIELDS}
    return {**fields, "status": str(record.status), **flatten(record.parameters)}


def _pair(first: str, other: str, matrix: Returns) -> Pair:
    if len(matrix) < _LEAST_STEPS:
        raise BadInputError(f"trials {first} and {other} have {len(matrix)} steps in common: {_LEAST_STEPS} are needed")
    difference = matrix[:, 1] - matrix[:, 0]
    mean, error = float(difference.mean()), standard_error_of_mean(difference)
    moving = bool((matrix.std(axis=0) > 0.0).all())
    return Pair(
        first=first,
        other=other,
        steps=len(matrix),
        correlation=float(np.corrcoef(matrix[:, 0], matrix[:, 1])[0, 1]) if moving else None,
        difference=mean,
        low=mean - _NORMAL_95 * error,
        high=mean + _NORMAL_95 * error,
    )
