"""Execution plans, risk events, quote refusals and reconciliations; more of what an order asked for."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0002"
down_revision = "ledger_0001"
branch_labels = None
depends_on = None

EXACT = sa.Numeric(30, 10).with_variant(sa.String(48), "sqlite")
# Of orders that were projected before, these stay empty until `tidegate ledger rebuild`.
ORDER_COLUMNS = (
    ("take_profit_price", EXACT),
    ("trailing_stop_distance", EXACT),
    ("time_in_force", sa.String(10)),
    ("price", EXACT),
    ("price_bound", EXACT),
    ("good_till_ns", sa.BigInteger()),
    ("reduce_only", sa.Boolean()),
    ("replaces", sa.String(160)),
)


def upgrade() -> None:
    """Create the tables; changes of the risk state move from the incidents to their own."""
    for name, kind in ORDER_COLUMNS:
        op.add_column("ledger_orders", sa.Column(name, kind, nullable=True))
    op.create_table(
        "ledger_execution_plans",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("plan_id", sa.String(160), primary_key=True),
        sa.Column("decision_id", sa.String(160), nullable=False),
        sa.Column("instrument", sa.String(20), nullable=False),
        sa.Column("algorithm", sa.String(30), nullable=False),
        sa.Column("units", EXACT, nullable=False),
        sa.Column("slices", sa.Integer(), nullable=False),
        sa.Column("children", sa.Integer(), nullable=False),
        sa.Column("executed_units", EXACT, nullable=False),
        sa.Column("average_price", EXACT, nullable=True),
        sa.Column("arrival_mid", EXACT, nullable=True),
        sa.Column("expected_cost_pips", sa.Double(), nullable=True),
        sa.Column("price_limit", EXACT, nullable=True),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("ended_ns", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(20), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
    )
    op.create_index("ix_ledger_execution_plans_decision_id", "ledger_execution_plans", ["decision_id"])
    risk_events = op.create_table(
        "ledger_risk_events",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.String(120), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
    )
    op.create_table(
        "ledger_quote_refusals",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("instrument", sa.String(80), primary_key=True),
        sa.Column("reason", sa.String(40), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_ns", sa.BigInteger(), nullable=False),
        sa.Column("last_words", sa.Text(), nullable=False),
    )
    op.create_table(
        "ledger_reconciliations",
        sa.Column("session_id", sa.String(120), primary_key=True),
        sa.Column("sequence", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("scope", sa.String(30), nullable=False),
        sa.Column("differences", sa.Integer(), nullable=False),
    )
    incidents = sa.table(
        "ledger_incidents",
        *(sa.column(name) for name in ("session_id", "sequence", "time_ns", "kind", "reason", "subject", "words")),
    )
    moved = incidents.c.kind == "risk_state"
    # Who set it was not projected; a person's settings carry the reason LIFTED.
    set_by = sa.case((incidents.c.reason == "LIFTED", "hand"), else_="trader")
    columns = incidents.c
    op.execute(
        risk_events.insert().from_select(
            ["session_id", "sequence", "time_ns", "kind", "state", "reason", "set_by", "words"],
            sa.select(
                columns.session_id,
                columns.sequence,
                columns.time_ns,
                columns.kind,
                columns.subject,
                columns.reason,
                set_by,
                columns.words,
            ).where(moved),
        )
    )
    op.execute(incidents.delete().where(moved))


def downgrade() -> None:
    """Drop them; changes of the risk state go back to the incidents, the kill switch stays in the journal alone."""
    op.execute(
        "INSERT INTO ledger_incidents (session_id, sequence, time_ns, kind, reason, subject, words) "
        "SELECT session_id, sequence, time_ns, kind, reason, state, words FROM ledger_risk_events "
        "WHERE kind = 'risk_state'"
    )
    for name in ("reconciliations", "quote_refusals", "risk_events", "execution_plans"):
        op.drop_table(f"ledger_{name}")
    with op.batch_alter_table("ledger_orders") as table:
        for name, _ in ORDER_COLUMNS:
            table.drop_column(name)
