"""The ledger beside the loop: a thread that projects and renews the lease, and outlives a dead database."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from core.clock import LiveClock
from core.database import create_engine, migrate
from core.errors import IntegrityError, RefusedError, TidegateError, UnavailableError
from core.journal import Journal
from core.logging import get_logger
from trading.ledger.lease import RENEW_SECONDS, Lease, acquire, release, renew
from trading.ledger.projector import Projector

_log = get_logger("trading")
POLL_SECONDS = 0.5  # each round of the database waits for the disk that the journal needs for the next order
HOLD_SECONDS = 1.0  # a round waits so long at most for a decision under way
_GLANCE_SECONDS = 0.002
RETRY_SECONDS = 1.0
CONNECT_SECONDS = 2  # a database that hangs holds up a restart for this long, and trading goes on without it


class LedgerThread:
    """Follows a journal off the tick path.

    Args:
        url: of the database.
        journal: whose durable entries are projected.
        directory: of that journal.
        session_id: names the rows.
        account_key: of the lease.
        holder: who takes the lease; the same holder may take it over from itself.
        changed: called in the thread with (available, words) when the database goes or comes back.
        lease_lost: called in the thread when another trader took the account.
        deciding: whether a decision is under way, which no round should begin beside.
    """

    def __init__(
        self,
        url: str,
        journal: Journal,
        directory: Path,
        session_id: str,
        account_key: str,
        holder: str,
        changed: Callable[[bool, str], None],
        lease_lost: Callable[[], None],
        deciding: Callable[[], bool] = lambda: False,
    ) -> None:
        self._engine = create_engine(url, connect_timeout_seconds=CONNECT_SECONDS)
        self._journal = journal
        self._directory = directory
        self._session_id = session_id
        self._account_key = account_key
        self._holder = holder
        self._changed = changed
        self._lease_lost = lease_lost
        self._deciding = deciding
        self._lease: Lease | None = None
        self._projector = Projector(self._engine, directory, session_id)
        self._stop = threading.Event()
        self._available = True
        self._migrated = False
        self._renewed = 0.0
        self._asked = 0.0  # since when the database has been asked; 0 between two rounds
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    @property
    def watermark(self) -> int:
        """The newest journal entry in the ledger."""
        return self._projector.watermark

    @property
    def available(self) -> bool:
        """Whether the database answered the last time."""
        return self._available

    @property
    def stalled_seconds(self) -> float:
        """How long the database has owed an answer: a frozen one gives neither an answer nor an error."""
        asked = self._asked
        return time.monotonic() - asked if asked else 0.0

    def take_lease(self, resuming: bool) -> int:
        """Migrate the database and take the account; return the fencing token.

        A resumed session goes on without a database (0): its journal's lock proves that its predecessor is gone, and
        the lease is taken when the database is back.

        Raises:
            RefusedError: another trader holds the account.
            UnavailableError: the database does not answer and this is a new session.
        """
        try:
            self._prepare()
        except (DBAPIError, UnavailableError) as error:
            if not resuming:
                raise UnavailableError(
                    f"database does not answer, so the account's lease cannot be taken: {_first_line(error)}"
                ) from error
            self._note(False, _first_line(error))
            return 0
        assert self._lease is not None
        return self._lease.token

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _prepare(self) -> None:
        if not self._migrated:
            migrate(self._engine)
            self._migrated = True
        if self._lease is None:
            self._lease = acquire(self._engine, self._account_key, self._holder, self._session_id, LiveClock())
            self._renewed = time.monotonic()

    def _run(self) -> None:
        while not self._stop.is_set():
            left = 0
            self._give_way()
            self._asked = time.monotonic()
            try:
                self._prepare()
                self._renew()
                left = self._projector.project(self._journal.durable_sequence)
                self._note(True, "")
            except RefusedError as error:
                _log.error("account taken by another trader", words=error.message)
                self._lease_lost()
                return
            except (DBAPIError, UnavailableError) as error:
                self._note(False, _first_line(error))
                self._stop.wait(RETRY_SECONDS)
                continue
            except TidegateError as error:
                self._note(False, error.message)
                _log.error("ledger stopped", words=error.message)
                if not isinstance(error, IntegrityError):
                    return
                self._stop.wait(RETRY_SECONDS)
            finally:
                self._asked = 0.0
            if not left:
                self._stop.wait(POLL_SECONDS)

    def _give_way(self) -> None:
        """Let a decision go first: its order waits for the same disk and the same interpreter."""
        until = time.monotonic() + HOLD_SECONDS
        while self._deciding() and time.monotonic() < until and not self._stop.is_set():
            self._stop.wait(_GLANCE_SECONDS)

    def _renew(self) -> None:
        if self._lease is not None and time.monotonic() - self._renewed >= RENEW_SECONDS:
            if not renew(self._engine, self._lease, LiveClock()):
                raise RefusedError(f"the lease of account {self._account_key} was taken by another trader")
            self._renewed = time.monotonic()

    def _note(self, available: bool, words: str) -> None:
        if available != self._available:
            self._available = available
            self._changed(available, words)

    def close(self, timeout_seconds: float = 20.0) -> bool:
        """Project what is left, give the lease back and stop; return whether the ledger holds the whole journal."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
            if self._thread.is_alive():
                # Frozen in a request: asking again here would freeze the trader's end too.
                _log.warning("database does not answer: the ledger catches up at the next start")
                return False
        complete = False
        try:
            deadline = time.monotonic() + timeout_seconds
            self._prepare()
            while time.monotonic() < deadline:
                if self._projector.project(self._journal.durable_sequence) == 0:
                    complete = True
                    break
            if self._lease is not None:
                release(self._engine, self._lease)
        except (DBAPIError, TidegateError) as error:
            _log.warning("ledger is behind the journal: it catches up at the next start", words=_first_line(error))
        self._engine.dispose()
        return complete


def _first_line(error: BaseException) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).strip().partition("\n")[0]
