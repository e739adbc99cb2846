"""What a model must beat: class frequencies, class frequencies given the trend, never trading, and trend following.

Carry would belong here, but no source of this issue's markets knows interest rates: it is left out and said so in the
evaluation, instead of being made up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.walkforward import class_frequencies

Rows = NDArray[np.int64]

WITHOUT = "carry is no baseline here: the source knows no interest rates"


@dataclass(frozen=True)
class Climatology:
    """The class frequencies of the training window, the same for every row."""

    name: str = "climatology"

    def predict(self, dataset: Dataset, train: Rows, test: Rows) -> NDArray[np.float64]:
        """Return probabilities [N, 3] for the test rows."""
        return np.tile(class_frequencies(dataset, train), (len(test), 1))


@dataclass(frozen=True)
class GroupedClimatology:
    """The class frequencies of the training window within groups of rows: the instrument, or the sign of its trend."""

    name: str
    by: str  # "instrument" or "trend"

    def predict(self, dataset: Dataset, train: Rows, test: Rows) -> NDArray[np.float64]:
        """Return probabilities [N, 3] for the test rows; a group that training lacks gets the overall frequencies."""
        groups = self._groups(dataset)
        answer = Climatology().predict(dataset, train, test)
        for group in np.unique(groups[test]):
            rows = train[groups[train] == group]
            if len(rows):
                answer[groups[test] == group] = class_frequencies(dataset, rows)
        return answer

    def _groups(self, dataset: Dataset) -> NDArray[np.int64]:
        if self.by == "instrument":
            return dataset.instrument
        trend = dataset.economics["trailing_return"]
        return np.where(np.isnan(trend), 0, np.sign(trend)).astype(np.int64)


# Probabilities to beat, the first being the reference of the skill score.
PROBABILISTIC = (
    Climatology(),
    GroupedClimatology("climatology_by_instrument", "instrument"),
    GroupedClimatology("momentum", "trend"),
)
