"""Signatures, users and reviews of approvals; requests for a review; alerts of the release watch."""

import sqlalchemy as sa
from alembic import op

revision = "approvals_0002"
down_revision = "approvals_0001"
branch_labels = None
depends_on = None

_ADDED = ("user", "authentication", "review", "key", "signature")


def upgrade() -> None:
    for name in _ADDED:
        op.add_column("approvals", sa.Column(name, sa.Text, nullable=False, server_default=""))
    given = sa.text("review <> ''")
    op.create_index(
        "uq_approvals_review", "approvals", ["review"], unique=True, postgresql_where=given, sqlite_where=given
    )
    op.create_table(
        "approval_reviews",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("seen", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
    )
    op.create_table(
        "approval_requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("model_digest", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested_ns", sa.BigInteger, nullable=False),
        sa.Column("due_ns", sa.BigInteger, nullable=False),
        sa.Column("remind_ns", sa.BigInteger, nullable=False),
        sa.Column("reminders", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("decided_sequence", sa.Integer, nullable=False),
        sa.Column("flow_run_id", sa.Text, nullable=False),
        sa.Column("resumed", sa.Boolean, nullable=False),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "uq_approval_requests_waiting",
        "approval_requests",
        ["model_name", "version"],
        unique=True,
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
    op.create_table(
        "release_alerts",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False, unique=True),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
    )
    op.create_index("ix_release_alerts_key", "release_alerts", ["key"])


def downgrade() -> None:
    op.drop_table("release_alerts")
    op.drop_table("approval_requests")
    op.drop_table("approval_reviews")
    op.drop_index("uq_approvals_review", "approvals")
    for name in reversed(_ADDED):
        op.drop_column("approvals", name)
