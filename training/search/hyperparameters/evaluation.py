"""One trial: the walk-forward fit of one set of parameters, a fold at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.models import create
from training.models.interface import Forecaster
from training.search.hyperparameters.measure import Measure, Measurement, check_values
from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.space import Space
from training.stages.context import Context
from training.walkforward import OutOfFold, log_loss, next_model, progressive_calibration

ALL = frozenset(OBJECTIVES)


@dataclass(frozen=True)
class FoldOutcome:
    """How a fold went: its number from 0, test rows, their log loss, and the first objective on all folds so far."""

    number: int
    rows: int
    log_loss: float
    score: float


class Evaluation:
    """The folds of one trial, in order.

    Calibration walks forward too, so the predictions of the first folds are what they will be at the end: a score of
    the folds so far is comparable between trials and never taken back.

    Args:
        context: rows, folds and parameters.
        measure: of the same context.
        space: the searched parameters.
        proposed: their values.
        objectives: names; the first is the score.
    """

    def __init__(
        self, context: Context, measure: Measure, space: Space, proposed: Mapping[str, Any], objectives: tuple[str, ...]
    ) -> None:
        self._context = context
        self._measure = measure
        self._name = space.model
        self._objectives = objectives
        self._parameters = space.apply(context.parameters, proposed)
        self._rows: list[NDArray[np.int64]] = []
        self._raw: list[NDArray[np.float64]] = []
        self._model: Forecaster | None = None

    @property
    def done(self) -> int:
        """Folds fitted so far."""
        return len(self._raw)

    @property
    def complete(self) -> bool:
        """Whether every fold is fitted."""
        return self.done == len(self._context.folds)

    def fold(self) -> FoldOutcome:
        """Fit the next fold and return how it went."""
        dataset, split = self._context.dataset, self._context.folds[self.done]
        self._model = model = next_model(
            self._model,
            lambda: create(self._name, self._parameters),
            lambda lookback: dataset.training_data(split.train, lookback),
        )
        raw = model.predict_proba(dataset.windows(split.test, model.lookback))
        self._rows.append(split.test)
        self._raw.append(raw)
        score = self.measured(frozenset(self._objectives[:1])).values[self._objectives[0]]
        return FoldOutcome(split.number, len(split.test), log_loss(raw, dataset.label[split.test]), score)

    def measured(self, names: frozenset[str] = ALL) -> Measurement:
        """Return the objectives of the folds so far.

        Raises:
            BadInputError: an objective of the search is not finite.
        """
        assert self._model is not None
        folds = self._context.folds[: self.done]
        rows, raw = np.concatenate(self._rows), np.concatenate(self._raw)
        fold = np.concatenate([np.full(len(split.test), split.number, np.int64) for split in folds])
        calibrated = progressive_calibration(self._context.dataset, folds, rows, fold, raw)
        measurement = self._measure(OutOfFold(rows, fold, raw, calibrated), self._model, names)
        check_values(measurement.values, tuple(name for name in self._objectives if name in names))
        return measurement
