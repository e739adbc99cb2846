"""What a worker does, wherever it runs: one trial after another, a fold at a time, each in the trial ledger.

A worker only answers. The coordinator sends an order and gets one reply; between two orders it decides whether the
trial goes on. So a local process and a Ray actor run the same code, and Optuna's storage has one writer.
"""

import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from core.errors import RefusedError, TidegateError, UnavailableError
from core.stage import one_line
from training.search.hyperparameters.evaluation import Evaluation, FoldOutcome
from training.search.hyperparameters.measure import Measure
from training.search.hyperparameters.rows import Rows
from training.search.hyperparameters.space import Space
from training.stages.context import Context
from training.trials import Trial

REFUSED = "refused"  # the row was closed as lost meanwhile: the result came too late


@dataclass(frozen=True)
class Job:
    """What every trial of a study has in common; sent to each worker once."""

    context: Context
    space: Space
    objectives: tuple[str, ...]
    study: str
    database_url: str


@dataclass(frozen=True)
class Assignment:
    """One trial: Optuna's number, the parameters, and the number it repeats where an earlier attempt was lost."""

    number: int
    proposed: Mapping[str, Any]
    retry_of: int | None = None


@dataclass(frozen=True)
class Began:
    """The trial's row is in the ledger."""

    row: str


@dataclass(frozen=True)
class Ended:
    """The trial's row is closed. ``values`` holds every objective of a completed trial."""

    outcome: str  # complete, pruned or failed
    reason: str = ""
    values: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Broken:
    """The worker cannot reach the database: nobody knows how the trial stands but the ledger itself."""

    message: str


Reply = Began | FoldOutcome | Ended | Broken


class Worker:
    """Runs the orders of one coordinator on one job. Not thread-safe."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._measure = Measure(job.context)
        self._rows = Rows(job.database_url, job.study)
        self._stack = ExitStack()
        self._trial: Trial | None = None
        self._evaluation: Evaluation | None = None

    def begin(self, assignment: Assignment) -> Reply:
        """Open the trial's row; nothing is fitted before it is committed."""
        job = self._job

        def work() -> Reply:
            self._trial, self._stack = None, ExitStack()
            self._trial = self._stack.enter_context(
                self._rows.open(job.context, job.space, assignment.number, assignment.proposed, assignment.retry_of)
            )
            self._evaluation = Evaluation(job.context, self._measure, job.space, assignment.proposed, job.objectives)
            return Began(self._trial.id)

        return self._guarded(work)

    def fold(self) -> Reply:
        """Fit the next fold and write its loss into the row."""

        def work() -> Reply:
            assert self._evaluation is not None and self._trial is not None
            outcome = self._evaluation.fold()
            self._trial.fold(outcome.number, outcome.log_loss, outcome.rows)
            return outcome

        return self._guarded(work)

    def prune(self, reason: str) -> Reply:
        """Close the row as pruned."""

        def work() -> Reply:
            assert self._trial is not None
            self._trial.pruned(reason)
            self._stack.close()
            return Ended("pruned", reason)

        return self._guarded(work)

    def finish(self) -> Reply:
        """Measure the whole trial and close its row with the values and the returns."""

        def work() -> Reply:
            assert self._evaluation is not None and self._trial is not None
            measured = self._evaluation.measured()
            self._trial.complete(measured.values, measured.returns, measured.times_ns)
            self._stack.close()
            return Ended("complete", values=measured.values)

        return self._guarded(work)

    def close(self) -> None:
        """Let go of the database."""
        self._rows.close()

    def _guarded(self, work: Callable[[], Reply]) -> Reply:
        """Run an order; an error of the trial closes its row as failed, an error of the database breaks the worker."""
        try:
            return work()
        except Exception as error:
            if _database_lost(error):
                return Broken(one_line(str(error)))
            # Leaving the row's context with the error closes the row as failed; the error itself comes back unchanged.
            self._stack.__exit__(type(error), error, error.__traceback__)
            if self._trial is None or isinstance(error, RefusedError):
                return Ended(REFUSED if self._trial is not None else "failed", _said(error))
            return Ended("failed", _said(error)) if self._trial.closed else Broken(_said(error))


def _database_lost(error: Exception) -> bool:
    from sqlalchemy.exc import DBAPIError

    return isinstance(error, UnavailableError | DBAPIError)


def _said(error: Exception) -> str:
    if isinstance(error, TidegateError):
        return one_line(error.message)
    where = traceback.extract_tb(error.__traceback__)
    place = f" at {where[-1].name}" if where else ""
    return one_line(f"{type(error).__name__}: {error}{place}")
