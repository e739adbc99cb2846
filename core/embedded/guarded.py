"""A command run under the guardian: the owner's handle of it."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from core.embedded import guardian
from core.errors import UnavailableError

_GUARDIAN = Path(guardian.__file__)


class GuardedProcess:
    """One command that ends when told, and with its owner, whatever happens to the owner.

    Args:
        command: program and arguments.
        environment: the whole environment of the command; None takes this process's.
        directory: where the command runs; None is here.
        log_file: where its stdout and stderr are appended; None passes them to ``output``.
        output: file descriptor for its stdout and stderr; None is this process's stderr.
        stop_signal: what asks the command to end.
        grace_seconds: how long it may take to end before it is killed.
        uid_gid: run as this user; only root can ask for it.
        held: descriptors of ``DirectoryLock`` files, which the guardian keeps locked as long as it lives.
        inherited: file descriptors the command itself gets, under the same numbers.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        log_file: Path | None = None,
        output: int | None = None,
        stop_signal: int = signal.SIGTERM,
        grace_seconds: float = 10.0,
        uid_gid: tuple[int, int] | None = None,
        held: Sequence[int] = (),
        inherited: Sequence[int] = (),
    ) -> None:
        self.command = list(command)
        self.log_file = log_file
        self.token = uuid.uuid4().hex
        self._environment = dict(os.environ if environment is None else environment) | {guardian.TOKEN: self.token}
        self._directory = directory
        self._stop_signal = int(stop_signal)
        self._grace_seconds = grace_seconds
        self._uid_gid = uid_gid
        self._held = tuple(held)
        self._inherited = tuple(inherited)
        self._output = output
        self._guardian: subprocess.Popen[bytes] | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def guardian_pid(self) -> int:
        """The guardian's process id; 0 before the start."""
        return self._guardian.pid if self._guardian else 0

    @property
    def pid(self) -> int:
        """The command's process id; 0 before the start."""
        return self._identity[0] if self._identity else 0

    @property
    def identity(self) -> tuple[int, int]:
        """Process id and start time (clock ticks since boot) of the command, which name it for ever."""
        return self._identity or (0, 0)

    def start(self) -> Self:
        """Start the command.

        Raises:
            UnavailableError: the guardian did not start.
        """
        report_read, report_write = os.pipe()
        specification = {
            "command": self.command,
            "directory": str(self._directory) if self._directory else None,
            "stop_signal": self._stop_signal,
            "grace_seconds": self._grace_seconds,
            "report": report_write,
            "held": list(self._held),
            "inherited": list(self._inherited),
            "uid": self._uid_gid[0] if self._uid_gid else None,
            "gid": self._uid_gid[1] if self._uid_gid else None,
        }
        if self.log_file is not None:
            output = self._open_log(self.log_file)
        else:
            output = sys.stderr.fileno() if self._output is None else self._output
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARDIAN), json.dumps(specification)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,  # Ctrl-C in a terminal reaches the owner alone, which then stops in order
                pass_fds=(report_write, *self._held, *self._inherited),
            )
        except OSError as error:
            raise UnavailableError(f"cannot start {self.command[0]}: {error}") from error
        finally:
            os.close(report_write)
            if self.log_file is not None:
                os.close(output)
        with os.fdopen(report_read) as report:
            line = report.readline().split()
        if len(line) != 2:
            raise UnavailableError(f"cannot start {self.command[0]}: its guardian ended; see {self.log_file}")
        self._identity = (int(line[0]), int(line[1]))
        return self

    @staticmethod
    def _open_log(path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def poll(self) -> int | None:
        """The command's exit code, None while it runs; 128 + n when signal n ended it."""
        return None if self._guardian is None else self._guardian.poll()

    @property
    def running(self) -> bool:
        """Whether the command and its guardian live."""
        return self._guardian is not None and self._guardian.poll() is None

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for the command to end by itself and return its exit code.

        Raises:
            TimeoutError: it did not end in time; it goes on.
        """
        assert self._guardian is not None
        try:
            return self._guardian.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.command[0]} still runs after {timeout_seconds} s") from None

    def stop(self) -> None:
        """End the command and all it started; return when nothing is left. Does nothing when it already ended."""
        if self._guardian is None:
            return
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            self._guardian.stdin.close()  # the guardian takes this as the order to end everything
        try:
            self._guardian.wait(self._grace_seconds + 15.0)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        end_marked(self.token, grace_seconds=2.0, also=[self.identity])

    def release(self) -> None:
        """Let the command live on without this process: only its own end or SIGTERM to its guardian end it then.

        Raises:
            UnavailableError: the command has ended.
        """
        assert self._guardian is not None and self._guardian.stdin is not None
        try:
            self._guardian.stdin.write(guardian.KEEP)
            self._guardian.stdin.flush()
        except OSError as error:
            raise UnavailableError(f"{self.command[0]} ended before it could be left running") from error

    def __enter__(self) -> Self:
        return self if self._guardian is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def end_marked(token: str, grace_seconds: float = 5.0, also: Sequence[tuple[int, int]] = ()) -> list[int]:
    """End every process that carries ``token`` and those in ``also`` (pid, start time); return the pids signalled.

    This is the second net, for when a guardian was killed. A foreign process is never touched: it carries no such
    token, and a reused pid has another start time.
    """

    def alive() -> dict[int, int]:
        found = {pid: start for pid, start in also if pid and guardian.process_start(pid) == start}
        for pid in guardian.marked(token) if token else []:
            if (start := guardian.process_start(pid)) is not None:
                found[pid] = start
        return found

    signalled: set[int] = set()
    deadline = time.monotonic() + grace_seconds
    number = signal.SIGTERM
    while left := alive():
        if number == signal.SIGTERM and time.monotonic() >= deadline:
            number = signal.SIGKILL
        for pid, start in left.items():
            if number == signal.SIGKILL or pid not in signalled:
                guardian.send(pid, number, start)
                signalled.add(pid)
        if time.monotonic() > deadline + 10.0:  # not killable: a process stuck in the kernel
            break
        time.sleep(0.05)
    return sorted(signalled)
