"""Workers as processes of this machine, spawned: a forked child of a process with loaded OpenMP may hang."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any

from core.errors import TidegateError
from training.search.hyperparameters.worker import Broken, Job, Reply, Worker

_STOP = "stop"


class ProcessHandle:
    """One spawned worker."""

    def __init__(self, process: SpawnProcess, pipe: Any) -> None:
        self.process = process
        self.pipe = pipe

    @property
    def name(self) -> str:
        """The process id."""
        return f"process {self.process.pid}"

    def send(self, order: str, argument: Any = None) -> None:
        """Give an order. To a dead worker it is given in vain, and ``receive`` says so."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send((order, argument))

    def receive(self) -> Reply | None:
        """Return the reply, or None where the process is dead."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return None

    def end(self) -> None:
        """Kill the process: a fit inside a library listens to nothing gentler. Its trial becomes a lost one."""
        self.process.kill()
        self.process.join()  # reaped, so that the ledger sees that it is gone
        self.pipe.close()

    def dismiss(self, seconds: float = 5.0) -> None:
        """Let an idle worker end by itself."""
        self.send(_STOP)
        self.process.join(seconds)
        self.end()


class ProcessPool:
    """Spawns workers that end with this process, however it ends."""

    def __init__(self, job: Job) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._job = job

    def start(self) -> ProcessHandle:
        """Start one worker."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs, self._job), name="search worker", daemon=True)
        process.start()
        theirs.close()  # or its death would not show as the end of the pipe
        return ProcessHandle(process, ours)

    def ready(self, handles: Sequence[ProcessHandle], seconds: float) -> list[ProcessHandle]:
        """Return the workers that replied or died."""
        found = connection.wait([handle.pipe for handle in handles], seconds)
        return [handle for handle in handles if handle.pipe in found]

    def close(self) -> None:
        """Nothing is held beside the workers."""


def serve(pipe: Any, job: Job) -> None:
    """Answer orders until the coordinator lets go. The body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the coordinator decides
    _end_with_parent()
    try:
        worker = Worker(job)
    except TidegateError as error:
        pipe.send(Broken(error.message))
        return
    try:
        while True:
            order, argument = pipe.recv()
            if order == _STOP:
                return
            method = getattr(worker, order)
            pipe.send(method() if argument is None else method(argument))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    finally:
        worker.close()


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, also in the middle of a fit: nobody would take its result."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watches the coordinator", daemon=True).start()
