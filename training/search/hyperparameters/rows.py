"""The study's rows in the trial ledger: one for every trial that Optuna began, under Optuna's number."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from core.digest import digest_value
from core.errors import IntegrityError
from training.search.hyperparameters.space import Space
from training.stages.context import Context
from training.trials import Trial, TrialLedger, TrialRecord
from training.trials.session import data_lineage

# What decides a trial beside the model's own parameters.
SECTIONS: tuple[str, ...] = ("costs", "features", "labels", "strategy", "validation")


class Rows:
    """The ledger, seen from one study. Each process opens its own."""

    def __init__(self, url: str, study: str) -> None:
        """Open the ledger; rows of processes that died are closed as lost.

        Raises:
            UnavailableError: the database does not answer.
        """
        self.ledger = TrialLedger(url)
        self._study = study

    def open(
        self, context: Context, space: Space, number: int, proposed: Mapping[str, Any], retry_of: int | None
    ) -> AbstractContextManager[Trial]:
        """Return the context of a new trial; its row is committed as running when it is entered.

        A trial that repeats a lost one names the lost row as its parent.
        """
        parameters, raw = space.apply(context.parameters, proposed), context.parameters.raw
        lost = self.by_number().get(retry_of) if retry_of is not None else None
        return self.ledger.trial(
            study=self._study,
            kind="fit",
            subject=space.model,
            lineage=data_lineage(raw),
            parameters={
                "model": msgspec.to_builtins(getattr(parameters.models, space.model)),
                "searched": dict(proposed),
                **{name: raw[name] for name in SECTIONS if raw.get(name) is not None},
            },
            seed=parameters.seed,
            code_digest=digest_value(context.lineage.code_digests),
            number=number,
            parent=lost.id if lost is not None else None,
            data_digest=context.lineage.data_digest,
        )

    def by_number(self) -> dict[int, TrialRecord]:
        """Return the study's rows by Optuna's number.

        Raises:
            IntegrityError: a number has two rows: a trial was counted twice.
        """
        found: dict[int, TrialRecord] = {}
        for record in self.ledger.trials(study=self._study):
            if record.number is None or record.number in found:
                raise IntegrityError(
                    f"the trial ledger has a second row {record.id} for trial {record.number} of study {self._study}: "
                    "look at it with `tidegate trials list --study` and begin a study of another name"
                )
            found[record.number] = record
        return found

    def sweep(self) -> None:
        """Close as lost what died processes left running."""
        self.ledger.sweep()

    def close(self) -> None:
        """Let go of the database."""
        self.ledger.close()
