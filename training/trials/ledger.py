"""The trial ledger (law 5): a row is committed as running before the work begins and closed by what became of it."""

import os
import threading
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import structlog

from core.clock import Clock, LiveClock
from core.digest import digest_value
from core.errors import BadInputError, TidegateError, UsageError
from training.trials import chain, queries
from training.trials.chain import Outcome
from training.trials.database import Database
from training.trials.owner import HEARTBEAT_SECONDS, beat, end, this_process
from training.trials.reader import TrialReader
from training.trials.record import Draft, Kind, Status, folds_text, parameters_text
from training.trials.tables import trials
from training.trials.trial import Batch, Trial

PATIENCE_SECONDS = 20.0  # a database that restarts is back by then; hours of fitting must not be lost to it
_UNWRITTEN = {
    "status": str(Status.RUNNING),
    "folds": "[]",
    "values": "{}",
    "reason": "",
    "closed_ns": None,
    "duration_ns": None,
    "steps": 0,
    "axis_digest": "",
    "returns_digest": "",
    "position": None,
    "previous_hash": "",
    "hash": "",
}
_log = structlog.get_logger("trials")


class TrialLedger(TrialReader):
    """Write and read the trials of a database. Several processes may do so at once; each opens its own.

    Opening brings the tables up to date and closes as lost what processes that died left running.

    Args:
        url: SQLAlchemy URL, PostgreSQL or SQLite; the folder of a SQLite file is made.
        clock: of the times in the rows.
        patience_seconds: how long a write waits for a database that does not answer.

    Raises:
        UnavailableError: the database does not answer.
    """

    def __init__(self, url: str, clock: Clock | None = None, patience_seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__(Database(url, patience_seconds))
        self._clock = clock or LiveClock()
        self._owner = this_process()
        self._running: set[str] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._heart: threading.Thread | None = None
        try:
            self.sweep()
        except BaseException:
            self._database.dispose()
            raise

    def close(self) -> None:
        """Let go of the database. Trials that still run are closed as lost: nobody will end them."""
        self._closing.set()
        if self._heart is not None and os.getpid() == self._owner.pid:
            self._heart.join(timeout=5.0)
            try:
                self._database.write(lambda connection: end(connection, self._owner.owner), 0.0)
                if self._running:
                    self._close_orphans({self._owner.owner: "the ledger was closed while it ran"})
            except TidegateError as error:
                _log.warning("trial_owner_not_ended", error=error.message)
        self._database.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def trial(
        self,
        study: str,
        kind: Kind,
        subject: str,
        lineage: str,
        parameters: Mapping[str, Any],
        seed: int,
        code_digest: str,
        number: int | None = None,
        parent: str | None = None,
        data_digest: str = "",
        run: str = "",
    ) -> Generator[Trial]:
        """Begin one trial; its row is committed as running before the body is entered.

        The body ends it with ``complete`` or ``pruned``; an exception, also an interrupt, ends it as failed and goes
        on. A trial that the body leaves without an outcome is failed too.

        Args:
            study: what the trial is part of: a retraining, a search.
            kind: ``fit`` or ``backtest``.
            subject: the model or rule.
            lineage: the data the trial looks at; see ``training.trials.session.data_lineage``.
            parameters: what was tried, nested as it likes.
            seed: of the trial.
            code_digest: of the code that runs it.
            number: of the study's own count; a second row of the same number and parameters is a further attempt.
            parent: id of the trial this one belongs to.
            data_digest: of the data as they were.
            run: MLflow run id.

        Raises:
            BadInputError: a name is empty or the parameters have no JSON form.
            UnavailableError: the database does not answer; the body is not entered.
        """
        draft = Draft(parameters, seed, number)
        rows = self._begin(study, kind, subject, lineage, [draft], code_digest, parent, data_digest, run)
        trial = Trial(rows[0], self._clock.time_ns, self._close_one, self._note)
        try:
            yield trial
        except BaseException as error:
            self._fail([trial], error, at_once=True)
            raise
        finally:
            self._running.discard(trial.id)
        if not trial.closed:
            trial.failed("ended without a result")
            raise UsageError(f"trial {trial.id} ended without a result: call complete or pruned")

    @contextmanager
    def batch(
        self,
        study: str,
        kind: Kind,
        subject: str,
        lineage: str,
        drafts: Sequence[Draft],
        code_digest: str,
        parent: str | None = None,
        data_digest: str = "",
        run: str = "",
    ) -> Generator[Batch]:
        """Begin many trials of one study in one transaction and close all of them in one when the body ends.

        An outcome noted before the body raised is written as noted: it was seen. The rest is failed.

        Args:
            drafts: what to try, at least one; see ``trial`` for the rest.

        Raises:
            BadInputError, UnavailableError: as for ``trial``; also when there is no draft.
        """
        if not drafts:
            raise BadInputError(f"study {study}: a batch of no trials cannot be begun")
        rows = self._begin(study, kind, subject, lineage, drafts, code_digest, parent, data_digest, run)
        begun = [Trial(row, self._clock.time_ns, _keep, _keep) for row in rows]
        try:
            yield Batch(begun)
        except BaseException as error:
            self._fail(begun, error, at_once=False)
            raise
        else:
            open_ones = [trial for trial in begun if not trial.closed]
            for trial in open_ones:
                trial.failed("ended without a result")
            self._close(begun)
            if open_ones:
                raise UsageError(
                    f"{len(open_ones)} of {len(begun)} trials of study {study} ended without a result: "
                    "complete or prune each"
                )
        finally:
            self._running.difference_update(trial.id for trial in begun)

    def sweep(self) -> int:
        """Close as lost the running trials of processes that are gone; return how many.

        Raises:
            UnavailableError: the database does not answer.
        """
        with self._database.reading() as connection:
            gone = chain.lost_owners(connection, self._owner)
        for owner, _, heartbeat in gone:
            self._database.write(lambda c, o=owner, h=heartbeat: chain.declare_gone(c, o, h))
        return self._close_orphans({owner: reason for owner, reason, _ in gone})

    def _begin(
        self,
        study: str,
        kind: str,
        subject: str,
        lineage: str,
        drafts: Sequence[Draft],
        code_digest: str,
        parent: str | None,
        data_digest: str,
        run: str,
    ) -> list[dict[str, Any]]:
        if self._closing.is_set():
            raise UsageError("the trial ledger was closed: open it again")
        queries.check_kind(kind)
        for name, value in (("study", study), ("subject", subject), ("lineage", lineage), ("code_digest", code_digest)):
            if not value.strip():
                raise BadInputError(f"a trial needs a {name}: it is empty")
        common = {
            "lineage": lineage,
            "study": study,
            "kind": kind,
            "subject": subject,
            "code_digest": code_digest,
            "data_digest": data_digest,
            "parent": parent,
            "run": run,
            **_UNWRITTEN,
        }
        token, now = uuid.uuid4().hex, self._clock.time_ns()
        rows: list[dict[str, Any]] = []
        for place, draft in enumerate(drafts):
            text = parameters_text(draft.parameters)
            rows.append(
                {
                    **common,
                    "token": f"{token}-{place}",
                    "parameters": text,
                    "seed": int(draft.seed),
                    "number": None if draft.number is None else int(draft.number),
                    "same": digest_value([kind, subject, text, int(draft.seed), draft.number]),
                    "begun_ns": now,
                }
            )
        with self._lock:
            owner = self._owner
            self._owner, begun = self._database.write(lambda c: chain.begin_rows(c, owner, rows))
            self._running.update(row["id"] for row in begun)
            if self._heart is None:
                self._heart = threading.Thread(target=self._beat, name="trial heartbeat", daemon=True)
                self._heart.start()
        return begun

    def _close(self, trials: Sequence[Trial]) -> None:
        rows = [trial.row for trial in trials]
        outcomes = [trial.outcome for trial in trials if trial.outcome is not None]
        written = self._database.write(lambda c: chain.close_rows(c, rows, outcomes))
        for trial, row in zip(trials, written, strict=True):
            trial.row = row

    def _close_one(self, trial: Trial, outcome: Outcome) -> None:
        trial.row = self._database.write(lambda c: chain.close_rows(c, [trial.row], [outcome]))[0]

    def _note(self, trial: Trial) -> None:
        """Put the folds so far on record. They are written again with the outcome, so a failure here may pass."""
        statement = (
            trials.update()
            .where(trials.c.id == trial.id, trials.c.status == Status.RUNNING)
            .values(folds=folds_text(trial.folds))
        )
        try:
            self._database.write(lambda connection: connection.execute(statement).rowcount, 0.0)
        except TidegateError as error:
            _log.warning("trial_folds_not_noted", trial=trial.id, error=error.message)

    def _fail(self, begun: Sequence[Trial], error: BaseException, at_once: bool) -> None:
        """Close after an exception, which is what the caller must see: a second one is only noted on it."""
        try:
            for trial in begun:
                if not trial.closed:
                    trial.failed(error)
            if not at_once:
                self._close(begun)
        except TidegateError as second:
            words = f"its trials stay open in the ledger until the next process opens it: {second.message}"
            error.add_note(words)
            _log.warning("trials_not_closed", trials=[trial.id for trial in begun], error=second.message)

    def _close_orphans(self, reasons: Mapping[str, str]) -> int:
        with self._database.reading() as connection:
            found = chain.orphaned(connection)
        total = 0
        for owner, lineage in found:
            reason = reasons.get(owner, "its process ended without closing it")
            now = self._clock.time_ns()
            total += self._database.write(
                lambda c, o=owner, name=lineage, why=reason, t=now: chain.close_lost(c, o, name, why, t),
            )
        if total:
            _log.warning("trials_lost", trials=total)
        return total

    def _beat(self) -> None:
        """Give a sign of life while the process lives."""
        while not self._closing.wait(HEARTBEAT_SECONDS):
            try:
                alive = self._database.write(lambda connection: beat(connection, self._owner), 0.0)
            except TidegateError as error:
                _log.warning("trial_heartbeat_missed", error=error.message)
                continue
            if not alive and self._running:
                _log.error("trials_declared_lost", trials=sorted(self._running))


def _keep(*_: Any) -> None:
    """Do nothing: a batch writes its outcomes when it ends."""
