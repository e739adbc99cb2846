"""Tables of the trial ledger. Times are UTC nanoseconds; structured content is canonical JSON, to be hashed.

All columns of ``trials`` but ``hash`` itself go into the row's hash: they are integers and text only.
"""

import sqlalchemy as sa

from core.database import metadata

REVISION = "trials_0001"  # the head of the migration branch: a database that has it needs no migration

# One row per lineage: the counter that gives out sequence numbers, and the end of the chain of closed rows.
lineages = sa.Table(
    "trial_lineages",
    metadata,
    sa.Column("lineage", sa.Text, primary_key=True),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("closed", sa.BigInteger, nullable=False),
    sa.Column("head_hash", sa.Text, nullable=False),
)
# One row per process that began trials, by which the next one can tell whether it is gone.
owners = sa.Table(
    "trial_owners",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("boot_id", sa.Text, nullable=False),
    sa.Column("namespace", sa.Text, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("process_start", sa.BigInteger, nullable=False),  # clock ticks since boot; 0: unknown on this system
    sa.Column("started_ns", sa.BigInteger, nullable=False),
    sa.Column("heartbeat_ns", sa.BigInteger, nullable=False),  # by the database's clock where it has one
    sa.Column("ended_ns", sa.BigInteger),
)
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("lineage", sa.Text, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("token", sa.Text, nullable=False, unique=True),  # chosen by the writer: a repeated write is recognised
    sa.Column("study", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("code_digest", sa.Text, nullable=False),
    sa.Column("data_digest", sa.Text, nullable=False),
    sa.Column("number", sa.BigInteger),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("same", sa.Text, nullable=False),  # digest of what makes two rows attempts at the same trial
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
    sa.Column("steps", sa.BigInteger, nullable=False),  # of the return series; 0: none
    sa.Column("axis_digest", sa.Text, nullable=False),
    sa.Column("returns_digest", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger),  # in the chain of closed rows, from 1
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.UniqueConstraint("lineage", "sequence"),
    sa.UniqueConstraint("lineage", "position"),
    sa.Index("ix_trials_study", "study"),
    sa.Index("ix_trials_lineage_study_same", "lineage", "study", "same"),
    sa.Index("ix_trials_status_owner", "status", "owner"),
)
# Series lie apart: a list of trials reads none of them, and the time axis that trials share is stored once.
axes = sa.Table(
    "trial_axes",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("steps", sa.BigInteger, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
returns = sa.Table(
    "trial_returns",
    metadata,
    sa.Column("trial", sa.Text, primary_key=True),
    sa.Column("axis", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
