"""What the out-of-fold predictions of a trial are worth, on its folds so far."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from trading.strategy.sizing import SizingParameters
from training.evaluation.strategy import Performance, Positions, earn, hold, model_targets, step_volatility
from training.models.baselines import PROBABILISTIC
from training.models.interface import Forecaster
from training.search.hyperparameters.objectives import EXPORTED, TRADED
from training.stages.context import Context
from training.walkforward import OutOfFold, log_loss

_PREDICTIONS = 300  # timed single predictions; their median ignores the moments the machine was elsewhere


@dataclass(frozen=True)
class Measurement:
    """Values by objective, and the net returns float64 [T] with their decision times int64 [T] where traded."""

    values: dict[str, float]
    returns: NDArray[np.float64] | None = None
    times_ns: NDArray[np.int64] | None = None


class Measure:
    """Measures predictions against the rows of one context; what does not depend on a trial is computed once."""

    def __init__(self, context: Context) -> None:
        """Read sizing and volatility.

        Raises:
            BadInputError: ``strategy`` names a feature that is not there, or has a value out of range.
        """
        self._context = context
        self._sizing = SizingParameters.from_params(context.parameters.raw)
        feature = (context.parameters.raw.get("strategy") or {}).get("volatility_feature")
        self._volatility = step_volatility(context.dataset, feature)
        reference, dataset = PROBABILISTIC[0], context.dataset
        self._reference = [
            log_loss(reference.predict(dataset, fold.train, fold.test), dataset.label[fold.test]) * len(fold.test)
            for fold in context.folds
        ]

    def __call__(self, predictions: OutOfFold, model: Forecaster, names: frozenset[str]) -> Measurement:
        """Return the named objectives of predictions for the first folds, made by ``model`` in the last of them."""
        dataset = self._context.dataset
        loss = log_loss(predictions.calibrated, dataset.label[predictions.rows])
        folds = int(predictions.fold.max()) + 1
        reference = sum(self._reference[:folds]) / len(predictions.rows)
        values = {"log_loss": loss, "skill": 1.0 - loss / reference}
        returns = times = None
        if names & TRADED:
            positions = self._positions(predictions)
            performance = earn(positions)
            values |= self._traded(performance)
            returns, times = performance.net, positions.time_ns
        if names & EXPORTED:
            values |= self._exported(model, predictions)
        return Measurement({name: values[name] for name in sorted(values)}, returns, times)

    def _positions(self, predictions: OutOfFold) -> Positions:
        """Return the positions that the trader's own sizing takes on the predictions."""
        rows = predictions.rows
        cost = self._context.dataset.economics["cost_return"][rows]
        targets = model_targets(predictions.calibrated, self._volatility[rows], cost, self._sizing)
        return hold(self._context.dataset, rows, targets, self._sizing)

    def _traded(self, performance: Performance) -> dict[str, float]:
        years = len(performance.net) / self._sizing.steps_per_year
        deviation = float(performance.net.std())
        mean = float(performance.net.mean())
        sharpe = mean / deviation * float(np.sqrt(self._sizing.steps_per_year)) if deviation > 1e-12 else 0.0
        return {
            "sharpe": sharpe,
            "net_return": float(performance.net.sum()) / years,
            "drawdown": performance.drawdown,
            "turnover": float(performance.traded.sum()) / years,
        }

    def _exported(self, model: Forecaster, predictions: OutOfFold) -> dict[str, float]:
        """Return size and single-row latency of the model as it would be served, without its calibration layer."""
        import onnxruntime

        from training.models import graph as graphs

        content = graphs.to_bytes(model.graph())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        row = np.ascontiguousarray(self._context.dataset.windows(predictions.rows[-1:], model.lookback))
        feed = {graphs.INPUT: row}
        seconds = np.empty(_PREDICTIONS)
        for number in range(_PREDICTIONS):
            begin = time.perf_counter()
            session.run(None, feed)
            seconds[number] = time.perf_counter() - begin
        return {"latency": float(np.median(seconds)) * 1e6, "size": float(len(content))}


def check_values(values: dict[str, float], names: tuple[str, ...]) -> None:
    """Refuse a result that no search can rank.

    Raises:
        BadInputError: an objective is not a finite number.
    """
    for name in names:
        if not np.isfinite(values[name]):
            raise BadInputError(f"the objective {name} is {values[name]}: the fit gave no usable prediction")
