"""Write a journal into the ledger, each entry exactly once: rows and watermark move in one transaction."""

from pathlib import Path

import sqlalchemy as sa

from core.crash_points import reach
from core.errors import IntegrityError
from core.journal import Follower
from trading.ledger import tables
from trading.ledger.rows import Batch, Projection


class Projector:
    """Projects one session.

    A second projector of a session is harmless: the one whose watermark moved under it writes nothing and says so.
    """

    def __init__(self, engine: sa.Engine, directory: Path, session_id: str) -> None:
        self._engine = engine
        self._directory = directory
        self._session_id = session_id
        self._newest = 0
        self._start_over()

    def _start_over(self) -> None:
        self._follower = Follower(self._directory)
        self._projection = Projection(self._session_id)
        self._watermark: int | None = None

    @property
    def watermark(self) -> int:
        """The newest entry known to be in the ledger."""
        return self._newest

    def project(self, last: int, limit: int = 2000) -> int:
        """Bring up to ``limit`` entries into the ledger, none beyond ``last``; return how many there are left.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is away; calling again later goes on where this one stopped.
            IntegrityError: another projector moved the watermark, or the journal is broken.
        """
        if self._watermark is None:
            self._watermark = self._newest = self._read_watermark()
            while self._follower.next_sequence <= min(self._watermark, last):
                for entry in self._follower.read(min(self._watermark, last), limit):
                    self._projection.fold(entry, None)
        entries = self._follower.read(last, limit)
        if not entries:
            return max(last - self._watermark, 0)
        batch = Batch(self._session_id)
        try:
            for entry in entries:
                self._projection.fold(entry, batch)
            self._write(batch, self._watermark, entries[-1].sequence)
        except BaseException:
            self._start_over()  # the fold is ahead of the tables: begin again from what they hold
            raise
        self._watermark = self._newest = entries[-1].sequence
        return max(last - self._watermark, 0)

    def _read_watermark(self) -> int:
        query = sa.select(tables.watermarks.c.sequence).where(tables.watermarks.c.session_id == self._session_id)
        with self._engine.begin() as connection:
            found = connection.execute(query).scalar_one_or_none()
            if found is None:
                connection.execute(tables.watermarks.insert().values(session_id=self._session_id, sequence=0))
        return int(found or 0)

    def _write(self, batch: Batch, before: int, after: int) -> None:
        with self._engine.begin() as connection:
            moved = connection.execute(
                tables.watermarks.update()
                .where(tables.watermarks.c.session_id == self._session_id, tables.watermarks.c.sequence == before)
                .values(sequence=after)
            )
            if moved.rowcount != 1:
                raise IntegrityError(f"ledger of session {self._session_id} was moved on by another process")
            for table in tables.PROJECTED:
                rows = batch.rows[table.name]
                if not rows:
                    continue
                key = list(table.primary_key)
                names = [f"key_{column.name}" for column in key]
                condition = sa.and_(*(column == sa.bindparam(name) for column, name in zip(key, names, strict=True)))
                connection.execute(
                    table.delete().where(condition), [dict(zip(names, values, strict=True)) for values in rows]
                )
                connection.execute(table.insert(), list(rows.values()))
            reach("ledger.before_commit")
        reach("ledger.committed")
