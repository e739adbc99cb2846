"""The owner's side of the DVC pipeline: stages of one workspace, run one after the other, their output line by line."""

import json
import os
import re
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from core.embedded.guarded import GuardedProcess
from core.errors import BadInputError, ExitCode, RefusedError, TidegateError, UnavailableError, UsageError
from core.params import read_params
from flows.pipeline_worker import END_OF_STAGE

_ERRORS: Mapping[int, type[TidegateError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.REFUSED: RefusedError,
    ExitCode.UNAVAILABLE: UnavailableError,
    ExitCode.BAD_INPUT: BadInputError,
}


@dataclass(frozen=True)
class StageResult:
    """What became of a stage. ``ran`` is false when nothing it depends on changed."""

    stage: str
    ran: bool
    seconds: float


def error_of(exit_code: int, message: str) -> TidegateError:
    """Return the error that a process with this exit code stands for."""
    return _ERRORS.get(exit_code, TidegateError)(message)


def workspace_folder(workspace: str) -> Path:
    """Return the absolute path of a workspace given by a flow's parameter.

    Raises:
        BadInputError: it is no workspace.
    """
    folder = Path(workspace).expanduser().absolute()
    if not (folder / ".dvc").is_dir() or not (folder / "dvc.yaml").is_file():
        raise BadInputError(f"{folder} is no workspace: it has no dvc.yaml and .dvc")
    return folder


def stage_names(workspace: Path) -> list[str]:
    """Return the stages of a workspace's ``dvc.yaml`` in their written order, ``train@…`` written out.

    The order is one in which each stage comes after those it depends on; a test holds us to it. ``foreach`` is a list,
    or ``${section.key}`` of a list in ``params.yaml``.

    Raises:
        BadInputError: ``params.yaml`` has no such list.
    """
    names: list[str] = []
    for name, stage in read_params(workspace / "dvc.yaml")["stages"].items():
        names += [f"{name}@{item}" for item in _items(workspace, stage["foreach"])] if "foreach" in stage else [name]
    return names


def _items(workspace: Path, foreach: list[str] | str) -> list[str]:
    if not isinstance(foreach, str):
        return foreach
    key = foreach.removeprefix("${").removesuffix("}")
    value: Any = read_params(workspace / "params.yaml")
    for part in key.split("."):
        value = cast(dict[str, Any], value).get(part) if isinstance(value, dict) else None
    if not isinstance(value, list) or not value:
        raise BadInputError(f"{workspace / 'params.yaml'}: {key} is to be a list of names and is {value!r}")
    return [str(item) for item in cast(list[Any], value)]


class Pipeline:
    """A worker process for the stages of one workspace. Use as a context manager.

    Args:
        workspace: folder with ``dvc.yaml`` and ``params.yaml``.
        on_line: called with each line a stage writes.
        environment: variables for the stages, beside those of this process.
    """

    def __init__(
        self,
        workspace: Path,
        on_line: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.workspace = workspace.absolute()
        self._on_line = on_line
        self._environment = {**os.environ, **(environment or {}), "SHELL": "/bin/sh", "PYTHONUNBUFFERED": "1"}
        self._process: GuardedProcess | None = None
        self._stream: IO[str] | None = None
        self._reader: threading.Thread | None = None
        self._tail: deque[str] = deque(maxlen=50)
        self._lock = threading.Lock()
        self._drained = threading.Event()

    @property
    def process(self) -> GuardedProcess | None:
        """The worker while it runs."""
        return self._process

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        read, write = os.pipe()
        try:
            self._process = GuardedProcess(
                [sys.executable, "-m", "flows.pipeline_worker", str(theirs.fileno())],
                environment=self._environment,
                directory=self.workspace,
                output=write,
                inherited=(theirs.fileno(),),
                grace_seconds=5.0,
            ).start()
        finally:
            theirs.close()
            os.close(write)
        self._stream = ours.makefile("rw")
        ours.close()
        self._reader = threading.Thread(target=self._read, args=(read,), name="pipeline output", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._reader is not None:
            self._reader.join(timeout=5.0)
        if self._stream is not None:
            self._stream.close()

    def run(self, stage: str, force: bool = False) -> StageResult:
        """Run one stage if anything it depends on changed; blocks until it ended.

        Raises:
            TidegateError: the stage failed; the class follows its exit code, the message is its last word.
        """
        assert self._stream is not None
        with self._lock:
            self._tail.clear()
            try:
                self._drained.clear()
                self._stream.write(json.dumps({"stage": stage, "force": force}) + "\n")
                self._stream.flush()
                line = self._stream.readline()
            except OSError:
                line = ""
            self._drained.wait(5.0)
        if not line:
            raise UnavailableError(f"the pipeline worker ended while it ran {stage}: {self._last_word(stage)}")
        answer = json.loads(line)
        if answer["error"]:
            raise error_of(answer["exit_code"], self._last_word(stage) or answer["error"])
        return StageResult(stage, bool(answer["ran"]), float(answer["seconds"]))

    def _last_word(self, stage: str) -> str:
        """The line in which a stage says why it failed, without its prefix; else its last line."""
        lines = list(self._tail)
        for line in reversed(lines):
            if match := re.match(r"tidegate [\w .@-]+: (.*)", line):
                return f"{stage}: {match.group(1)}"
        return f"{stage}: {lines[-1]}" if lines else ""

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, errors="replace") as lines:
            for line in lines:
                text = line.rstrip()
                if text == END_OF_STAGE:
                    self._drained.set()
                elif text:
                    self._tail.append(text)
                    self._on_line(text)
        self._drained.set()
