"""Gradient-boosted trees (Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", KDD 2016)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.dataset import TrainingData
from training.models.graph import from_tabular
from training.models.interface import THREADS, VALIDATION_SHARE
from training.parameters import XgboostParameters
from training.splits import validation_tail


class XgboostForecaster:
    """Multi-class trees that stop on the purged last part of the training window. Missing values go a learnt way."""

    name = "xgboost"
    lookback = 1

    def __init__(self, parameters: XgboostParameters, seed: int) -> None:
        self.parameters = parameters
        self.seed = seed
        self._booster: Any = None
        self._features = 0

    def fit(self, data: TrainingData) -> None:
        import xgboost

        p = self.parameters
        matrix = data.windows[:, -1]
        self._features = matrix.shape[1]
        fit, tail = validation_tail(data.time_ns, data.label_end_ns, VALIDATION_SHARE)
        # The quantile sketch must see the fitting rows only: the tail gets the same bins by reference.
        train = xgboost.QuantileDMatrix(
            matrix[fit], data.labels[fit], weight=data.weights[fit], nthread=THREADS, max_bin=128
        )
        validation = xgboost.QuantileDMatrix(
            matrix[tail], data.labels[tail], weight=data.weights[tail], nthread=THREADS, max_bin=128, ref=train
        )
        booster = xgboost.train(
            {
                "objective": "multi:softprob",
                "num_class": 3,
                "eval_metric": "mlogloss",
                "tree_method": "hist",
                "max_bin": 128,
                "eta": p.learning_rate,
                "max_depth": p.maximum_depth,
                "subsample": p.subsample,
                "colsample_bytree": p.column_sample,
                "min_child_weight": p.minimum_child_weight,
                "lambda": p.l2,
                "base_score": 0.5,  # a constant start cancels in the softmax; the exported graph needs none
                "seed": self.seed % 2**31,
                "nthread": THREADS,
                "verbosity": 0,
            },
            train,
            num_boost_round=p.rounds,
            evals=[(validation, "validation")],
            early_stopping_rounds=p.early_stopping,
            verbose_eval=False,
        )
        # Later rounds would only be skipped by the library; the converter would not skip them.
        self._booster = booster[: booster.best_iteration + 1]

    def predict_proba(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(self._booster.inplace_predict(windows[:, -1]), np.float64)

    def graph(self) -> Any:
        from onnxmltools.convert import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        converted = convert_xgboost(
            self._booster, initial_types=[("matrix", FloatTensorType([None, self._features]))], target_opset=15
        )
        return from_tabular(converted, self._features)

    def importance(self, feature_names: tuple[str, ...]) -> dict[str, float] | None:
        gains = self._booster.get_score(importance_type="total_gain")
        total = sum(gains.values()) or 1.0
        return {name: float(gains.get(f"f{i}", 0.0)) / total for i, name in enumerate(feature_names)}

    def fitted(self) -> dict[str, float]:
        return {"rounds": float(self._booster.num_boosted_rounds())}
