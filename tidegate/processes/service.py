"""One service: what is started, how it proves that it is ready, how it ends."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core.embedded.guarded import GuardedProcess
from core.errors import BadInputError, ExitCode, UnavailableError
from tidegate.processes.readiness import Check


class Service(Protocol):
    """What the supervisor handles. ``url`` and ``process`` are known once ``start`` has returned."""

    @property
    def name(self) -> str: ...

    @property
    def depends_on(self) -> tuple[str, ...]: ...

    @property
    def url(self) -> str: ...

    @property
    def process(self) -> GuardedProcess | None: ...

    def start(self, log_folder: Path, held: Sequence[int]) -> None:
        """Start and return when the service answers.

        Raises:
            BadInputError: what it was given cannot be used (a port in use, a missing wheel).
            UnavailableError: it did not come up. Nothing of it is left then.
        """
        ...

    def stop(self) -> None:
        """End it and everything it started."""
        ...


@dataclass(frozen=True)
class Launch:
    """What to execute, decided at the moment of the start: ports and addresses of other services are known then."""

    command: Sequence[str]
    ready: Check
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    directory: Path | None = None


class CommandService:
    """A service that is a command.

    Args:
        name: its name in records, logs and messages.
        launch: called at each start; chooses ports and builds the command.
        depends_on: names of services that must be ready before.
        timeout_seconds: how long it may take to answer.
        grace_seconds: how long it may take to end before it is killed.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[], Launch],
        *,
        depends_on: Sequence[str] = (),
        timeout_seconds: float = 90.0,
        grace_seconds: float = 10.0,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.depends_on = tuple(depends_on)
        self.url = ""
        self.process: GuardedProcess | None = None
        self._launch = launch
        self._timeout_seconds = timeout_seconds
        self._grace_seconds = grace_seconds
        self._stop_signal = stop_signal

    def start(self, log_folder: Path, held: Sequence[int] = ()) -> None:
        """Start the command and wait for a real answer."""
        launch = self._launch()
        log_file = log_folder / f"{self.name}.log"
        begin = log_file.stat().st_size if log_file.exists() else 0
        self.process = GuardedProcess(
            launch.command,
            environment={**os.environ, **launch.environment},
            directory=launch.directory,
            log_file=log_file,
            stop_signal=self._stop_signal,
            grace_seconds=self._grace_seconds,
            held=held,
        )
        try:
            self.process.start()
            self._wait_ready(launch.ready, log_file, begin)
        except BaseException:
            self.stop()
            raise
        self.url = launch.url

    def stop(self) -> None:
        """End the command and everything it started."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def _wait_ready(self, ready: Check, log_file: Path, begin: int) -> None:
        assert self.process is not None
        deadline = time.monotonic() + self._timeout_seconds
        while not ready():
            code = self.process.poll()
            last = f"{last_line(log_file, begin)}; see {log_file}"
            if code is not None:
                kind = BadInputError if code == ExitCode.BAD_INPUT else UnavailableError
                raise kind(f"{self.name} ended with code {code}: {last}")
            if time.monotonic() > deadline:
                raise UnavailableError(f"{self.name} gave no answer in {self._timeout_seconds:.0f} s: {last}")
            time.sleep(0.05)


class Embedded(Protocol):
    """An embedded server of ``core.embedded``."""

    @property
    def url(self) -> str: ...

    @property
    def process(self) -> GuardedProcess | None: ...

    def start(self) -> object: ...

    def stop(self) -> None: ...


class EmbeddedService:
    """An embedded server under the supervisor: it waits for its own readiness."""

    depends_on: tuple[str, ...] = ()

    def __init__(self, name: str, server: Embedded) -> None:
        self.name = name
        self._server = server

    @property
    def url(self) -> str:
        """The server's SQLAlchemy or Redis URL."""
        return self._server.url

    @property
    def process(self) -> GuardedProcess | None:
        """The guarded server; None when another process owns it."""
        return self._server.process

    def start(self, log_folder: Path, held: Sequence[int] = ()) -> None:
        """Start or join the server; its own directory holds its log and lock."""
        self._server.start()
        if self._server.process is None:
            raise UnavailableError(
                f"{self.name} already runs for another process at {self._server.url}: wait for its end"
            )

    def stop(self) -> None:
        """End the server if this process started it."""
        self._server.stop()


def python(*arguments: str) -> list[str]:
    """A command that runs this interpreter."""
    return [sys.executable, *arguments]


def last_line(path: Path, begin: int) -> str:
    """The last line this start wrote: what a person would look for first."""
    try:
        with path.open("rb") as stream:
            stream.seek(begin)
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "it wrote no log"
    return lines[-1].strip()[:300] if lines else "it wrote no log"
