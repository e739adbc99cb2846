"""Between the search and the trial ledger: every parameter set is a row before it is backtested, and one row counts.

The row of a parameter set holds its figures exactly, so that a search that was killed takes what is on record and does
not compute it again: nothing is lost and nothing doubled. Rows that a kill left running become *lost*; their parameter
sets are tried again under the same number, as a further attempt.

Returns on record are those of the test windows one after the other, by day: out-of-sample for the fold whose choice the
window scores. The time axis is the same for all rows of a study, which is what the deflated Sharpe ratio and the
probability of overfitting are computed on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from training.search.strategy.backtests import Assessed, Backtester
from training.search.strategy.objectives import NAMES
from training.search.strategy.space import Space, Values
from training.search.strategy.state import Assessment
from training.trials import Draft, Fold, Status, TrialLedger, TrialRecord

RESEARCH = "research"  # the span of a row's backtests; see ``validation.UNSEEN``


class Recorder:
    """Backtests parameter sets of one study through the ledger.

    Args:
        ledger: where rows go.
        study, subject, lineage, code_digest, data_digest, seed: of every row.
        space: of the rule.
        backtester: of the research span.
        folds: number of folds, the final one included.
        choice: measure that folds are scored by.
    """

    def __init__(
        self,
        ledger: TrialLedger,
        study: str,
        subject: str,
        lineage: str,
        code_digest: str,
        data_digest: str,
        seed: int,
        space: Space,
        backtester: Backtester,
        folds: int,
        choice: int,
    ) -> None:
        self._ledger = ledger
        self._common: dict[str, Any] = {
            "study": study,
            "kind": "backtest",
            "subject": subject,
            "lineage": lineage,
            "code_digest": code_digest,
            "data_digest": data_digest,
        }
        self._seed = seed
        self._space = space
        self._backtester = backtester
        self._folds = folds
        self._choice = choice
        self._days = backtester.test_days
        self._numbers: dict[Values, int] = {}
        self._known: dict[Values, Assessment] = {}
        for record in ledger.trials(lineage=lineage, study=study, kind="backtest"):
            if record.parameters.get("span") == RESEARCH:
                values = self._values(record)
                if record.number is not None:
                    self._numbers[values] = record.number
                if record.status is Status.COMPLETED:
                    self._known[values] = self._assessment(record)

    @property
    def trials(self) -> list[str]:
        """Rows of the research span that have returns, in the order of their numbers."""
        return [self._known[values].trial for values in sorted(self._known, key=lambda v: self._numbers[v])]

    def __call__(self, candidates: Sequence[Values], generation: int) -> list[Assessment]:
        """Backtest candidates of a generation of the search."""
        return self.assess(candidates, {"phase": "search", "generation": generation})

    def assess(
        self, candidates: Sequence[Values], words: Mapping[str, Any], parent: str | None = None
    ) -> list[Assessment]:
        """Return one assessment per candidate; what is on record is read, the rest backtested as one batch.

        Args:
            candidates: parameter sets.
            words: what the rows say beside them: phase and generation.
            parent: row that these rows belong to.
        """
        new = [values for values in dict.fromkeys(candidates) if values not in self._known]
        if new:
            drafts = [self._draft(values, words) for values in new]
            with self._ledger.batch(drafts=drafts, parent=parent, **self._common) as batch:
                assessed = self._backtester(new)
                for place in range(len(new)):
                    batch.complete(
                        place,
                        self._row(assessed, place),
                        assessed.returns[place],
                        self._backtester.times_ns,
                        self._scores(assessed, place),
                    )
            for place, (values, trial) in enumerate(zip(new, batch.ids, strict=True)):
                self._known[values] = assessment_at(assessed, place, trial)
        return [self._known[values] for values in candidates]

    def _draft(self, values: Values, words: Mapping[str, Any]) -> Draft:
        number = self._numbers.setdefault(values, len(self._numbers))
        return Draft({"rule": self._space.named(values), "span": RESEARCH, **words}, self._seed, number)

    def _row(self, assessed: Assessed, place: int) -> dict[str, float]:
        """Return every figure by a name that says window and measure; ``final`` is the last fold."""
        row: dict[str, float] = {}
        for fold in range(self._folds):
            name = _fold_name(fold, self._folds)
            row[f"{name}.train.shortfall"] = float(assessed.shortfall[place, fold])
            for index, figure in enumerate(NAMES):
                row[f"{name}.train.{figure}"] = float(assessed.train[place, fold, index])
                if fold < self._folds - 1:
                    row[f"{name}.test.{figure}"] = float(assessed.test[place, fold, index])
        return row

    def _scores(self, assessed: Assessed, place: int) -> list[Fold]:
        """Return the folds as the ledger keeps them: the loss is the negative of the choice metric out of sample."""
        scores = assessed.test[place, :, self._choice].tolist()
        return [Fold(n, -score, days) for n, (score, days) in enumerate(zip(scores, self._days, strict=True))]

    def _assessment(self, record: TrialRecord) -> Assessment:
        """Read back what ``_row`` wrote, to the bit."""
        names = [_fold_name(fold, self._folds) for fold in range(self._folds)]
        return Assessment(
            record.id,
            tuple(tuple(record.values[f"{name}.train.{figure}"] for figure in NAMES) for name in names),
            tuple(tuple(record.values[f"{name}.test.{figure}"] for figure in NAMES) for name in names[:-1]),
            tuple(record.values[f"{name}.train.shortfall"] for name in names),
        )

    def _values(self, record: TrialRecord) -> Values:
        rule = record.parameters["rule"]
        return tuple(float(rule[name]) for name in self._space.names)


def _fold_name(fold: int, folds: int) -> str:
    return "final" if fold == folds - 1 else f"fold{fold + 1}"


def assessment_at(assessed: Assessed, place: int, trial: str) -> Assessment:
    """Return the assessment of one parameter set of a batch, with its row in the ledger."""
    return Assessment(
        trial,
        tuple(tuple(row) for row in assessed.train[place].tolist()),
        tuple(tuple(row) for row in assessed.test[place].tolist()),
        tuple(assessed.shortfall[place].tolist()),
    )
