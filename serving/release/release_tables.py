"""The tables of the release ledger and how a row becomes a value."""

from typing import Any

import msgspec
import orjson
import sqlalchemy as sa

from core.database import metadata
from core.digest import canonical_json
from serving.release.release_chain import broken
from serving.release.states import OPEN, Release, ReleaseState, TransitionRecord

transitions_table = sa.Table(
    "release_transitions",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("release_id", sa.Text, nullable=False, index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("model_digest", sa.Text, nullable=False),
    sa.Column("evidence_digest", sa.Text, nullable=False),
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("after", sa.Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("figures", sa.Text, nullable=False),  # canonical JSON
    sa.Column("approval", sa.Integer, nullable=False),
    sa.Column("against", sa.Text, nullable=False),
    sa.Column("market_ns", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("previous_hash", sa.Text, nullable=False, unique=True),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.UniqueConstraint("release_id", "number"),
)
releases_table = sa.Table(
    "releases",
    metadata,
    sa.Column("release_id", sa.Text, primary_key=True),
    sa.Column("strategy", sa.Text, nullable=False, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("content", sa.Text, nullable=False),  # the release, without what changes below
    sa.Column("open_place", sa.Text, unique=True),  # the strategy while the release is open
    sa.Column("champion_place", sa.Text, unique=True),  # the strategy while it is the champion
    sa.Column("applied", sa.Integer, nullable=False),  # sequence of the last transition whose effects are done
    sa.Column("bento", sa.Text, nullable=False),
)
head_table = sa.Table(
    "releases_head",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)


def read_head(connection: sa.Connection) -> tuple[int, str] | None:
    """Return sequence and hash of the last record, None while there is none."""
    row = connection.execute(sa.select(head_table.c.sequence, head_table.c.hash)).one_or_none()
    return (int(row.sequence), str(row.hash)) if row else None


def read_releases(connection: sa.Connection, *clauses: sa.ColumnElement[bool]) -> list[Release]:
    """Return the releases that meet the clauses, in the order of their last transition."""
    table = releases_table.c
    query = sa.select(table.content, table.applied, table.bento).where(*clauses).order_by(table.sequence)
    try:
        return [
            msgspec.structs.replace(msgspec.json.decode(content, type=Release), applied=applied, bento=bento)
            for content, applied, bento in connection.execute(query)
        ]
    except msgspec.DecodeError as error:
        raise broken(f"a release was edited: {error}") from None


def read_records(
    connection: sa.Connection,
    *clauses: sa.ColumnElement[bool],
    order: sa.ColumnElement[int] | None = None,
    limit: int | None = None,
) -> list[TransitionRecord]:
    """Return the records that meet the clauses, oldest first unless another order is given."""
    names = TransitionRecord.__struct_fields__
    columns = [transitions_table.c[name] for name in names]
    query = sa.select(*columns).where(*clauses)
    query = query.order_by(transitions_table.c.sequence if order is None else order).limit(limit)
    records: list[TransitionRecord] = []
    for row in connection.execute(query):
        values = dict(zip(names, row, strict=True))
        try:
            values["figures"] = orjson.loads(values["figures"])
            records.append(msgspec.convert(values, TransitionRecord))
        except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
            raise broken(f"record {values['sequence']} was edited: {error}") from None
    return records


def release_columns(release: Release) -> dict[str, Any]:
    """Return the row of a release."""
    content = msgspec.structs.replace(release, applied=0, bento="")
    return {
        "release_id": release.release_id,
        "strategy": release.strategy,
        "state": str(release.state),
        "sequence": release.sequence,
        "content": canonical_json(msgspec.to_builtins(content)).decode(),
        "open_place": release.strategy if release.state in OPEN else None,
        "champion_place": release.strategy if release.state is ReleaseState.CHAMPION else None,
        "applied": release.applied,
        "bento": release.bento,
    }
