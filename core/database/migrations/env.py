"""Alembic environment: runs on the connection handed over by ``core.database.engine.migrate``."""

from alembic import context

from core.database.engine import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
