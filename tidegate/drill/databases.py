"""A seed's own ledger database: a copied SQLite file, or a database of the shared PostgreSQL server."""

import contextlib
import shutil
import sqlite3
from pathlib import Path

from tidegate.drill.plan import Database, SeedPlan
from tidegate.drill.sources import LedgerRows

TEMPLATE = "drill_template"


class SeedDatabase:
    """Made from a migrated template, taken away and given back while a trader runs.

    Args:
        plan: of the seed.
        folder: of the seed.
        template: an empty, migrated SQLite ledger.
        postgres: connection string of the server's maintenance database; empty puts every seed on SQLite.
    """

    def __init__(self, plan: SeedPlan, folder: Path, template: Path, postgres: str) -> None:
        self.kind = plan.database if postgres else Database.SQLITE
        self._session = f"drill-{plan.seed}"
        self._name = f"drill_seed_{plan.seed}"
        self._path = folder / "ledger.sqlite"
        self._template = template
        self._postgres = postgres
        self._taken: sqlite3.Connection | bool | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy URL for the trader."""
        if self.kind is Database.SQLITE:
            return f"sqlite:///{self._path}"
        return f"postgresql+psycopg://{self._word('user')}@/{self._name}?host={self._word('host')}"

    def create(self) -> None:
        """Make the database."""
        if self.kind is Database.SQLITE:
            shutil.copyfile(self._template, self._path)
            return
        self._make(self._name)

    def second(self) -> tuple[str, LedgerRows]:
        """Make an empty ledger of the same kind for a rebuild; return its SQLAlchemy URL and its rows to be."""
        if self.kind is Database.SQLITE:
            path = self._path.with_name("rebuilt.sqlite")
            shutil.copyfile(self._template, path)
            return f"sqlite:///{path}", LedgerRows(str(path), self._session)
        name = f"{self._name}_rebuilt"
        self._make(name)
        return self.url.replace(f"/{self._name}?", f"/{name}?"), self._server_rows(name)

    def _make(self, name: str) -> None:
        self._command(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._command(f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}')

    def _server_rows(self, name: str) -> LedgerRows:
        return LedgerRows(f"host={self._word('host')} user={self._word('user')} dbname={name}", self._session)

    def drop(self, keep: bool) -> None:
        """Remove a server's database unless a failure is to be looked at; a file goes with its folder."""
        self.give_back()
        if self.kind is Database.POSTGRES and not keep:
            for name in (self._name, f"{self._name}_rebuilt"):
                self._command(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def rows(self) -> LedgerRows:
        """Read the session's rows as they are now."""
        if self.kind is Database.SQLITE:
            return LedgerRows(str(self._path), self._session)
        return self._server_rows(self._name)

    def watermark(self) -> int:
        """The newest journal entry that is in the ledger."""
        found = self.rows().rows("ledger_watermarks")
        return int(found[0]["sequence"]) if found else 0

    def take_away(self) -> None:
        """Refuse every connection (PostgreSQL) or hold the file locked (SQLite)."""
        if self._taken is not None:
            return
        if self.kind is Database.POSTGRES:
            self._command(f'ALTER DATABASE "{self._name}" WITH ALLOW_CONNECTIONS false')
            self._command(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")
            self._taken = True
            return
        connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN EXCLUSIVE")
        self._taken = connection

    def give_back(self) -> None:
        """Let connections in again."""
        taken, self._taken = self._taken, None
        if isinstance(taken, sqlite3.Connection):
            taken.close()
        elif taken:
            self._command(f'ALTER DATABASE "{self._name}" WITH ALLOW_CONNECTIONS true')

    def _word(self, key: str) -> str:
        return dict(word.split("=", 1) for word in self._postgres.split())[key]

    def _command(self, text: str) -> None:
        import psycopg

        with psycopg.connect(self._postgres, autocommit=True) as connection:
            connection.execute(text.encode())
