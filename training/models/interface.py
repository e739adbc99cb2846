"""What every model can do, whatever library is inside."""

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.dataset import TrainingData
from training.windows import AnyWindows

# Read when an OpenMP runtime is loaded, so it must be set before xgboost is. By default its threads spin while they
# wait for each other: with other processes on the cores, one fit of 1.7 s of work burnt 15 s and took 40.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

THREADS = 2  # fixed, not the machine's count: the order of summation, and with it the model's bytes, follows it
VALIDATION_SHARE = 0.2  # of a training window's decision times, for early stopping
ANSWERED_AT_ONCE = 65_536  # rows of a tabular model's predictions: nobody needs a second matrix in memory


class Forecaster(Protocol):
    """A model of the class probabilities (``core.domain.CLASSES``) given the last feature rows."""

    name: str
    lookback: int  # feature rows a window needs; 1 for tabular models
    incremental: bool  # whether walk-forward refits it from fold to fold, instead of fitting each anew

    def fit(self, data: TrainingData) -> None:
        """Fit on windows float32 [N, L, F] with classes, weights and the time span of each label.

        Everything that is learnt from data (imputation, scaling, the round to stop at) is learnt from these rows.

        Raises:
            BadInputError: the parameters do not fit the rows or the machine.
        """
        ...

    def refit(self, data: TrainingData) -> None:
        """Go on from what is fitted, with newer rows. Where they bring nothing, the model stays what it was.

        Raises:
            UsageError: the library cannot go on from a fitted model.
        """
        ...

    def predict_proba(self, windows: AnyWindows) -> NDArray[np.float64]:
        """Return uncalibrated class probabilities [N, 3] for windows [N, L, F]."""
        ...

    def graph(self) -> Any:
        """Return the fitted model as an ``onnx.ModelProto``: ``features`` [N, L, F] to ``probabilities`` [N, 3]."""
        ...

    def importance(self, feature_names: tuple[str, ...]) -> dict[str, float] | None:
        """Return the share of each feature in the model's decisions, or None where the model has no such notion."""
        ...

    def fitted(self) -> dict[str, float]:
        """Return what fitting decided, such as the round it stopped at."""
        ...

    def save_native(self, folder: Path) -> None:
        """Write the fitted model in its library's own form: the same bytes for the same model."""
        ...

    def load_native(self, folder: Path) -> None:
        """Become the fitted model that ``save_native`` of a model with these parameters wrote.

        Raises:
            BadInputError: there is none.
        """
        ...
