"""Make a session's rows anew from its journal alone."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from core.errors import BadInputError, RefusedError
from core.journal import Follower, read_entries
from core.journal.lock import NAME as LOCK
from core.journal.lock import take_lock
from trading.ledger import tables
from trading.ledger.projector import Projector
from trading.ledger.rows import Projection

Progress = Callable[[int, int], None]
_BATCH = 2000


@contextmanager
def journal_at_rest(directory: Path) -> Generator[None]:
    """Hold a journal's writer lock, so that no trader writes or projects it meanwhile.

    Raises:
        BadInputError: there is no journal.
        RefusedError: its trader is running.
    """
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadInputError(f"no journal in {directory}: name an existing session") from None
    try:
        try:
            take_lock(lock)
        except BlockingIOError:
            raise RefusedError(f"the trader that writes {directory} is running: stop it first") from None
        yield
    finally:
        os.close(lock)


def check_journal(directory: Path, session_id: str) -> int:
    """Read a whole journal as a rebuild will; return its last entry.

    Raises:
        BadInputError: there is no journal.
        IntegrityError: it is broken, or its first entries are gone.
    """
    projection = Projection(session_id)
    last = 0
    for entry in read_entries(directory):
        last = entry.sequence
    follower = Follower(directory)  # reads as the projection will: from entry 1 on
    while follower.next_sequence <= last:
        for entry in follower.read(last, _BATCH):
            projection.fold(entry, None)
    return last


def rebuild(engine: sa.Engine, directory: Path, session_id: str, progress: Progress = lambda done, total: None) -> int:
    """Delete a session's rows and project its journal again; return how many entries that were.

    The journal is read to its end first: a damaged one costs no row. Interrupted, the rows are those of the journal's
    beginning up to the watermark, and the next projection goes on from there.

    Args:
        engine: of the ledger, migrated.
        directory: of the journal, whose trader does not run (``journal_at_rest``).
        session_id: names the rows.
        progress: called with (entries done, entries in all).

    Raises:
        BadInputError: there is no journal.
        IntegrityError: the journal is broken, or a trader projects it at the same time.
    """
    last = check_journal(directory, session_id)
    with engine.begin() as connection:
        for table in (*tables.PROJECTED, tables.watermarks):
            connection.execute(table.delete().where(table.c.session_id == session_id))
    projector = Projector(engine, directory, session_id)
    left = last
    while left > 0:
        left = projector.project(last, _BATCH)
        progress(last - left, last)
    return last
