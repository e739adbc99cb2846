"""The trial ledger: lineages, owners, trials, and their return series."""

import sqlalchemy as sa
from alembic import op

revision = "trials_0001"
down_revision = None
branch_labels = ("trials",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trial_lineages",
        sa.Column("lineage", sa.Text, primary_key=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("closed", sa.BigInteger, nullable=False),
        sa.Column("head_hash", sa.Text, nullable=False),
    )
    op.create_table(
        "trial_owners",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("process_start", sa.BigInteger, nullable=False),
        sa.Column("started_ns", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_ns", sa.BigInteger),
    )
    op.create_table(
        "trials",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False, unique=True),
        sa.Column("study", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("code_digest", sa.Text, nullable=False),
        sa.Column("data_digest", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("same", sa.Text, nullable=False),
        sa.Column("parent", sa.Text),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("begun_ns", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("folds", sa.Text, nullable=False),
        sa.Column("values", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("closed_ns", sa.BigInteger),
        sa.Column("duration_ns", sa.BigInteger),
        sa.Column("steps", sa.BigInteger, nullable=False),
        sa.Column("axis_digest", sa.Text, nullable=False),
        sa.Column("returns_digest", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.UniqueConstraint("lineage", "sequence"),
        sa.UniqueConstraint("lineage", "position"),
    )
    op.create_index("ix_trials_study", "trials", ["study"])
    op.create_index("ix_trials_lineage_study_same", "trials", ["lineage", "study", "same"])
    op.create_index("ix_trials_status_owner", "trials", ["status", "owner"])
    op.create_table(
        "trial_axes",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("steps", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "trial_returns",
        sa.Column("trial", sa.Text, primary_key=True),
        sa.Column("axis", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("trial_returns", "trial_axes", "trials", "trial_owners", "trial_lineages"):
        op.drop_table(table)
