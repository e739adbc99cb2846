"""Backtests as Ray tasks: the candidates of a generation, of all its islands, on whatever machines the cluster has.

Each parameter set is an account of its own, so that cutting a batch into parts changes no bit of it. The market travels
through Ray's object store once; a process of the cluster lays the windows over it once. Only the search itself talks to
the trial ledger: the machines need no database and no shared folder, but the same code, which each task checks.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from core.digest import digest_source
from core.errors import RefusedError, TidegateError, UnavailableError
from training.search.cluster import Cluster
from training.search.strategy.backtests import Assessed, Backtester
from training.search.strategy.candidates import Candidates
from training.search.strategy.history import History
from training.search.strategy.space import Values

_PARTS = 2  # per processor: parameter sets differ in length of work
_ready: dict[str, Backtester] = {}  # in a process of the cluster: the backtester of the study it works for


class Inputs(NamedTuple):
    """What every task of a study has in common."""

    study: str
    code: str  # digest of ``modules`` where the search runs
    modules: tuple[str, ...]
    history: History
    candidates: Candidates
    minimum_trades: int


class RayBacktester(Backtester):
    """A ``Backtester`` whose batches are spread over a Ray cluster; what it returns is the same to the bit.

    Args:
        cluster: to spread over; it is left open.
        inputs: of the study.
    """

    def __init__(self, cluster: Cluster, inputs: Inputs) -> None:
        super().__init__(inputs.history, inputs.candidates, inputs.minimum_trades)
        self._cluster = cluster
        self._inputs = cluster.ray.put(inputs)
        # A task that died with its machine is run again elsewhere: it writes nothing anywhere.
        self._task = cluster.ray.remote(num_cpus=1, max_retries=3)(assess_part)

    def __call__(self, candidates: Sequence[Values]) -> Assessed:
        """Return the assessment of each candidate, in their order.

        Raises:
            RefusedError: a machine of the cluster has other code.
            UnavailableError: the cluster was lost.
        """
        ray: Any = self._cluster.ray
        parts = min(len(candidates), max(int(self._cluster.processors), 1) * _PARTS)
        edges = np.linspace(0, len(candidates), parts + 1).astype(int).tolist()
        chunks = [list(candidates[low:high]) for low, high in pairwise(edges)]
        try:
            done: list[Assessed] = ray.get([self._task.remote(self._inputs, chunk) for chunk in chunks])
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, TidegateError) else error from None
        except ray.exceptions.RayError as error:
            raise UnavailableError(
                f"the Ray cluster was lost in the middle of a generation ({str(error).splitlines()[0]}): start the "
                "search again, it goes on after the last whole one"
            ) from None
        return Assessed(
            np.concatenate([part.train for part in done]),
            np.concatenate([part.test for part in done]),
            np.concatenate([part.returns for part in done]),
            np.concatenate([part.shortfall for part in done]),
        )


def assess_part(inputs: Inputs, chunk: Sequence[Values]) -> Assessed:
    """Backtest some candidates in a process of the cluster, on one of its processors.

    Raises:
        RefusedError: this machine has other code than the search: its figures would be others.
    """
    backtester = _ready.get(inputs.study)
    if backtester is None:
        if digest_source(*inputs.modules) != inputs.code:
            raise RefusedError(
                "a machine of the Ray cluster has other code than the search: install the same version on all of them"
            )
        _ready.clear()  # a market is large, and a process works for one study at a time
        backtester = Backtester(inputs.history, inputs.candidates, inputs.minimum_trades, workers=1)
        _ready[inputs.study] = backtester
    return backtester(chunk)
