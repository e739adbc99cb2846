"""The model that is judged: its predictions on unseen rows, its positions and what they earned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.strategy.sizing import SizingParameters
from training.dataset import Dataset
from training.evaluation.bootstrap import BlockBootstrap
from training.evaluation.strategy import Performance, Positions, earn, hold, model_targets, step_volatility
from training.parameters import Parameters
from training.splits import Split
from training.walkforward import OutOfFold

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """One model on the test rows of all folds; T decision times, M rows.

    ``answer`` is float64 [M, 3], the calibrated out-of-fold predictions for the rows ``rows`` of the dataset; ``step``
    int64 [M] is the decision time of each.
    """

    name: str
    dataset: Dataset
    folds: list[Split]
    rows: NDArray[np.int64]
    step: NDArray[np.int64]
    answer: Array
    volatility: Array  # [M], by which positions are sized
    sizing: SizingParameters
    bootstrap: BlockBootstrap
    positions: Positions
    performance: Performance

    @classmethod
    def of(
        cls, name: str, dataset: Dataset, folds: list[Split], predictions: OutOfFold, parameters: Parameters
    ) -> "Candidate":
        """Trade a model's out-of-fold predictions with the trader's own sizing."""
        rows = predictions.rows
        axis, step = np.unique(dataset.time_ns[rows], return_inverse=True)
        sizing = SizingParameters.from_params(parameters.raw)
        source = parameters.raw.get("strategy", {}).get("volatility_feature")
        volatility = step_volatility(dataset, source)[rows]
        cost = dataset.economics["cost_return"][rows]
        positions = hold(dataset, rows, model_targets(predictions.calibrated, volatility, cost, sizing), sizing)
        options = parameters.evaluation
        block = max(options.block_length, 2 * parameters.labels.horizon)
        bootstrap = BlockBootstrap(len(axis), block, options.bootstrap_draws, parameters.seed)
        return cls(
            name, dataset, folds, rows, step, predictions.calibrated, volatility, sizing, bootstrap, positions,
            earn(positions),
        )  # fmt: skip
