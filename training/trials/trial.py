"""The handles of running trials: one, or a batch of one study."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from core.errors import UsageError
from training.trials.chain import Outcome
from training.trials.record import Fold, Status, folds_text, values_text
from training.trials.series import pack

_LONGEST_REASON = 500


class Trial:
    """A running trial. Made by ``TrialLedger.trial`` and ``TrialLedger.batch``.

    ``complete`` and ``pruned`` end it; leaving the body by an exception ends it as failed.
    """

    def __init__(
        self,
        row: dict[str, Any],
        now_ns: Callable[[], int],
        close: Callable[["Trial", Outcome], None],
        note: Callable[["Trial"], None],
    ) -> None:
        self.row = row
        self.outcome: Outcome | None = None
        self._now_ns = now_ns
        self._close = close
        self._note = note
        self._folds: dict[int, Fold] = {}
        self._began = time.monotonic_ns()

    @property
    def id(self) -> str:
        """``<lineage>:<sequence>``."""
        return str(self.row["id"])

    @property
    def sequence(self) -> int:
        """Place in the lineage, from 1 without a gap."""
        return int(self.row["sequence"])

    @property
    def attempt(self) -> int:
        """1, or more where the same trial of the study was begun before."""
        return int(self.row["attempt"])

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The folds so far, by number."""
        return tuple(self._folds[number] for number in sorted(self._folds))

    @property
    def closed(self) -> bool:
        """Whether it has an outcome."""
        return self.outcome is not None

    def fold(self, number: int, loss: float, rows: int = 0) -> None:
        """Record how a fold went. It is on record at once, so that a killed trial shows how far it came.

        Raises:
            UsageError: the trial has ended.
        """
        self._must_run()
        self._folds[number] = Fold(number, float(loss), rows)
        self._note(self)

    def complete(
        self,
        values: Mapping[str, float],
        returns: ArrayLike | None = None,
        times_ns: ArrayLike | None = None,
        folds: Sequence[Fold] | None = None,
    ) -> None:
        """End the trial with its result.

        Args:
            values: what was measured, by name.
            returns: net return of each step, fraction of equity, float64 [T].
            times_ns: when each step ended, int64 [T], increasing; needed with ``returns``.
            folds: all folds; None keeps those recorded by ``fold``.

        Raises:
            BadInputError: the return series cannot be kept.
            RefusedError: the trial was declared lost meanwhile.
            UnavailableError: the database does not answer; the result is not on record.
            UsageError: the trial has ended.
        """
        self._must_run()
        if folds is not None:
            self._folds = {fold.number: fold for fold in folds}
        if (returns is None) != (times_ns is None):
            raise UsageError(f"trial {self.id}: returns and times_ns are needed together")
        series = None if returns is None or times_ns is None else pack(returns, times_ns)
        columns = self._columns(Status.COMPLETED, "", values)
        if series is not None:
            columns |= {
                "steps": series.steps,
                "axis_digest": series.axis_digest,
                "returns_digest": series.returns_digest,
            }
        self._end(Outcome(columns, series))

    def pruned(self, reason: str, values: Mapping[str, float] | None = None) -> None:
        """End the trial early: it was not promising.

        Raises:
            RefusedError, UnavailableError, UsageError: as for ``complete``.
        """
        self._must_run()
        self._end(Outcome(self._columns(Status.PRUNED, _line(reason), values or {})))

    def failed(self, reason: str | BaseException) -> None:
        """End the trial as failed, with the class and the first line of an exception.

        Raises:
            RefusedError, UnavailableError, UsageError: as for ``complete``.
        """
        self._must_run()
        self._end(Outcome(self._columns(Status.FAILED, _line(reason), {})))

    def _columns(self, status: Status, reason: str, values: Mapping[str, float]) -> dict[str, Any]:
        return {
            "status": str(status),
            "reason": reason,
            "values": values_text(values),
            "folds": folds_text(self.folds),
            "closed_ns": self._now_ns(),
            "duration_ns": time.monotonic_ns() - self._began,
        }

    def _end(self, outcome: Outcome) -> None:
        self._close(self, outcome)
        self.outcome = outcome

    def _must_run(self) -> None:
        if self.outcome is not None:
            raise UsageError(f"trial {self.id} has ended as {self.outcome.columns['status']}: begin another one")


class Batch(Sequence[Trial]):
    """Trials of one study that begin in one transaction and are closed in one, when the body ends.

    ``batch[i].complete(…)`` only notes the outcome; folds too are written with it.
    """

    def __init__(self, trials: list[Trial]) -> None:
        self._trials = trials

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, index: Any) -> Any:
        return self._trials[index]

    @property
    def ids(self) -> list[str]:
        """The ids in the order of the drafts."""
        return [trial.id for trial in self._trials]

    def complete(
        self,
        index: int,
        values: Mapping[str, float],
        returns: ArrayLike | None = None,
        times_ns: ArrayLike | None = None,
        folds: Sequence[Fold] | None = None,
    ) -> None:
        """Note the result of one trial; see ``Trial.complete``."""
        self._trials[index].complete(values, returns, times_ns, folds)

    def pruned(self, index: int, reason: str, values: Mapping[str, float] | None = None) -> None:
        """Note that one trial was stopped early."""
        self._trials[index].pruned(reason, values)

    def failed(self, index: int, reason: str | BaseException) -> None:
        """Note that one trial failed."""
        self._trials[index].failed(reason)


def _line(reason: str | BaseException) -> str:
    if isinstance(reason, BaseException):
        first = next(iter(str(reason).strip().splitlines()), "")
        reason = f"{type(reason).__name__}: {first}" if first else type(reason).__name__
    return " ".join(reason.split())[:_LONGEST_REASON]
