"""The three writes of the ledger: begin rows, close rows, and close those whose owner is gone.

All of them hold the lineage's row locked, so sequence numbers have no gap and closed rows form one chain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from core.errors import RefusedError
from training.trials.database import insert_new, now_ns
from training.trials.owner import Owner, end, present, why_gone
from training.trials.record import GENESIS, Status, row_hash, trial_id
from training.trials.series import Series
from training.trials.tables import axes, lineages, owners, returns, trials

_OUTCOME = ("status", "folds", "values", "reason", "closed_ns", "duration_ns", "steps", "axis_digest", "returns_digest")
_CHAINED = ("position", "previous_hash", "hash")


@dataclass(frozen=True)
class Outcome:
    """What became of one trial: the columns to set, and its return series."""

    columns: dict[str, Any]
    series: Series | None = None


def begin_rows(
    connection: sa.Connection, owner: Owner, rows: Sequence[dict[str, Any]]
) -> tuple[Owner, list[dict[str, Any]]]:
    """Write rows of one lineage and study as running; return them with owner, sequence, id and attempt.

    An owner that had been declared gone begins anew under another key.
    """
    there = sa.select(trials.c.sequence, trials.c.owner).where(trials.c.token == rows[0]["token"])
    done = connection.execute(there).one_or_none()
    lineage, study = rows[0]["lineage"], rows[0]["study"]
    if done is None:
        owner = present(connection, owner)
        first = _lock(connection, lineage)["last_sequence"] + 1
    else:  # the reply to an earlier commit was lost
        first = int(done.sequence)
        owner = msgspec.structs.replace(owner, owner=done.owner)
    attempts = _attempts(connection, lineage, study, sorted({row["same"] for row in rows}), first)
    begun: list[dict[str, Any]] = []
    for offset, row in enumerate(rows):
        attempts[row["same"]] = attempts.get(row["same"], 0) + 1
        sequence = first + offset
        given = {"owner": owner.owner, "sequence": sequence, "attempt": attempts[row["same"]]}
        begun.append({**row, **given, "id": trial_id(lineage, sequence)})
    if done is None:
        connection.execute(trials.insert(), begun)
        connection.execute(
            lineages.update().where(lineages.c.lineage == lineage).values(last_sequence=first + len(rows) - 1)
        )
    return owner, begun


def close_rows(
    connection: sa.Connection, begun: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """Close rows of one lineage in the given order, with what the owner knows of them; return them as written.

    What is hashed is what the owner began, not what the database holds: an edit meanwhile shows in the verification.

    Raises:
        RefusedError: a row is not running any more, because its owner had been declared gone.
    """
    lineage = begun[0]["lineage"]
    head = _lock(connection, lineage)
    sequences = [row["sequence"] for row in begun]
    columns = [trials.c[name] for name in ("sequence", "status", "reason", "closed_ns", *_CHAINED)]
    found = {
        row["sequence"]: row
        for row in connection.execute(
            sa.select(*columns).where(
                trials.c.lineage == lineage, trials.c.sequence.between(min(sequences), max(sequences))
            )
        ).mappings()
    }
    position, previous = head["closed"], head["head_hash"]
    closed: list[dict[str, Any]] = []
    for row, outcome in zip(begun, outcomes, strict=True):
        there = found.get(row["sequence"])
        if there is None:
            raise RefusedError(f"trial {row['id']} is not in the ledger any more: run tidegate trials verify")
        if there["status"] == outcome.columns["status"] and there["closed_ns"] == outcome.columns["closed_ns"]:
            closed.append({**row, **outcome.columns, **{name: there[name] for name in _CHAINED}})  # committed before
            continue
        if there["status"] != Status.RUNNING:
            raise RefusedError(
                f"trial {row['id']} was closed as {there['status']} ({there['reason']}): its result came too late "
                "and is not recorded; run it again"
            )
        position += 1
        written = {**row, **outcome.columns, "position": position, "previous_hash": previous}
        written["hash"] = previous = row_hash(written)
        closed.append(written)
    fresh = [row for row in closed if row["position"] > head["closed"]]
    if fresh:
        _write_closed(connection, lineage, fresh)
        _write_series(connection, fresh, {row["sequence"]: o.series for row, o in zip(begun, outcomes, strict=True)})
    return closed


def lost_owners(connection: sa.Connection, here: Owner) -> list[tuple[str, str, int]]:
    """Return owners that are gone but not ended: their key, why, and their last heartbeat."""
    now = now_ns(connection)
    found = connection.execute(sa.select(owners).where(owners.c.ended_ns.is_(None)).order_by(owners.c.owner))
    reasons = [(row["owner"], why_gone(row, here, now), row["heartbeat_ns"]) for row in found.mappings()]
    return [(owner, reason, heartbeat) for owner, reason, heartbeat in reasons if reason is not None]


def declare_gone(connection: sa.Connection, owner: str, heartbeat_ns: int) -> None:
    """Mark an owner as ended, unless it gave a sign since: then it is looked at again."""
    end(connection, owner, heartbeat_ns)


def orphaned(connection: sa.Connection) -> list[tuple[str, str]]:
    """Return owner and lineage of rows that run for an owner that has ended."""
    chosen = (
        sa.select(trials.c.owner, trials.c.lineage)
        .join(owners, owners.c.owner == trials.c.owner, isouter=True)
        .where(trials.c.status == Status.RUNNING, sa.or_(owners.c.owner.is_(None), owners.c.ended_ns.is_not(None)))
        .distinct()
        .order_by(trials.c.lineage, trials.c.owner)
    )
    return [(row.owner, row.lineage) for row in connection.execute(chosen)]


def close_lost(connection: sa.Connection, owner: str, lineage: str, reason: str, closed_ns: int) -> int:
    """Close the running rows of an owner in one lineage as lost; return how many."""
    _lock(connection, lineage)
    rows = [
        dict(row)
        for row in connection.execute(
            sa.select(trials)
            .where(trials.c.owner == owner, trials.c.lineage == lineage, trials.c.status == Status.RUNNING)
            .order_by(trials.c.sequence)
        ).mappings()
    ]
    if not rows:
        return 0
    outcome = {"status": str(Status.LOST), "reason": reason, "closed_ns": closed_ns}
    close_rows(connection, rows, [Outcome(outcome)] * len(rows))
    return len(rows)


def _lock(connection: sa.Connection, lineage: str) -> sa.RowMapping:
    """Lock a lineage until the end of the transaction, making it when it is new; return its row."""
    insert_new(connection, lineages, {"lineage": lineage, "last_sequence": 0, "closed": 0, "head_hash": GENESIS})
    chosen = sa.select(lineages).where(lineages.c.lineage == lineage).with_for_update()
    return connection.execute(chosen).mappings().one()


def _attempts(connection: sa.Connection, lineage: str, study: str, same: list[str], before: int) -> dict[str, int]:
    """Count earlier rows of the study about the same trial."""
    counts: dict[str, int] = {}
    for start in range(0, len(same), 500):
        chosen = (
            sa.select(trials.c.same, sa.func.count())
            .where(
                trials.c.lineage == lineage,
                trials.c.study == study,
                trials.c.same.in_(same[start : start + 500]),
                trials.c.sequence < before,
            )
            .group_by(trials.c.same)
        )
        counts |= {key: int(count) for key, count in connection.execute(chosen)}
    return counts


def _write_closed(connection: sa.Connection, lineage: str, rows: Sequence[Mapping[str, Any]]) -> None:
    names = (*_OUTCOME, *_CHAINED)
    update = (
        trials.update()
        .where(trials.c.id == sa.bindparam("key"))
        .values({trials.c[name]: sa.bindparam(f"new_{name}") for name in names})
    )
    connection.execute(update, [{"key": row["id"], **{f"new_{name}": row[name] for name in names}} for row in rows])
    last = rows[-1]
    connection.execute(
        lineages.update().where(lineages.c.lineage == lineage).values(closed=last["position"], head_hash=last["hash"])
    )


def _write_series(
    connection: sa.Connection, rows: Sequence[Mapping[str, Any]], series: Mapping[int, Series | None]
) -> None:
    kept = [(row["id"], packed) for row in rows if (packed := series[row["sequence"]]) is not None]
    # In one order everywhere: two writers that store the same axes must not wait for each other.
    for digest, packed in sorted({packed.axis_digest: packed for _, packed in kept}.items()):
        insert_new(connection, axes, {"digest": digest, "steps": packed.steps, "content": packed.axis})
    if kept:
        connection.execute(
            returns.insert(),
            [{"trial": key, "axis": packed.axis_digest, "content": packed.returns} for key, packed in kept],
        )
