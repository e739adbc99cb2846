"""A comparison of versions reads a session's decisions from a moment on: by time, not by all of its rows."""

from alembic import op

revision = "ledger_0004"
down_revision = "ledger_0003"
branch_labels = None
depends_on = None

TABLES = ("ledger_predictions", "ledger_alternatives", "ledger_scoring", "ledger_decisions")


def upgrade() -> None:
    """Create the indexes."""
    for table in TABLES:
        op.create_index(f"ix_{table}_time", table, ["session_id", "time_ns"])


def downgrade() -> None:
    """Drop them."""
    for table in reversed(TABLES):
        op.drop_index(f"ix_{table}_time", table_name=table)
