"""Where the numbers of a bundle come from: each is computed again from rows of the trial ledger alone, and compared.

Nothing is read but the ledger, the ids that the bundle names, and the options of the statistics. What a number of the
gate rests on beside the ledger (the candidate's predictions, the exported model) is named, not computed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from core.errors import BadInputError
from training.evidence.bundle import Bundle
from training.evidence.record import LedgerRecord
from training.evidence.search import SearchEvidence, search_evidence
from training.statistics.sharpe import sharpe_ratios
from training.trials import Status, TrialLedger, TrialRecord

_SAME = 1e-9  # relative: the same arithmetic on the same rows, perhaps by another processor
_DIGITS = 6  # of a found value in a patch: by so many a search's trial is recognised
_ROW = ("log_loss",)  # of the candidate's row and of ``result``
_TRADED = ("sharpe", "net_return_a_year", "turnover_a_year", "maximum_drawdown", "trades")  # of ``result.strategy``
_OWN = frozenset({"sharpe"})  # of the search's evidence: the candidate's row alone
_GIVEN = frozenset({"steps_per_year"})  # an option, and no finding

# What the gate's rules read. A rule that is not named rests on the candidate's predictions.
_RULES: Mapping[str, str] = {
    "deflated_sharpe": "search.deflated",
    "superior_to_flat": "search.superiority",
    "overfitting": "search.overfitting",
    "loss_out_of_sample": "search.loss_probability",
    "complete_ledger": "record",
    "ledger_now": "record",
}
_MODEL_RULES: Mapping[str, str] = {
    "onnx_parity": "the exported model beside the fitted one",
    "model_size": "the exported model",
    "latency": "the exported model, timed when it is asked",
    "leak_checks": "the data set and its folds",
    "drift_at_cutoff": "the data set up to the cut-off",
}


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """One number: what the evidence says, what the ledger's rows give, and which rows those are."""

    number: str  # its place in bundle.json
    evidence: float | str | None
    ledger: float | str | None
    rows: tuple[str, ...]
    agrees: bool


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Every number of a bundle that the ledger holds, and where the model's parameters come from."""

    numbers: tuple[Traced, ...]
    candidate: str  # the candidate's own row
    found_by: tuple[str, ...]  # rows of searches with the candidate's parameters, the one that was applied among them
    missing: tuple[str, ...]  # rows the evidence names that the ledger no longer has

    @property
    def agrees(self) -> bool:
        """Whether the ledger gives every number again."""
        return not self.missing and all(one.agrees for one in self.numbers)


def trace(bundle: Bundle, ledger: TrialLedger, draws: int) -> Trace:
    """Compute the numbers of a bundle again from the rows that it names.

    Args:
        bundle: the evidence.
        ledger: as it stands now; rows that came later are left out.
        draws: bootstrap samples, ``evaluation.bootstrap_draws`` of the retraining.

    Raises:
        BadInputError: the bundle rests on no ledger.
        IntegrityError: a stored series is not what its row says.
        UnavailableError: the database does not answer.
    """
    record = bundle.record
    if record is None:
        raise BadInputError("this evidence names no trial of the ledger: retrain to get a version that does")
    known = {row.id: row for row in ledger.trials(lineage=record.lineage)}
    missing = tuple(row.id for row in record.rows if row.id not in known)
    if missing:
        return Trace(numbers=(), candidate=record.candidate, found_by=(), missing=missing)
    own = known[record.candidate]
    numbers = [*_counts(record, known), *_of_row(bundle, own)]
    if bundle.search is not None:
        numbers += _search(bundle, bundle.search, record, ledger, draws)
    return Trace(
        numbers=tuple(numbers),
        candidate=record.candidate,
        found_by=tuple(row.id for row in _relatives(own, [known[row.id] for row in record.rows])),
        missing=(),
    )


def rests_on(rule: str, candidate: str) -> str:
    """Say in words what a rule of the gate reads: a number of the trace, the candidate's predictions, or the model."""
    return _RULES.get(rule) or _MODEL_RULES.get(rule) or f"the out-of-fold predictions of {candidate}"


def _counts(record: LedgerRecord, known: Mapping[str, TrialRecord]) -> list[Traced]:
    """Return the counts, by what the rows say now; a row that was still running then counts as it was named."""
    rows = tuple(row.id for row in record.rows)
    found = [_traced("record.trials", record.trials, len(rows), rows)]
    open_then = {row.id for row in record.rows if row.status == Status.RUNNING}
    for status, count in record.by_status.items():
        here = tuple(
            row.id
            for row in record.rows
            if (row.status if row.id in open_then else str(known[row.id].status)) == status
        )
        found.append(_traced(f"record.by_status.{status}", count, len(here), here))
    same = tuple(row.id for row in record.rows if known[row.id].returns_digest == row.series or row.id in open_then)
    found.append(_traced("record.rows, their series unchanged", len(rows), len(same), same))
    return found


def _of_row(bundle: Bundle, own: TrialRecord) -> list[Traced]:
    """Return what the candidate's own row says of it."""
    traded: Mapping[str, Any] = bundle.result["strategy"]
    said = {f"result.{name}": bundle.result[name] for name in _ROW} | {
        f"result.strategy.{name}": _value(traded[name]) for name in _TRADED
    }
    return [
        _traced(place, value, own.values[place.rsplit(".", 1)[-1]], (own.id,))
        for place, value in said.items()
        if place.rsplit(".", 1)[-1] in own.values
    ]


def _search(
    bundle: Bundle, given: SearchEvidence, record: LedgerRecord, ledger: TrialLedger, draws: int
) -> list[Traced]:
    """Return every statistic of the search, made again from the stored series."""
    _, matrix = ledger.returns(record.used)
    own = matrix[:, record.used.index(record.candidate)]
    made = search_evidence(own, matrix, record.trials, bundle.steps_per_year, draws, bundle.seed)
    best = (record.used[int(sharpe_ratios(matrix).argmax())],)
    found: list[Traced] = []
    for field in msgspec.structs.fields(SearchEvidence):
        name, value, again = field.name, getattr(given, field.name), getattr(made, field.name)
        if name in _GIVEN or not isinstance(value if again is None else again, int | float | None):
            continue  # what charts are drawn from holds nothing that is judged
        rows = (record.candidate,) if name in _OWN else best if name == "best_sharpe" else record.used
        if name == "trials":
            rows = tuple(row.id for row in record.rows)
        found.append(_traced(f"search.{name}", value, again, rows))
    return found


def _relatives(own: TrialRecord, rows: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return trials of other studies that fitted the same model with the same parameters, as far as a patch keeps."""
    wanted = _written(own.parameters.get("model"))
    return [
        row
        for row in rows
        if row.study != own.study
        and row.subject == own.subject
        and row.kind == "fit"
        and _written(row.parameters.get("model")) == wanted
    ]


def _written(value: Any) -> Any:
    """Return parameters with so many digits as a patch writes."""
    if isinstance(value, Mapping):
        return {str(name): _written(part) for name, part in value.items()}
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:.{_DIGITS}g}"
    return value


def _value(entry: Any) -> Any:
    return entry["value"] if isinstance(entry, Mapping) else entry


def _traced(number: str, evidence: Any, ledger: Any, rows: Sequence[str]) -> Traced:
    if evidence is None or ledger is None:
        agrees = evidence is ledger
    else:
        agrees = math.isclose(evidence, ledger, rel_tol=_SAME, abs_tol=_SAME)
    return Traced(number=number, evidence=evidence, ledger=ledger, rows=tuple(rows), agrees=agrees)
