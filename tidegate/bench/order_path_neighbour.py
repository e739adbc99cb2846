"""A retraining beside the order path: what the trader's latencies do while models are fitted on the same machine.

``Neighbour`` is the owner's handle: it lets the training processes run and stops them in turn, so that both halves of
the comparison come from one session. ``python -m tidegate.bench.order_path_neighbour FOLDER PRIORITY`` is the training:
the work of the train stages (walk-forward fits of all three models, calibration, export) over and over.
"""

import asyncio
import contextlib
import itertools
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import psutil

from core.embedded.guarded import GuardedProcess
from core.errors import UnavailableError
from core.scheduling import Priority, take_priority

PHASE_SECONDS = 2.0
SETTLING_SECONDS = 0.25  # after each change of phase nothing is counted
_ROWS = 60_000
_FEATURES = 60
_MODELS = ("xgboost", "random_forest", "lstm")
_READY = "fitting"


class Neighbour:
    """The training processes. Use as a context manager; ``alternate`` runs as a task beside the session."""

    def __init__(self, folder: Path, priority: Priority) -> None:
        self._folder = folder
        self._process = GuardedProcess(
            [sys.executable, "-m", "tidegate.bench.order_path_neighbour", str(folder), priority],
            log_file=folder / "neighbour.log",
            grace_seconds=0.5,
        )
        self.fitting = False
        self._changed = 0.0

    def __enter__(self) -> Self:
        self._process.start()
        deadline = time.monotonic() + 120.0
        while not (self._folder / _READY).exists():
            if not self._process.running or time.monotonic() > deadline:
                self._process.stop()
                raise UnavailableError(f"the training beside did not start: {self._folder / 'neighbour.log'} says why")
            time.sleep(0.1)
        self._switch(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._switch(True)  # a stopped process would not hear that it is to end
        self._process.stop()

    @property
    def phase(self) -> str:
        """``fitting``, ``alone``, or empty just after a change."""
        if time.monotonic() - self._changed < SETTLING_SECONDS:
            return ""
        return "fitting" if self.fitting else "alone"

    async def alternate(self) -> None:
        """Let the training run and stop it in turn, until cancelled."""
        for fitting in itertools.cycle((True, False)):
            self._switch(fitting)
            await asyncio.sleep(PHASE_SECONDS)

    def _switch(self, fitting: bool) -> None:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self._process.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    if fitting:
                        process.resume()
                    else:
                        process.suspend()
        self.fitting, self._changed = fitting, time.monotonic()


def main(folder: Path, priority: Priority) -> None:
    """Fit until ended."""
    take_priority(priority)
    from tidegate.bench.retrain import make_matrix, parameters_of
    from tidegate.bench.retrain_process import ours
    from training.parameters import parse

    make_matrix(folder, _ROWS, _FEATURES)
    (folder / _READY).touch()
    for model in itertools.cycle(_MODELS):
        ours(folder, model, parse(parameters_of(model, _ROWS)), _FEATURES)


if __name__ == "__main__":
    main(Path(sys.argv[1]), cast(Priority, sys.argv[2]))
