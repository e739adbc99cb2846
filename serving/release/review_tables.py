"""Tables beside the approval ledger: how far the registry's tags were read, and which versions wait for a review."""

import sqlalchemy as sa

from core.database import metadata

reviews_table = sa.Table(
    "approval_reviews",
    metadata,
    sa.Column("model_name", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("seen", sa.Text, nullable=False),  # the decision read last; empty: none is set
    sa.Column("count", sa.Integer, nullable=False),  # of decisions read, or the place of the last in the access log
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),  # what the tag approval_status shall say
    sa.Column("sequence", sa.Integer, nullable=False),  # of its record; 0: none
)
requests_table = sa.Table(
    "approval_requests",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("model_name", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("model_digest", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("requested_ns", sa.BigInteger, nullable=False),
    sa.Column("due_ns", sa.BigInteger, nullable=False),
    sa.Column("remind_ns", sa.BigInteger, nullable=False),  # between two reminders
    sa.Column("reminders", sa.Integer, nullable=False),  # said so far
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decided_sequence", sa.Integer, nullable=False),
    sa.Column("flow_run_id", sa.Text, nullable=False),  # of the suspended flow run that waits; empty: none does
    sa.Column("resumed", sa.Boolean, nullable=False),
)
sa.Index(
    "uq_approval_requests_waiting",
    requests_table.c.model_name,
    requests_table.c.version,
    unique=True,
    postgresql_where=requests_table.c.state == "waiting",
    sqlite_where=requests_table.c.state == "waiting",
)
alerts_table = sa.Table(
    "release_alerts",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("strategy", sa.Text, nullable=False),
    sa.Column("model_name", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, index=True),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.Text, nullable=False, unique=True),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
)
