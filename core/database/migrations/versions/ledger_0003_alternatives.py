"""What other versions said of a decision while a release is under way, and what sizing saw then."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0003"
down_revision = "ledger_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables; sessions of before have no rows in them."""
    op.create_table(
        "ledger_alternatives",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("decision_id", sa.String(160), primary_key=True),
        sa.Column("model_digest", sa.String(64), primary_key=True),
        sa.Column("instrument", sa.String(20), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("probability_short", sa.Double(), nullable=False),
        sa.Column("probability_flat", sa.Double(), nullable=False),
        sa.Column("probability_long", sa.Double(), nullable=False),
        sa.Column("model_name", sa.String(120), nullable=False),
        sa.Column("model_version", sa.String(40), nullable=False),
        sa.Column("arm", sa.String(20), nullable=False),
    )
    op.create_table(
        "ledger_scoring",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("decision_id", sa.String(160), primary_key=True),
        sa.Column("instrument", sa.String(20), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("equity", sa.Double(), nullable=False),
        sa.Column("volatility", sa.Double(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("base_rate", sa.Double(), nullable=False),
        sa.Column("quote_rate", sa.Double(), nullable=False),
        sa.Column("held", sa.Double(), nullable=False),
        sa.Column("exits_only", sa.Boolean(), nullable=False),
    )


def downgrade() -> None:
    """Drop them; the journal keeps what was in them."""
    op.drop_table("ledger_scoring")
    op.drop_table("ledger_alternatives")
