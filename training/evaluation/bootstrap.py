"""Moving-block bootstrap over decision times (Künsch, Annals of Statistics 17, 1989).

Instruments of one time are correlated, and so are neighbouring times: whole blocks of times are drawn, each with all
its rows. Every statistic here is a function of sums, so that a draw costs a few look-ups in prefix sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.statistics.interval import Interval

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class BlockBootstrap:
    """The same draws for every statistic of one evaluation, so that differences between models are paired.

    Args:
        steps: decision times T.
        block: length of a block, cut to T.
        draws: bootstrap samples.
        seed: of the draws.
    """

    steps: int
    block: int
    draws: int
    seed: int

    def interval(self, columns: Sums, statistic: Callable[[Sums], NDArray[np.float64]]) -> Interval:
        """Return a statistic of column sums with the central 95 % interval of its bootstrap distribution.

        Args:
            columns: float64 [T, K], what is summed per decision time.
            statistic: maps sums [..., K] to values [...].

        Raises:
            BadInputError: the number of rows is not T.
        """
        if columns.shape[0] != self.steps:
            raise BadInputError(f"{columns.shape[0]} rows for a bootstrap over {self.steps} decision times")
        block = min(self.block, self.steps)
        prefix = np.vstack([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0)])
        blocks = prefix[block:] - prefix[:-block]
        generator = np.random.default_rng(self.seed)
        starts = generator.integers(0, len(blocks), size=(self.draws, -(-self.steps // block)))
        values = statistic(blocks[starts].sum(axis=1))
        low, high = np.quantile(values, [0.025, 0.975])
        return Interval(float(statistic(columns.sum(axis=0))), float(low), float(high))


def per_time(values: NDArray[np.float64], time_index: NDArray[np.int64], steps: int) -> NDArray[np.float64]:
    """Return the sum of row values per decision time; float64 [T]."""
    return np.bincount(time_index, weights=values, minlength=steps).astype(np.float64)
