"""The ledger of releases: transitions, what they come to, and the head of the chain."""

import sqlalchemy as sa
from alembic import op

revision = "releases_0001"
down_revision = None
branch_labels = ("releases",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "release_transitions",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("release_id", sa.Text, nullable=False),
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
        sa.Column("figures", sa.Text, nullable=False),
        sa.Column("approval", sa.Integer, nullable=False),
        sa.Column("against", sa.Text, nullable=False),
        sa.Column("market_ns", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False, unique=True),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.UniqueConstraint("release_id", "number"),
    )
    op.create_index("ix_release_transitions_release_id", "release_transitions", ["release_id"])
    op.create_table(
        "releases",
        sa.Column("release_id", sa.Text, primary_key=True),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("open_place", sa.Text, unique=True),
        sa.Column("champion_place", sa.Text, unique=True),
        sa.Column("applied", sa.Integer, nullable=False),
        sa.Column("bento", sa.Text, nullable=False),
    )
    op.create_index("ix_releases_strategy", "releases", ["strategy"])
    op.create_table(
        "releases_head",
        sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("releases_head", "releases", "release_transitions"):
        op.drop_table(table)
