"""Reading the ledger. Each function sees one moment of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from core.errors import BadInputError, IntegrityError
from training.trials import series
from training.trials.database import Database
from training.trials.record import GENESIS, KINDS, Head, Kind, Status, StudySummary, TrialRecord, record_of
from training.trials.tables import axes, lineages, trials
from training.trials.tables import returns as stored

_AT_ONCE = 500  # ids in one condition: databases bound their number
_COLUMNS = [trials.c[name] for name in TrialRecord.__struct_fields__]


def trials_of(
    database: Database, conditions: Mapping[str, Any], ids: Sequence[str] | None, limit: int | None, newest: bool
) -> list[TrialRecord]:
    """See ``TrialLedger.trials``."""
    kind, status = conditions.get("kind"), conditions.get("status")
    if kind is not None:
        check_kind(kind)
    if status is not None and status not in list(Status):
        raise BadInputError(f"no status {status!r} of a trial: there are {', '.join(Status)}")
    chosen = sa.select(*_COLUMNS)
    for name, value in conditions.items():
        if value is not None:
            chosen = chosen.where(trials.c[name] == str(value))
    order = (trials.c.begun_ns, trials.c.lineage, trials.c.sequence)
    chosen = chosen.order_by(*(column.desc() for column in order) if newest else order).limit(limit)
    with database.reading() as connection:
        if ids is None:
            return [_record(row) for row in connection.execute(chosen).mappings()]
        found: dict[str, TrialRecord] = {}
        for part in _parts(ids):
            rows = connection.execute(chosen.where(trials.c.id.in_(part))).mappings()
            found |= {row["id"]: _record(row) for row in rows}
        _require(connection, ids, found)
    return [found[key] for key in dict.fromkeys(ids) if key in found][:limit]


def returns_of(database: Database, trial_ids: Sequence[str]) -> tuple[series.Times, series.Returns]:
    """See ``TrialLedger.returns``."""
    if not trial_ids:
        raise BadInputError("no trials given: name at least one whose returns are wanted")
    known: dict[str, series.Times] = {}
    found: dict[str, tuple[series.Times, series.Returns]] = {}
    with database.reading() as connection:
        for part in _parts(trial_ids):
            chosen = (
                sa.select(trials.c.id, trials.c.axis_digest, trials.c.returns_digest, stored.c.content)
                .join(stored, stored.c.trial == trials.c.id)
                .where(trials.c.id.in_(part), trials.c.steps > 0)
            )
            for row in connection.execute(chosen):
                if row.axis_digest not in known:
                    content = connection.execute(sa.select(axes.c.content).where(axes.c.digest == row.axis_digest))
                    known[row.axis_digest] = series.unpack_axis(_axis(content.scalar(), row.id), row.axis_digest)
                values = series.unpack_returns(row.content, row.returns_digest, row.id)
                found[row.id] = (known[row.axis_digest], values)
        without = [key for key in trial_ids if key not in found]
        if without:
            _require(connection, without, {})
            raise BadInputError(f"trial {without[0]} has no return series on record: choose among completed ones")
    return series.align([found[key][0] for key in trial_ids], [found[key][1] for key in trial_ids])


def count(database: Database, lineage: str, kind: Kind | None) -> int:
    """See ``TrialLedger.count``."""
    with database.reading() as connection:
        begun = connection.execute(sa.select(lineages.c.last_sequence).where(lineages.c.lineage == lineage)).scalar()
        rows = sa.select(sa.func.count()).select_from(trials).where(trials.c.lineage == lineage)
        present = int(connection.execute(rows).scalar_one())
        if present != (begun or 0):
            raise IntegrityError(
                f"lineage {lineage} has {present} trials on record, {begun or 0} were begun: "
                f"run tidegate trials verify --lineage {lineage}"
            )
        if kind is None:
            return present
        return int(connection.execute(rows.where(trials.c.kind == kind)).scalar_one())


def studies(database: Database, lineage: str | None) -> list[StudySummary]:
    """See ``TrialLedger.studies``."""
    key = (trials.c.study, trials.c.lineage, trials.c.kind, trials.c.status)
    chosen = sa.select(
        *key,
        sa.func.count().label("rows"),
        sa.func.min(trials.c.begun_ns).label("first"),
        sa.func.max(trials.c.closed_ns).label("last"),
    ).group_by(*key)
    if lineage is not None:
        chosen = chosen.where(trials.c.lineage == lineage)
    groups: dict[tuple[str, str], list[sa.RowMapping]] = {}
    with database.reading() as connection:
        for row in connection.execute(chosen).mappings():
            groups.setdefault((row["study"], row["lineage"]), []).append(row)
    found = [_summary(study, name, rows) for (study, name), rows in groups.items()]
    return sorted(found, key=lambda one: (one.first_begun_ns, one.study, one.lineage))


def lineage_names(database: Database) -> list[str]:
    """Return the names of all lineages that have a counter or a row."""
    with database.reading() as connection:
        names = sa.union(sa.select(lineages.c.lineage), sa.select(trials.c.lineage).distinct())
        return sorted(connection.execute(names).scalars())


def head(database: Database, lineage: str) -> Head:
    """See ``TrialLedger.head``."""
    with database.reading() as connection:
        row = connection.execute(sa.select(lineages).where(lineages.c.lineage == lineage)).mappings().one_or_none()
    if row is None:
        return Head(lineage, 0, 0, GENESIS)
    return Head(lineage, row["last_sequence"], row["closed"], row["head_hash"])


def check_kind(kind: str) -> None:
    """Refuse a kind that does not exist.

    Raises:
        BadInputError: it does not.
    """
    if kind not in KINDS:
        raise BadInputError(f"no kind of trial {kind!r}: there are {', '.join(KINDS)}")


def _summary(study: str, lineage: str, rows: Sequence[sa.RowMapping]) -> StudySummary:
    statuses: dict[str, int] = {}
    for row in rows:
        statuses[row["status"]] = statuses.get(row["status"], 0) + int(row["rows"])
    kinds: tuple[Kind, ...] = tuple(sorted({row["kind"] for row in rows}))
    closed = [row["last"] for row in rows if row["last"] is not None]
    return StudySummary(
        study=study,
        lineage=lineage,
        kinds=kinds,
        trials=sum(statuses.values()),
        statuses=dict(sorted(statuses.items())),
        first_begun_ns=min(row["first"] for row in rows),
        last_closed_ns=max(closed, default=None),
    )


def _record(row: sa.RowMapping) -> TrialRecord:
    try:
        return record_of(dict(row))
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, TypeError) as error:
        raise IntegrityError(
            f"trial {row['id']} was edited and cannot be read ({error}): run tidegate trials verify"
        ) from None


def _require(connection: sa.Connection, ids: Sequence[str], found: Mapping[str, Any]) -> None:
    """Refuse ids that no row has."""
    for part in _parts([key for key in ids if key not in found]):
        present = set(connection.execute(sa.select(trials.c.id).where(trials.c.id.in_(part))).scalars())
        missing = [key for key in part if key not in present]
        if missing:
            raise BadInputError(f"no trial {missing[0]!r} in the ledger: tidegate trials list shows their ids")


def _axis(content: bytes | None, trial: str) -> bytes:
    if content is None:
        raise IntegrityError(f"the time axis of trial {trial} is missing: run tidegate trials verify")
    return content


def _parts(ids: Sequence[str]) -> list[list[str]]:
    unique = list(dict.fromkeys(ids))
    return [unique[start : start + _AT_ONCE] for start in range(0, len(unique), _AT_ONCE)]
