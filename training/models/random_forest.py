"""A random forest (Breiman, "Random Forests", Machine Learning 45, 2001) behind a median imputer."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from training.dataset import TrainingData
from training.models.graph import from_tabular
from training.models.interface import THREADS
from training.parameters import RandomForestParameters


class RandomForestForecaster:
    """Shallow trees with large leaves; medians for missing values are learnt from the training rows."""

    name = "random_forest"
    lookback = 1

    def __init__(self, parameters: RandomForestParameters, seed: int) -> None:
        self.parameters = parameters
        self.seed = seed
        self._pipeline: Any = None
        self._classes: NDArray[np.int64] = np.arange(3)
        self._features = 0

    def fit(self, data: TrainingData) -> None:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline

        p = self.parameters
        forest = RandomForestClassifier(
            n_estimators=p.trees,
            max_depth=p.maximum_depth,
            min_samples_leaf=p.minimum_leaf,
            max_features=cast(Any, p.maximum_features),
            max_samples=p.sample_share,
            n_jobs=THREADS,
            random_state=self.seed % 2**32,
        )
        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        matrix = data.windows[:, -1]
        self._features = matrix.shape[1]
        self._pipeline = Pipeline([("imputer", imputer), ("forest", forest)])
        self._pipeline.fit(matrix, data.labels.astype(np.int64), forest__sample_weight=data.weights)
        # Threads add the trees' answers up in the order they finish, and the last digits follow.
        forest.n_jobs = 1
        self._classes = np.asarray(forest.classes_, np.int64)

    def predict_proba(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        answer = np.zeros((len(windows), 3))
        answer[:, self._classes] = self._pipeline.predict_proba(windows[:, -1])
        return answer

    def graph(self) -> Any:
        from skl2onnx import convert_sklearn
        from skl2onnx.common.data_types import FloatTensorType

        converted = convert_sklearn(
            self._pipeline,
            "forest",
            [("matrix", FloatTensorType([None, self._features]))],
            target_opset={"": 15, "ai.onnx.ml": 3},
            options={"zipmap": False},
        )
        return from_tabular(converted, self._features, [int(label) for label in self._classes])

    def importance(self, feature_names: tuple[str, ...]) -> dict[str, float] | None:
        values = self._pipeline.named_steps["forest"].feature_importances_
        return {name: float(value) for name, value in zip(feature_names, values, strict=True)}

    def fitted(self) -> dict[str, float]:
        return {"trees": float(len(self._pipeline.named_steps["forest"].estimators_))}
