"""Ledger tables. Times are UTC nanoseconds; money and units are exact on every database."""

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator, TypeEngine

from core.database import metadata


class ExactDecimal(TypeDecorator[Decimal]):
    """A ``Decimal`` as NUMERIC on PostgreSQL and as text on SQLite, whose NUMERIC is a float."""

    impl = sa.Numeric(30, 10)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(48))
        return dialect.type_descriptor(sa.Numeric(30, 10))

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return f"{value:f}"

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def _session_key() -> sa.Column[Any]:
    return sa.Column("session_id", sa.String(120), primary_key=True)


sessions = sa.Table(
    "ledger_sessions",
    metadata,
    _session_key(),
    sa.Column("strategy", sa.String(120), nullable=False),
    sa.Column("broker", sa.String(40), nullable=False),
    sa.Column("account_key", sa.String(120), nullable=False),
    sa.Column("config_digest", sa.String(64), nullable=False),
    sa.Column("instruments", sa.Text, nullable=False),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("start_balance", ExactDecimal, nullable=False),
    sa.Column("opened_ns", sa.BigInteger, nullable=False),
    sa.Column("closed_ns", sa.BigInteger),
    sa.Column("close_reason", sa.String(200)),
    sa.Column("starts", sa.Integer, nullable=False),
)

orders = sa.Table(
    "ledger_orders",
    metadata,
    _session_key(),
    sa.Column("client_order_id", sa.String(160), primary_key=True),
    sa.Column("broker_order_id", sa.String(80), nullable=False),
    sa.Column("decision_id", sa.String(160), nullable=False),
    sa.Column("instrument", sa.String(20), nullable=False),
    sa.Column("units", ExactDecimal, nullable=False),
    sa.Column("order_type", sa.String(30), nullable=False),
    sa.Column("stop_loss_price", ExactDecimal),
    sa.Column("take_profit_price", ExactDecimal),
    sa.Column("trailing_stop_distance", ExactDecimal),
    sa.Column("time_in_force", sa.String(10)),  # of our own orders; so are the next four
    sa.Column("price", ExactDecimal),
    sa.Column("price_bound", ExactDecimal),
    sa.Column("good_till_ns", sa.BigInteger),
    sa.Column("reduce_only", sa.Boolean),
    sa.Column("replaces", sa.String(160)),  # client id of the order it was to take the place of
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("filled_units", ExactDecimal, nullable=False),
    sa.Column("reject_reason", sa.String(40)),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("updated_ns", sa.BigInteger, nullable=False),
)

order_events = sa.Table(
    "ledger_order_events",
    metadata,
    _session_key(),
    sa.Column("sequence", sa.BigInteger, primary_key=True),  # of the journal entry
    sa.Column("client_order_id", sa.String(160), nullable=False, index=True),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("transaction_id", sa.BigInteger),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("source", sa.String(20), nullable=False),
    sa.Column("words", sa.Text, nullable=False),
)

