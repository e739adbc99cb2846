"""The strategy parameters that a version brought along, beside what it said."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0005"
down_revision = "ledger_0004"
branch_labels = None
depends_on = None

TABLES = ("ledger_predictions", "ledger_alternatives")


def upgrade() -> None:
    """Add the column; versions of before brought none."""
    for table in TABLES:
        op.add_column(table, sa.Column("strategy", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop it; the journal keeps what was in it."""
    for name in TABLES:
        with op.batch_alter_table(name) as table:
            table.drop_column("strategy")
