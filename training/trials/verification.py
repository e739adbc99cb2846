"""Finding what was edited, deleted or inserted behind the ledger's back.

The counter says how many rows there are, the chain says what the closed ones held and in which order they closed, and
the digests in the rows say what the stored series were. A head kept elsewhere (in an evidence bundle, in an MLflow tag)
also finds a ledger whose end was cut off together with its counter, or whose chain was written anew.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa

from core.errors import IntegrityError
from training.trials import series
from training.trials.database import Database
from training.trials.record import GENESIS, Head, Status, row_hash, trial_id
from training.trials.tables import axes, lineages, trials
from training.trials.tables import returns as stored

_AT_ONCE = 200


class Gap(msgspec.Struct, frozen=True):
    """One fault. ``sequence`` is None where it concerns the lineage as a whole."""

    kind: Literal["missing", "inserted", "edited", "counter", "chain", "series", "known"]
    lineage: str
    sequence: int | None
    words: str


class _Row(msgspec.Struct, frozen=True):
    """What the later checks need of a row, without its texts."""

    id: str
    sequence: int
    status: str
    steps: int
    axis_digest: str
    returns_digest: str
    position: int | None
    previous_hash: str
    hash: str
    computed: str


def verify(database: Database, lineage: str, known: Sequence[Head], with_series: bool) -> list[Gap]:
    """See ``TrialLedger.verify``."""
    with database.reading() as connection:
        counter = connection.execute(sa.select(lineages).where(lineages.c.lineage == lineage)).mappings().one_or_none()
        chosen = sa.select(trials).where(trials.c.lineage == lineage).order_by(trials.c.sequence)
        result = connection.execution_options(yield_per=1000).execute(chosen).mappings()
        rows = [_row(row) for row in result]
        head = (
            Head(lineage, counter["last_sequence"], counter["closed"], counter["head_hash"])
            if counter
            else Head(lineage, 0, 0, GENESIS)
        )
        found = _sequence(head, rows) + _content(head, rows) + _links(head, rows) + _known(head, rows, known)
        if with_series:
            found += _series(connection, lineage, rows)
    return found


def _row(row: sa.RowMapping) -> _Row:
    try:
        computed = row_hash(dict(row))
    except (TypeError, ValueError):  # SQLite takes any type in any column
        computed = "what no row can hold"
    return _Row(**{name: row[name] for name in _Row.__struct_fields__[:-1]}, computed=computed)


def _sequence(head: Head, rows: Sequence[_Row]) -> list[Gap]:
    """Every number from 1 to the counter is there once, and no other."""
    name, found = head.lineage, list[Gap]()
    present = {row.sequence for row in rows}
    missing = [number for number in range(1, head.sequence + 1) if number not in present]
    for first, last in _ranges(missing):
        which = f"trial {first} is" if first == last else f"trials {first} to {last} are"
        found.append(Gap("missing", name, first, f"{which} missing: {head.sequence} were begun"))
    for row in rows:
        if not 1 <= row.sequence <= head.sequence:
            found.append(
                Gap("inserted", name, row.sequence, f"{row.id} was never begun: the counter stands at {head.sequence}")
            )
    return found


def _content(head: Head, rows: Sequence[_Row]) -> list[Gap]:
    """A closed row holds what it held when it was closed; a running one has no place in the chain."""
    found: list[Gap] = []

    def edited(row: _Row, words: str) -> None:
        found.append(Gap("edited", head.lineage, row.sequence, f"{row.id} {words}"))

    for row in rows:
        if row.id != trial_id(head.lineage, row.sequence):
            edited(row, f"carries the number {row.sequence}")
        if row.status == Status.RUNNING:
            if row.position is not None or row.hash or row.previous_hash:
                edited(row, "was closed and is marked as running")
        elif row.position is None or not row.hash:
            edited(row, f"is marked as {row.status} and was never closed")
        elif row.computed != row.hash:
            edited(
                row,
                f"was edited after it was closed: its content hashes to {row.computed[:12]}, not to {row.hash[:12]}",
            )
    return found


def _links(head: Head, rows: Sequence[_Row]) -> list[Gap]:
    """Closed rows follow each other from 1 to the head without a break."""
    name, found = head.lineage, list[Gap]()
    closed = sorted(((row.position, row) for row in rows if row.position is not None), key=lambda pair: pair[0])
    if len(closed) != head.closed:
        words = f"{len(closed)} trials are closed, the counter says {head.closed}"
        found.append(Gap("counter", name, None, words))
    previous, expected = GENESIS, 1
    for position, row in closed:
        if position != expected:
            words = f"closing {expected} is not there: {row.id} was closed as number {position}"
            found.append(Gap("chain", name, row.sequence, words))
        elif row.previous_hash != previous:
            words = f"{row.id} follows {row.previous_hash[:12]}, the one closed before it is {previous[:12]}"
            found.append(Gap("chain", name, row.sequence, words))
        previous, expected = row.hash, position + 1
    if previous != head.hash:
        words = f"the last closed trial hashes to {previous[:12]}, the head says {head.hash[:12]}"
        found.append(Gap("chain", name, None, words))
    return found


def _known(head: Head, rows: Sequence[_Row], known: Sequence[Head]) -> list[Gap]:
    """What was said elsewhere about the ledger is still so."""
    found: list[Gap] = []
    hashes = {row.position: row.hash for row in rows}
    for one in known:
        if one.lineage != head.lineage:
            continue
        if one.sequence > head.sequence:
            words = f"{one.sequence} trials were begun when the evidence was made, {head.sequence} are here"
            found.append(Gap("known", head.lineage, None, words))
        if one.closed and hashes.get(one.closed) != one.hash:
            words = f"closing {one.closed} was {one.hash[:12]} when the evidence was made and is not here any more"
            found.append(Gap("known", head.lineage, None, words))
    return found


def _series(connection: sa.Connection, lineage: str, rows: Sequence[_Row]) -> list[Gap]:
    """Every stored series is the one its row was closed with."""
    found: list[Gap] = []
    wanted = [row for row in rows if row.returns_digest]
    digests = sorted({row.axis_digest for row in wanted})
    broken: dict[str, str] = {}
    for digest in digests:
        content = connection.execute(sa.select(axes.c.content).where(axes.c.digest == digest)).scalar()
        if content is None:
            broken[digest] = "the time axis of its return series is missing"
            continue
        try:
            series.unpack_axis(content, digest)
        except IntegrityError:
            broken[digest] = "the time axis of its return series was changed"
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        chosen = sa.select(stored.c.trial, stored.c.content).where(stored.c.trial.in_([row.id for row in part]))
        contents: dict[str, bytes] = {row.trial: row.content for row in connection.execute(chosen)}
        for row in part:
            words = broken.get(row.axis_digest) or _fault(contents.get(row.id), row)
            if words:
                found.append(Gap("series", lineage, row.sequence, f"{row.id}: {words}"))
    prefix = f"{lineage}:"
    without = {row.id for row in rows if not row.returns_digest}
    chosen = sa.select(stored.c.trial).where(stored.c.trial.startswith(prefix, autoescape=True))
    known = {row.id for row in rows}
    for trial in sorted(connection.execute(chosen).scalars()):
        if trial in without or (trial not in known and trial.removeprefix(prefix).isdigit()):
            found.append(Gap("series", lineage, None, f"a return series of {trial} is stored, its row has none"))
    return found


def _fault(content: bytes | None, row: _Row) -> str:
    if content is None:
        return "its return series is missing"
    try:
        values = series.unpack_returns(content, row.returns_digest, row.id)
    except IntegrityError:
        return "its return series was changed"
    return "" if len(values) == row.steps else f"its return series has {len(values)} steps, its row says {row.steps}"


def _ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Turn sorted numbers into (first, last) of runs without a break."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
