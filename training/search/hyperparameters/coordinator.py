"""The loop of a search: propose, hand out, prune, tell. It can be killed at any line and goes on from the ledger."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from core.errors import IntegrityError, TidegateError, UnavailableError
from training.search.hyperparameters.evaluation import FoldOutcome
from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.parameters import SearchParameters
from training.search.hyperparameters.progress import SearchProgress, progress_of
from training.search.hyperparameters.pruning import reason_to_prune
from training.search.hyperparameters.rows import Rows
from training.search.hyperparameters.stopping import reason_to_stop
from training.search.hyperparameters.study import LOST, Slot, Study
from training.search.hyperparameters.worker import REFUSED, Assignment, Began, Broken, Ended, Reply
from training.search.hyperparameters.workers import Handle, Pool
from training.trials import Status, TrialRecord

_FAILURES = 5  # failed trials in a row that are no accident of one set of parameters any more
_DEATHS = 5  # workers in a row that died without a single reply: they cannot even start
_TICK_SECONDS = 1.0
_CLOCK_SECONDS = 5.0  # between notes of the time used: a kill forgets at most so much of it

_OUTCOMES = {Status.COMPLETED: "complete", Status.PRUNED: "pruned", Status.FAILED: "failed"}


class Coordinator:
    """Runs one study until its budget or its patience ends.

    Args:
        study: Optuna's side; its lease is held.
        rows: the ledger's side.
        pool: where workers come from.
        parameters: of the search.
        folds: of a whole trial.
        report: called when a trial ends, and about every ten seconds between.
    """

    def __init__(
        self,
        study: Study,
        rows: Rows,
        pool: Pool,
        parameters: SearchParameters,
        folds: int,
        report: Callable[[SearchProgress], None],
    ) -> None:
        self._study = study
        self._rows = rows
        self._pool = pool
        self._parameters = parameters
        self._folds = folds
        self._report = report
        self._slots: list[Slot] = []
        self._unbegun: deque[int] = deque()  # asked for, but no worker opened a row
        self._retries: deque[Slot] = deque()  # lined up in Optuna to be tried again
        self._busy: dict[Any, int] = {}  # worker to the number of its trial
        self._idle: list[Handle] = []
        self._limbo: set[int] = set()  # the worker is dead, the ledger has not said yet what became of the trial
        self._failures = self._deaths = 0
        self._seconds = study.seconds_used
        self._begun = self._noted = self._reported = time.monotonic()
        self._ended_before = 0
        self.stopped = ""

    @property
    def slots(self) -> list[Slot]:
        """Everything asked so far."""
        return self._slots

    def run(self) -> list[Slot]:
        """Take up where the study stands, search on, and return all slots, each with its outcome.

        Raises:
            UnavailableError: the database does not answer; everything that ended is kept.
            IntegrityError: ledger and study disagree.
            TidegateError: the trials keep failing.
        """
        self._recover()
        self._tell_report("")
        try:
            while True:
                self._hand_out()
                if not self._busy and not self._limbo:
                    break
                handles = list(self._busy)
                if handles:
                    for handle in self._pool.ready(handles, _TICK_SECONDS):
                        self._deaths = 0 if self._take(handle, handle.receive()) else self._deaths + 1
                else:
                    time.sleep(_TICK_SECONDS / 5.0)
                self._resolve_limbo()
                self._note_time()
                if self._deaths >= _DEATHS:
                    raise TidegateError(
                        f"{self._deaths} search workers in a row died without a word: see stderr for why"
                    )
        finally:
            self._end_workers()
        self._tell(len(self._slots))
        self._study.use(self._used())
        self._check_counts()
        return self._slots

    def _recover(self) -> None:
        """Bring study and ledger together after whatever ended the last run."""
        self._rows.sweep()
        self._slots = self._study.slots()
        rows = self._rows.by_number()
        running = set(self._study.running())
        known = {number for slot in self._slots for number in slot.numbers}
        strange = sorted(set(rows) - known)
        if strange:
            raise IntegrityError(
                f"the trial ledger knows trial {strange[0]} of study {self._study.name}, the study itself does not: "
                "its Optuna tables were lost or replaced; begin a study of another name with --study"
            )
        for slot in self._slots:
            for number in slot.numbers:
                if number in running:
                    self._settle(slot, number, rows.get(number))
            if slot.outcome == "" and slot.number not in rows and slot.number not in running:
                self._retries.append(slot)  # lined up, not begun
        # The storage hands out what was lined up by its number.
        self._retries = deque(sorted({id(s): s for s in self._retries}.values(), key=lambda s: s.number))
        self._ended_before = sum(bool(slot.outcome) for slot in self._slots)

    def _settle(self, slot: Slot, number: int, row: TrialRecord | None) -> None:
        """Do for an attempt what the ledger says of it."""
        self._limbo.discard(number)
        if row is None:
            self._unbegun.append(number)
        elif row.status == Status.RUNNING:
            self._limbo.add(number)
        elif row.status == Status.LOST:
            slot.row = row.id
            if self._study.lose(slot, number, row.reason):
                if slot.number == number:
                    slot.numbers = self._numbers(slot.index)
                self._retries.append(slot)
                self._tell_report(f"trial {number} was lost ({row.reason}); it is tried again")
            else:
                self._ended(slot)
        else:
            slot.row, slot.reason, slot.values = row.id, row.reason, dict(row.values)
            slot.outcome = _OUTCOMES[row.status]

    def _numbers(self, index: int) -> list[int]:
        return self._study.slots()[index].numbers

    def _hand_out(self) -> None:
        """Give every free worker a trial, starting workers as they are needed."""
        while len(self._busy) < self._parameters.workers:
            assignment = self._next()
            if assignment is None:
                return
            handle = self._idle.pop() if self._idle else self._pool.start()
            self._busy[handle] = assignment.number
            handle.send("begin", assignment)

    def _next(self) -> Assignment | None:
        """Return the next trial to run: one that never began, one to try again, else a new one."""
        if self._unbegun:
            number = self._unbegun.popleft()
            slot = self._slot(number)
            assignment = self._study.again(number, slot.index)
            slot.proposed = assignment.proposed
            return assignment
        if self._retries:
            slot = self._retries.popleft()
            return self._study.ask(slot.index)
        return self._new()

    def _new(self) -> Assignment | None:
        """Ask for a new slot, if the results it is to be made from are there and nothing ends the search."""
        index = len(self._slots)
        if self._parameters.repeatable:
            needed = max(index - self._parameters.lag + 1, 0)
            if any(not slot.outcome for slot in self._slots[:needed]):
                return None
            self._tell(needed)
        else:
            self._tell(index)
        stop = reason_to_stop(self._parameters, self._slots, self._used())
        if stop is not None:
            self.stopped = stop
            return None
        assignment = self._study.ask(index)
        self._slots.append(Slot(index, [assignment.number], assignment.proposed))
        return assignment

    def _take(self, handle: Any, reply: Reply | None) -> bool:
        """Act on a worker's reply; False when it is dead."""
        number = self._busy[handle]
        slot = self._slot(number)
        if reply is None:
            del self._busy[handle]
            handle.end()
            self._limbo.add(number)
            return False
        if isinstance(reply, Broken):
            raise UnavailableError(reply.message)
        if isinstance(reply, Began):
            slot.row, slot.scores = reply.row, []
            handle.send("fold")
        elif isinstance(reply, FoldOutcome):
            self._judge(handle, slot, reply)
        else:
            del self._busy[handle]
            self._idle.append(handle)
            self._close(slot, reply)
        return True

    def _judge(self, handle: Any, slot: Slot, outcome: FoldOutcome) -> None:
        """Note the score of a fold and say whether the trial goes on."""
        slot.scores.append(OBJECTIVES[self._parameters.objectives[0]].gain(outcome.score))
        self._study.score(slot.number, slot.scores)
        seen = (
            self._slots[: max(slot.index - self._parameters.lag + 1, 0)] if self._parameters.repeatable else self._slots
        )
        earlier = [(other.index, other.scores) for other in seen if other.outcome in ("complete", "pruned")]
        reason = reason_to_prune(self._parameters.pruning, self._folds, slot.index, slot.scores, earlier)
        if reason is not None:
            handle.send("prune", reason)
        else:
            handle.send("finish" if len(slot.scores) == self._folds else "fold")

    def _close(self, slot: Slot, reply: Ended) -> None:
        if reply.outcome == REFUSED:  # the ledger had given the trial up as lost meanwhile, and says so
            self._limbo.add(slot.number)
            return
        slot.outcome, slot.reason, slot.values = reply.outcome, reply.reason, dict(reply.values)
        self._ended(slot)

    def _ended(self, slot: Slot) -> None:
        """A slot has its outcome: report it, and stop a search that only fails."""
        bad = slot.outcome not in ("complete", "pruned")
        self._failures = self._failures + 1 if bad else 0
        said = f": {slot.reason}" if slot.reason else ""
        self._tell_report(f"trial {slot.number} {slot.outcome}{said}")
        if self._failures >= _FAILURES:
            raise TidegateError(
                f"the last {self._failures} trials of study {self._study.name} failed, the last one with: {slot.reason}"
            )

    def _resolve_limbo(self) -> None:
        """Ask the ledger about trials whose worker died; it may take the lease of a far machine until it knows."""
        if not self._limbo:
            return
        self._rows.sweep()
        rows = self._rows.by_number()
        for number in sorted(self._limbo):
            slot = self._slot(number)
            self._settle(slot, number, rows.get(number))
            if slot.outcome and slot.outcome != LOST:
                self._ended(slot)

    def _tell(self, count: int) -> None:
        """Tell Optuna the outcomes of the first slots, in the order they were asked."""
        for slot in self._slots[:count]:
            if slot.outcome and not slot.told:
                self._study.tell(slot)

    def _slot(self, number: int) -> Slot:
        return next(slot for slot in reversed(self._slots) if number in slot.numbers)

    def _used(self) -> float:
        return self._seconds + time.monotonic() - self._begun

    def _note_time(self) -> None:
        now = time.monotonic()
        if now - self._noted >= _CLOCK_SECONDS:
            self._noted = now
            self._study.use(self._used())
        if now - self._reported >= 2.0 * _CLOCK_SECONDS:
            self._tell_report("")

    def _tell_report(self, event: str) -> None:
        self._reported = time.monotonic()
        self._report(
            progress_of(
                self._study.name,
                self._parameters,
                self._slots,
                running=len(self._busy),
                seconds=self._used(),
                pace=(sum(bool(s.outcome) for s in self._slots) - self._ended_before, self._reported - self._begun),
                event=event,
            )
        )

    def _end_workers(self) -> None:
        """End all workers: idle ones in order, busy ones at once. What they were at is lost, and found as such."""
        for handle in self._busy:
            handle.end()
        for handle in self._idle:
            handle.dismiss()
        self._busy, self._idle = {}, []

    def _check_counts(self) -> None:
        """Hold ledger and study against each other: every trial that Optuna began has exactly one row."""
        began = {number for slot in self._slots for number in slot.numbers}
        rows = self._rows.by_number()
        if set(rows) != began or any(row.status == Status.RUNNING for row in rows.values()):
            raise IntegrityError(
                f"study {self._study.name} began {len(began)} trials, the trial ledger has {len(rows)} rows of it: "
                "run tidegate trials verify"
            )