fills = sa.Table(
    "ledger_fills",
    metadata,
    _session_key(),
    sa.Column("transaction_id", sa.BigInteger, primary_key=True),
    sa.Column("client_order_id", sa.String(160), nullable=False, index=True),
    sa.Column("broker_order_id", sa.String(80), nullable=False),
    sa.Column("instrument", sa.String(20), nullable=False),
    sa.Column("units", ExactDecimal, nullable=False),
    sa.Column("price", ExactDecimal, nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("realised_profit", ExactDecimal, nullable=False),
    sa.Column("commission", ExactDecimal, nullable=False),
    sa.Column("half_spread_cost", ExactDecimal, nullable=False),
    sa.Column("financing", ExactDecimal, nullable=False),
    sa.Column("account_balance", ExactDecimal),
    sa.Column("reason", sa.String(80), nullable=False),
)

positions = sa.Table(
    "ledger_positions",
    metadata,
    _session_key(),
    sa.Column("instrument", sa.String(20), primary_key=True),
    sa.Column("units", ExactDecimal, nullable=False),
    sa.Column("average_price", ExactDecimal, nullable=False),
    sa.Column("realised_quote", ExactDecimal, nullable=False),  # quote currency
    sa.Column("updated_ns", sa.BigInteger, nullable=False),
)

account_states = sa.Table(
    "ledger_account_states",
    metadata,
    _session_key(),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("source", sa.String(20), nullable=False),  # broker: as stated; marked: at the standing quotes
    sa.Column("balance", ExactDecimal, nullable=False),
    sa.Column("equity", ExactDecimal, nullable=False),
    sa.Column("unrealised", ExactDecimal, nullable=False),
    sa.Column("margin_used", ExactDecimal),
)

predictions = sa.Table(
    "ledger_predictions",
    metadata,
    _session_key(),
    sa.Column("decision_id", sa.String(160), primary_key=True),
    sa.Column("instrument", sa.String(20), nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("probability_short", sa.Double, nullable=False),
    sa.Column("probability_flat", sa.Double, nullable=False),
    sa.Column("probability_long", sa.Double, nullable=False),
    sa.Column("model_name", sa.String(120), nullable=False),
    sa.Column("model_version", sa.String(40), nullable=False),
    sa.Column("model_digest", sa.String(64), nullable=False, index=True),
    sa.Column("arm", sa.String(20), nullable=False),
    sa.Column("policy_revision", sa.Integer, nullable=False),
    sa.Column("answered_by", sa.String(20), nullable=False),
    sa.Column("strategy", sa.Text),  # parameters the version brought along, JSON; empty: the session's, or a blend's
)

# What other versions said of a decision; there are rows only while a release is under way.
alternatives = sa.Table(
    "ledger_alternatives",
    metadata,
    _session_key(),
    sa.Column("decision_id", sa.String(160), primary_key=True),
    sa.Column("model_digest", sa.String(64), primary_key=True),
    sa.Column("instrument", sa.String(20), nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("probability_short", sa.Double, nullable=False),
    sa.Column("probability_flat", sa.Double, nullable=False),
    sa.Column("probability_long", sa.Double, nullable=False),
    sa.Column("model_name", sa.String(120), nullable=False),
    sa.Column("model_version", sa.String(40), nullable=False),
    sa.Column("arm", sa.String(20), nullable=False),
    sa.Column("strategy", sa.Text),
)

# What sizing saw at the decisions of a step with alternatives (``trading.records.ScoringInput``).
scoring = sa.Table(
    "ledger_scoring",
    metadata,
    _session_key(),
    sa.Column("decision_id", sa.String(160), primary_key=True),
    sa.Column("instrument", sa.String(20), nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("equity", sa.Double, nullable=False),
    sa.Column("volatility", sa.Double),  # empty: not known
    sa.Column("cost", sa.Double, nullable=False),
    sa.Column("base_rate", sa.Double, nullable=False),
    sa.Column("quote_rate", sa.Double, nullable=False),
    sa.Column("held", sa.Double, nullable=False),
    sa.Column("exits_only", sa.Boolean, nullable=False),
)

decisions = sa.Table(
    "ledger_decisions",
    metadata,
    _session_key(),
    sa.Column("decision_id", sa.String(160), primary_key=True),
    sa.Column("instrument", sa.String(20), nullable=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("current_units", ExactDecimal, nullable=False),
    sa.Column("target_fraction", sa.Double, nullable=False),
    sa.Column("target_units", ExactDecimal, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("client_order_id", sa.String(160)),
    sa.Column("model_digest", sa.String(64), nullable=False),
    sa.Column("mid", sa.Double, nullable=False),
)

# A comparison of versions reads a session from a moment on.
for _table in (predictions, alternatives, scoring, decisions):
    sa.Index(f"ix_{_table.name}_time", _table.c.session_id, _table.c.time_ns)

incidents = sa.Table(
    "ledger_incidents",
    metadata,
    _session_key(),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),  # blocked, difference, degraded, account
    sa.Column("reason", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(160), nullable=False),
    sa.Column("words", sa.Text, nullable=False),
)

execution_plans = sa.Table(
    "ledger_execution_plans",
    metadata,
    _session_key(),
    sa.Column("plan_id", sa.String(160), primary_key=True),
    sa.Column("decision_id", sa.String(160), nullable=False, index=True),
    sa.Column("instrument", sa.String(20), nullable=False),
    sa.Column("algorithm", sa.String(30), nullable=False),
    sa.Column("units", ExactDecimal, nullable=False),
    sa.Column("slices", sa.Integer, nullable=False),
    sa.Column("children", sa.Integer, nullable=False),
    sa.Column("executed_units", ExactDecimal, nullable=False),  # fills after the plan's end included
    sa.Column("average_price", ExactDecimal),
    sa.Column("arrival_mid", ExactDecimal),
    sa.Column("expected_cost_pips", sa.Double),
    sa.Column("price_limit", ExactDecimal),
    sa.Column("start_ns", sa.BigInteger, nullable=False),
    sa.Column("end_ns", sa.BigInteger, nullable=False),  # the time limit
    sa.Column("ended_ns", sa.BigInteger),
    sa.Column("outcome", sa.String(20)),
    sa.Column("words", sa.Text, nullable=False),
)

risk_events = sa.Table(
    "ledger_risk_events",
    metadata,
    _session_key(),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),  # risk_state, kill_switch
    sa.Column("state", sa.String(20), nullable=False),  # ACTIVE, REDUCING, HALTED; ON, ON_FLATTEN, OFF
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("set_by", sa.String(120), nullable=False),
    sa.Column("words", sa.Text, nullable=False),
)

quote_refusals = sa.Table(
    "ledger_quote_refusals",
    metadata,
    _session_key(),
    sa.Column("instrument", sa.String(80), primary_key=True),
    sa.Column("reason", sa.String(40), primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_ns", sa.BigInteger, nullable=False),
    sa.Column("last_ns", sa.BigInteger, nullable=False),
    sa.Column("last_words", sa.Text, nullable=False),
)

reconciliations = sa.Table(
    "ledger_reconciliations",
    metadata,
    _session_key(),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("scope", sa.String(30), nullable=False),
    sa.Column("differences", sa.Integer, nullable=False),
)

watermarks = sa.Table(
    "ledger_watermarks",
    metadata,
    _session_key(),
    sa.Column("sequence", sa.BigInteger, nullable=False),  # everything up to this journal entry is in the tables
)

leases = sa.Table(
    "account_leases",
    metadata,
    sa.Column("account_key", sa.String(120), primary_key=True),
    sa.Column("holder", sa.String(200), nullable=False),
    sa.Column("session_id", sa.String(120), nullable=False),
    sa.Column("fencing_token", sa.BigInteger, nullable=False),
    sa.Column("expires_ns", sa.BigInteger, nullable=False),  # machine time of the holder
)

# What one session owns, without the watermark.
PROJECTED = (
    sessions,
    orders,
    order_events,
    fills,
    positions,
    account_states,
    predictions,
    alternatives,
    scoring,
    decisions,
    incidents,
    execution_plans,
    risk_events,
    quote_refusals,
    reconciliations,
)
