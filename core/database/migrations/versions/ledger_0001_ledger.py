"""Ledger tables and account leases."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None

# Money and units: NUMERIC on PostgreSQL, text on SQLite, whose NUMERIC is a float.
EXACT = sa.Numeric(30, 10).with_variant(sa.String(48), "sqlite")


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "ledger_sessions",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("strategy", sa.String(120), nullable=False),
        sa.Column("broker", sa.String(40), nullable=False),
        sa.Column("account_key", sa.String(120), nullable=False),
        sa.Column("config_digest", sa.String(64), nullable=False),
        sa.Column("instruments", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("start_balance", EXACT, nullable=False),
        sa.Column("opened_ns", sa.BigInteger(), nullable=False),
        sa.Column("closed_ns", sa.BigInteger(), nullable=True),
        sa.Column("close_reason", sa.String(200), nullable=True),
        sa.Column("starts", sa.Integer(), nullable=False),
    )
    op.create_table(
        "ledger_orders",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("client_order_id", sa.String(160), primary_key=True),
        sa.Column("broker_order_id", sa.String(80), nullable=False),
        sa.Column("decision_id", sa.String(160), nullable=False),
        sa.Column("instrument", sa.String(20), nullable=False),
        sa.Column("units", EXACT, nullable=False),
        sa.Column("order_type", sa.String(30), nullable=False),
        sa.Column("stop_loss_price", EXACT, nullable=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("filled_units", EXACT, nullable=False),
        sa.Column("reject_reason", sa.String(40), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "ledger_order_events",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("client_order_id", sa.String(160), nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=True),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
    )
    op.create_index("ix_ledger_order_events_client_order_id", "ledger_order_events", ["client_order_id"])
    op.create_table(
        "ledger_fills",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("transaction_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("client_order_id", sa.String(160), nullable=False),
        sa.Column("broker_order_id", sa.String(80), nullable=False),
        sa.Column("instrument", sa.String(20), nullable=False),
        sa.Column("units", EXACT, nullable=False),
        sa.Column("price", EXACT, nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("realised_profit", EXACT, nullable=False),
        sa.Column("commission", EXACT, nullable=False),
        sa.Column("half_spread_cost", EXACT, nullable=False),
        sa.Column("financing", EXACT, nullable=False),
        sa.Column("account_balance", EXACT, nullable=True),
        sa.Column("reason", sa.String(80), nullable=False),
    )
    op.create_index("ix_ledger_fills_client_order_id", "ledger_fills", ["client_order_id"])
    op.create_table(
        "ledger_positions",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("instrument", sa.String(20), primary_key=True),
        sa.Column("units", EXACT, nullable=False),
        sa.Column("average_price", EXACT, nullable=False),
        sa.Column("realised_quote", EXACT, nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "ledger_account_states",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("balance", EXACT, nullable=False),
        sa.Column("equity", EXACT, nullable=False),
        sa.Column("unrealised", EXACT, nullable=False),
        sa.Column("margin_used", EXACT, nullable=True),
    )
    op.create_table(
        "ledger_predictions",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("decision_id", sa.String(160), primary_key=True),
        sa.Column("instrument", sa.String(20), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("probability_short", sa.Double(), nullable=False),
        sa.Column("probability_flat", sa.Double(), nullable=False),
        sa.Column("probability_long", sa.Double(), nullable=False),
        sa.Column("model_name", sa.String(120), nullable=False),
        sa.Column("model_version", sa.String(40), nullable=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("arm", sa.String(20), nullable=False),
        sa.Column("policy_revision", sa.Integer(), nullable=False),
        sa.Column("answered_by", sa.String(20), nullable=False),
    )
    op.create_index("ix_ledger_predictions_model_digest", "ledger_predictions", ["model_digest"])
    op.create_table(
        "ledger_decisions",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("decision_id", sa.String(160), primary_key=True),
        sa.Column("instrument", sa.String(20), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("current_units", EXACT, nullable=False),
        sa.Column("target_fraction", sa.Double(), nullable=False),
        sa.Column("target_units", EXACT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("client_order_id", sa.String(160), nullable=True),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("mid", sa.Double(), nullable=False),
    )
    op.create_table(
        "ledger_incidents",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("reason", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(160), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
    )
    op.create_table(
        "ledger_watermarks",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "account_leases",
        sa.Column("account_key", sa.String(120), primary_key=True),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("session_id", sa.String(120), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("account_leases")
    op.drop_table("ledger_watermarks")
    op.drop_table("ledger_incidents")
    op.drop_table("ledger_decisions")
    op.drop_table("ledger_predictions")
    op.drop_table("ledger_account_states")
    op.drop_table("ledger_positions")
    op.drop_table("ledger_fills")
    op.drop_table("ledger_order_events")
    op.drop_table("ledger_orders")
    op.drop_table("ledger_sessions")
