"""The platform's database: one engine, one metadata object, Alembic migrations for PostgreSQL and SQLite."""

from core.database.engine import create_engine, metadata, migrate

__all__ = ["create_engine", "metadata", "migrate"]
