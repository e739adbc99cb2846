"""Gradient-boosted trees (Chen and Guestrin, "XGBoost: A Scalable Tree Boosting System", KDD 2016)."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from core.files import write_bytes
from training.dataset import TrainingData
from training.model_parameters import XgboostParameters
from training.models.class_weights import class_factors
from training.models.graph import from_margins, from_tabular
from training.models.interface import ANSWERED_AT_ONCE, THREADS, VALIDATION_SHARE
from training.models.monotone_trees import MonotoneTrees, direction_constraints, softmax
from training.splits import validation_tail
from training.windows import AnyWindows, last_rows

MAXIMUM_BINS = 128
NATIVE = "booster.ubj"
NATIVE_STATE = "xgboost.json"


class XgboostForecaster:
    """Multi-class trees that stop on the purged last part of the training window. Missing values go a learnt way.

    With monotone constraints each class has trees of its own (``monotone_trees``).
    """

    name = "xgboost"
    lookback = 1

    def __init__(self, parameters: XgboostParameters, seed: int) -> None:
        self.parameters = parameters
        self.incremental = parameters.incremental
        self.seed = seed
        self._boosters: list[Any] = []  # one of all classes, or one a class
        self._features = 0
        self._factors: NDArray[np.float64] | None = None

    def fit(self, data: TrainingData) -> None:
        self._boosters = []
        self._factors = None
        self._grow(data, self.parameters.rounds)

    def refit(self, data: TrainingData) -> None:
        """Add at most ``refit_rounds`` rounds that correct the fitted trees on newer rows."""
        self._require()
        self._grow(data, self.parameters.refit_rounds)

    def _grow(self, data: TrainingData, rounds: int) -> None:
        import xgboost

        p = self.parameters
        directions = direction_constraints(p.monotone, data.feature_names)
        fit, tail = validation_tail(data.time_ns, data.label_end_ns, VALIDATION_SHARE)
        if not self._boosters:
            self._factors = class_factors(p.class_weights, data.labels[fit], data.weights[fit])
        going_on = bool(self._boosters)
        shift = None if self._factors is None else np.log(self._factors).astype(np.float32)

        def matrix(rows: NDArray[np.int64], reference: Any = None) -> Any:
            features = last_rows(data.windows, rows)
            self._features = features.shape[1]
            labels, weights = data.labels[rows], data.weights[rows]
            if self._factors is not None:
                weights = weights * self._factors[labels]
            more: dict[str, Any] = {"weight": weights, "nthread": THREADS}
            if shift is not None and directions is None:
                more["base_margin"] = np.tile(shift, (len(rows), 1))
            if going_on:
                # Fitted trees split where this matrix has no bin: it must keep the values themselves.
                return xgboost.DMatrix(features, labels, **more)
            # The quantile sketch must see the fitting rows only: the tail gets the same bins by reference.
            return xgboost.QuantileDMatrix(features, labels, max_bin=MAXIMUM_BINS, ref=reference, **more)

        train = matrix(fit)
        validation = matrix(tail, train)
        if directions is not None:
            trees = MonotoneTrees(self._options(), directions, self.seed)
            self._boosters = trees.grow(train, validation, rounds, p.early_stopping, shift, self._boosters)
            return
        booster = xgboost.train(
            {"objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss", **self._options()},
            train,
            num_boost_round=rounds,
            evals=[(validation, "validation")],
            early_stopping_rounds=p.early_stopping,
            verbose_eval=False,
            xgb_model=self._boosters[0] if going_on else None,
        )
        if going_on and booster.best_score >= _loss(self._boosters[0], validation):
            return
        # Later rounds would only be skipped by the library; the converter would not skip them.
        self._boosters = [booster[: booster.best_iteration + 1]]

    def _options(self) -> dict[str, Any]:
        p = self.parameters
        return {
            "tree_method": "hist",
            "max_bin": MAXIMUM_BINS,
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
        }

    def predict_proba(self, windows: AnyWindows) -> NDArray[np.float64]:
        self._require()
        answers = np.empty((len(windows), 3))
        for start in range(0, len(windows), ANSWERED_AT_ONCE):
            rows = slice(start, start + ANSWERED_AT_ONCE)
            features = last_rows(windows, rows)
            if len(self._boosters) == 1:
                answers[rows] = self._boosters[0].inplace_predict(features)
            else:
                margins = [booster.inplace_predict(features, predict_type="margin") for booster in self._boosters]
                answers[rows] = softmax(np.column_stack(margins))
        return answers

    def graph(self) -> Any:
        from onnxmltools.convert import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        self._require()
        types = [("matrix", FloatTensorType([None, self._features]))]
        converted = [convert_xgboost(booster, initial_types=types, target_opset=15) for booster in self._boosters]
        if len(converted) == 1:
            return from_tabular(converted[0], self._features)
        return from_margins(converted, self._features)

    def importance(self, feature_names: tuple[str, ...]) -> dict[str, float] | None:
        gains = [booster.get_score(importance_type="total_gain") for booster in self._boosters]
        sums = [sum(float(gain.get(f"f{i}", 0.0)) for gain in gains) for i in range(len(feature_names))]
        total = sum(sums) or 1.0
        return {name: value / total for name, value in zip(feature_names, sums, strict=True)}

    def fitted(self) -> dict[str, float]:
        return {"rounds": float(self._boosters[0].num_boosted_rounds())}

    def save_native(self, folder: Path) -> None:
        """Write each booster in the library's own form, and what it does not hold as JSON."""
        self._require()
        names = [f"{number}-{NATIVE}" for number in range(len(self._boosters))]
        state = {
            "boosters": names,
            "features": self._features,
            "class_factors": None if self._factors is None else self._factors.tolist(),
        }
        for name, booster in zip(names, self._boosters, strict=True):
            write_bytes(folder / name, bytes(booster.save_raw("ubj")))
        write_bytes(folder / NATIVE_STATE, msgspec.json.encode(state, order="sorted"))

    def load_native(self, folder: Path) -> None:
        import xgboost

        path = folder / NATIVE_STATE
        if not path.is_file():
            raise BadInputError(f"{path} is missing: there is no xgboost model in this folder")
        state = msgspec.json.decode(path.read_bytes())
        self._boosters = [xgboost.Booster(model_file=bytearray((folder / n).read_bytes())) for n in state["boosters"]]
        self._features = state["features"]
        self._factors = None if state["class_factors"] is None else np.array(state["class_factors"])

    def _require(self) -> None:
        if not self._boosters:
            raise RuntimeError("the trees are not fitted")


def _loss(booster: Any, validation: Any) -> float:
    """Return the weighted multi-class log loss of a booster as it is, as the library computes it."""
    return float(booster.eval(validation).rpartition(":")[2])
