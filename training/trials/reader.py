"""Reading the trial ledger; ``TrialLedger`` adds the writing."""

from collections.abc import Sequence

from training.trials import queries, verification
from training.trials.database import Database
from training.trials.record import Head, Kind, Status, StudySummary, TrialRecord
from training.trials.series import Returns, Times


class TrialReader:
    """What may be asked of a ledger. Each answer is of one moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def url(self) -> str:
        """Where the ledger is, without the password."""
        return self._database.url

    def trials(
        self,
        lineage: str | None = None,
        study: str | None = None,
        kind: str | None = None,
        status: Status | str | None = None,
        subject: str | None = None,
        parent: str | None = None,
        ids: Sequence[str] | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> list[TrialRecord]:
        """Return trials in the order they began (``newest``: the other way round), those that meet every condition.

        Raises:
            BadInputError: an id of ``ids`` is not in the ledger, or there is no such kind or status.
            IntegrityError: a row was edited into something that is no trial.
            UnavailableError: the database does not answer.
        """
        conditions = {
            "lineage": lineage,
            "study": study,
            "kind": kind,
            "status": status,
            "subject": subject,
            "parent": parent,
        }
        return queries.trials_of(self._database, conditions, ids, limit, newest)

    def returns(self, trial_ids: Sequence[str]) -> tuple[Times, Returns]:
        """Return the stored net returns on the times all of them have: int64 [T] and float64 [T, K] in given order.

        Raises:
            BadInputError: no ids, an unknown one, one without returns, or no time in common.
            IntegrityError: a stored series is not what its row says.
            UnavailableError: the database does not answer.
        """
        return queries.returns_of(self._database, trial_ids)

    def count(self, lineage: str, kind: Kind | None = None) -> int:
        """Return how many trials were ever begun on a lineage, whatever became of them.

        Raises:
            IntegrityError: the rows are fewer or more than were begun.
            UnavailableError: the database does not answer.
        """
        return queries.count(self._database, lineage, kind)

    def studies(self, lineage: str | None = None) -> list[StudySummary]:
        """Return all studies, by the time they began.

        Raises:
            UnavailableError: the database does not answer.
        """
        return queries.studies(self._database, lineage)

    def lineages(self) -> list[str]:
        """Return the names of all lineages."""
        return queries.lineage_names(self._database)

    def head(self, lineage: str) -> Head:
        """Return the end of a lineage's chain, to be kept with evidence and given to ``verify`` later."""
        return queries.head(self._database, lineage)

    def verify(self, lineage: str, known: Sequence[Head] = (), series: bool = True) -> list[verification.Gap]:
        """Check a lineage against its counter, its chain and its stored series; return every fault found.

        Args:
            lineage: whose rows.
            known: heads kept elsewhere, which must still be part of the chain.
            series: whether stored return series are read and compared too.

        Raises:
            UnavailableError: the database does not answer.
        """
        return verification.verify(self._database, lineage, known, series)
