"""What the trial ledger says about a candidate: which rows count, which series they left, and whether it is whole."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.digest import digest_value
from core.errors import BadInputError
from training.trials import Head, Status, TrialLedger, TrialRecord

Array = NDArray[np.float64]
_MOST_SERIES = 2_000  # correlations of more take minutes and gigabytes; the rest still count as attempts
_LEAST_OVERLAP = 0.5  # of the candidate's decision times: a series that shares fewer says too little about it


class TrialReference(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger; ``series`` is the digest of its returns, empty where it left none."""

    id: str
    study: str
    kind: str
    subject: str
    status: str
    series: str


class LedgerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger as the evidence saw it. ``gaps`` is empty exactly when the lineage is whole."""

    lineage: str
    trials: int
    by_status: dict[str, int]
    candidate: str  # id of the candidate's own row
    used: tuple[str, ...]  # ids whose series entered, in the order of the matrix
    unused: int  # with a series that was left out: on too few common decision times, or not among the best of very many
    rows: tuple[TrialReference, ...]
    gaps: tuple[str, ...]
    rows_digest: str  # over ``rows``: the same ledger, the same digest


@dataclass(frozen=True)
class Recorded:
    """The record, the head to keep, and the series: ``matrix`` float64 [T, K] on ``times_ns`` int64 [T]."""

    record: LedgerRecord
    head: Head
    times_ns: NDArray[np.int64]
    matrix: Array
    own: int  # column of the candidate


def read_record(ledger: TrialLedger, lineage: str, candidate: str) -> Recorded:
    """Read every trial of a lineage up to now.

    Args:
        ledger: where they are.
        lineage: whose trials count.
        candidate: id of the candidate's row; it must have left a return series.

    Raises:
        BadInputError: the candidate is no completed trial of this lineage.
        IntegrityError: a stored series is not what its row says.
        UnavailableError: the database does not answer.
    """
    gaps = tuple(gap.words for gap in ledger.verify(lineage))
    rows = ledger.trials(lineage=lineage)
    own = next((row for row in rows if row.id == candidate and row.steps > 0), None)
    if own is None:
        raise BadInputError(f"trial {candidate} of lineage {lineage} left no return series: train the model again")
    with_series = [row for row in rows if row.steps > 0 and row.status is Status.COMPLETED]
    times, matrix, used = _common(ledger, own, with_series)
    references = tuple(
        TrialReference(
            id=row.id, study=row.study, kind=row.kind, subject=row.subject, status=row.status, series=row.returns_digest
        )
        for row in rows
    )
    by_status = {status: sum(row.status == status for row in rows) for status in sorted({str(r.status) for r in rows})}
    record = LedgerRecord(
        lineage=lineage,
        trials=len(rows),
        by_status=by_status,
        candidate=candidate,
        used=tuple(row.id for row in used),
        unused=len(with_series) - len(used),
        rows=references,
        gaps=gaps,
        rows_digest=digest_value(msgspec.to_builtins(references)),
    )
    return Recorded(record, ledger.head(lineage), times, matrix, [row.id for row in used].index(candidate))


def _common(
    ledger: TrialLedger, own: TrialRecord, rows: list[TrialRecord]
) -> tuple[NDArray[np.int64], Array, list[TrialRecord]]:
    """Return the series on common times, of the trials that share enough of them with the candidate.

    Trials of one time axis are read together. Axes join in the order of how much they share with the candidate, and one
    that would leave fewer than half of its decision times is left out: its trials still count as attempts.
    """
    axes: dict[str, list[TrialRecord]] = {}
    for row in rows:
        axes.setdefault(row.axis_digest, []).append(row)
    times, _ = ledger.returns([own.id])
    least = max(int(_LEAST_OVERLAP * len(times)), 1)
    loaded = {axis: ledger.returns([row.id for row in group]) for axis, group in axes.items()}
    shared = {axis: len(np.intersect1d(times, loaded[axis][0])) for axis in axes}
    common, kept = times, list[str]()
    for axis in sorted(axes, key=lambda name: (name != own.axis_digest, -shared[name], name)):
        joined = np.intersect1d(common, loaded[axis][0])
        if len(joined) >= least:
            common, kept = joined, [*kept, axis]
    parts, used = list[Array](), list[TrialRecord]()
    for axis in kept:
        here, values = loaded[axis]
        parts.append(values[np.searchsorted(here, common)])
        used += axes[axis]
    matrix = np.concatenate(parts, axis=1)
    order = sorted(_kept(matrix, used, own), key=lambda place: used[place].sequence)
    return common, np.ascontiguousarray(matrix[:, order]), [used[place] for place in order]


def _kept(matrix: Array, used: list[TrialRecord], own: TrialRecord) -> list[int]:
    """Return the columns to judge by: all, or of very many the candidate's and the best, which decide every maximum."""
    if len(used) <= _MOST_SERIES:
        return list(range(len(used)))
    deviation = matrix.std(axis=0)
    ratio = np.where(deviation > 0.0, matrix.mean(axis=0) / np.where(deviation > 0.0, deviation, 1.0), 0.0)
    best = sorted(range(len(used)), key=lambda place: (used[place].id != own.id, -ratio[place], used[place].sequence))
    return best[:_MOST_SERIES]
