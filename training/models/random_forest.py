"""A random forest (Breiman, "Random Forests", Machine Learning 45, 2001) behind a median imputer."""

import pickle
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError, UsageError
from core.files import write_bytes
from training.dataset import TrainingData
from training.model_parameters import RandomForestParameters
from training.models.class_weights import class_factors, put_right
from training.models.graph import from_tabular
from training.models.interface import ANSWERED_AT_ONCE, THREADS
from training.windows import AnyWindows, last_rows

NATIVE = "random_forest.pickle"


class RandomForestForecaster:
    """Shallow trees with large leaves; medians for missing values are learnt from the training rows."""

    name = "random_forest"
    lookback = 1
    incremental = False

    def __init__(self, parameters: RandomForestParameters, seed: int) -> None:
        self.parameters = parameters
        self.seed = seed
        self._pipeline: Any = None
        self._classes: NDArray[np.int64] = np.arange(3)
        self._features = 0
        self._factors: NDArray[np.float64] | None = None

    def fit(self, data: TrainingData) -> None:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import Pipeline

        p = self.parameters
        if len(data.labels) < 2 * p.minimum_leaf:
            raise BadInputError(
                f"{len(data.labels)} rows are too few to be split into leaves of {p.minimum_leaf}: lower "
                "models.random_forest.minimum_leaf or train on more"
            )
        forest = RandomForestClassifier(
            n_estimators=p.trees,
            criterion=p.criterion,
            max_depth=p.maximum_depth,
            min_samples_leaf=p.minimum_leaf,
            min_impurity_decrease=p.minimum_gain,
            max_features=cast(Any, p.maximum_features),
            max_samples=p.sample_share,
            n_jobs=THREADS,
            random_state=self.seed % 2**32,
        )
        matrix = last_rows(data.windows)
        self._features = matrix.shape[1]
        medians = column_medians(matrix)
        # The imputer learns the medians from one row that holds them: its own way sorts a copy of the whole matrix.
        imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(medians[None, :])
        self._factors = class_factors(p.class_weights, data.labels, data.weights)
        weights = data.weights if self._factors is None else data.weights * self._factors[data.labels]
        matrix = filled(matrix, medians)
        forest.fit(matrix, data.labels.astype(np.int64), weights)
        # Threads add the trees' answers up in the order they finish, and the last digits follow.
        forest.n_jobs = 1
        self._pipeline = Pipeline([("imputer", imputer), ("forest", forest)])
        self._classes = np.asarray(forest.classes_, np.int64)

    def refit(self, data: TrainingData) -> None:
        """Refuse: trees are grown once, and more trees on newer rows would be another forest beside the first.

        Raises:
            UsageError: always.
        """
        raise UsageError("a random forest cannot go on from a fitted one: fit it anew, or refit xgboost or a network")

    def predict_proba(self, windows: AnyWindows) -> NDArray[np.float64]:
        answer = np.zeros((len(windows), 3))
        for start in range(0, len(windows), ANSWERED_AT_ONCE):
            rows = slice(start, start + ANSWERED_AT_ONCE)
            answer[rows, self._classes] = self._pipeline.predict_proba(last_rows(windows, rows))
        return put_right(answer, self._factors)

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
        return from_tabular(converted, self._features, [int(label) for label in self._classes], self._factors)

    def importance(self, feature_names: tuple[str, ...]) -> dict[str, float] | None:
        values = self._pipeline.named_steps["forest"].feature_importances_
        return {name: float(value) for name, value in zip(feature_names, values, strict=True)}

    def fitted(self) -> dict[str, float]:
        return {"trees": float(len(self._pipeline.named_steps["forest"].estimators_))}

    def save_native(self, folder: Path) -> None:
        """Write the scikit-learn pipeline as a pickle, with the factors of its classes."""
        write_bytes(folder / NATIVE, pickle.dumps((self._pipeline, self._factors), protocol=5))

    def load_native(self, folder: Path) -> None:
        """Become the forest of a folder that you trust: a pickle can run code (``package.read_native`` checks it)."""
        path = folder / NATIVE
        if not path.is_file():
            raise BadInputError(f"{path} is missing: there is no random forest in this folder")
        self._pipeline, self._factors = pickle.loads(path.read_bytes())
        forest = self._pipeline.named_steps["forest"]
        self._classes, self._features = np.asarray(forest.classes_, np.int64), int(forest.n_features_in_)


def column_medians(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median of the known values of each column, 0 where there are none; float32 [F]."""
    medians = np.zeros(matrix.shape[1], np.float32)
    for column in range(matrix.shape[1]):
        values = matrix[:, column]
        known = values[~np.isnan(values)]
        if len(known):
            medians[column] = np.median(known)
    return medians


def filled(matrix: NDArray[np.float32], medians: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the matrix with medians for missing values; itself where none is missing, or where nobody else has it."""
    columns = [column for column in range(matrix.shape[1]) if np.isnan(matrix[:, column]).any()]
    if not columns:
        return matrix
    # Rows that do not adjoin were gathered for us: a second copy would be a matrix too many.
    result = matrix if matrix.base is None else matrix.copy()
    for column in columns:
        values = result[:, column]
        values[np.isnan(values)] = medians[column]
    return result
