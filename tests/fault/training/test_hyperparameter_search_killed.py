"""A search that is killed again and again – as a whole, by its worker, by its database – counts every trial once."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "integration" / "training"))
from synthetic_market import make_workspace

from core.embedded.postgres import EmbeddedPostgres
from training.search.hyperparameters.rows import Rows
from training.search.hyperparameters.storage import open_storage
from training.search.hyperparameters.study import LOST, RETRY_OF
from training.trials import Status, TrialLedger

pytestmark = pytest.mark.heavy
STUDY, LINEAGE = "killed", "synthetic-made"
SPACE = {"learning_rate": {"low": 0.05, "high": 0.3, "log": True}, "maximum_depth": {"low": 2, "high": 4}}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(
        tmp_path_factory.mktemp("searched"),
        strength=0.3,
        steps=700,
        folds=3,
        train_steps=300,
        models={"xgboost": {"rounds": 30, "minimum_child_weight": 10, "early_stopping": 10}},
        data={
            "source": "made",
            "instruments": ["AUD_USD", "EUR_USD", "USD_JPY"],
            "since": "1999-01-04",
            "holdout": {"count": 50},
        },
        search={"hyperparameters": {"patience": None, "startup_trials": 4, "retries": 3, "space": {"xgboost": SPACE}}},
    )


class Search:
    """A search in a process of its own, and what it said."""

    def __init__(self, workspace: Path, state: Path, url: str, trials: int, workers: int) -> None:
        program = Path(__file__).with_name("hyperparameter_search_process.py")
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
            "TIDEGATE_STATE_DIRECTORY": str(state),
            "TIDEGATE_DATABASE__URL": url,
            "OMP_NUM_THREADS": "1",
        }
        arguments = [str(workspace), STUDY, str(trials), str(workers)]
        self.errors = (state / f"errors-{time.monotonic_ns()}.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def until(self, condition: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + 120.0
        while not any(condition(line) for line in self.lines):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def ended(self, count: int) -> None:
        self.until(lambda line: line.startswith("ended ") and int(line.split()[1]) >= count)

    def retried(self) -> bool:
        return any(line.startswith("ended ") and not line.endswith("retried 0") for line in self.lines)

    def kill_workers(self) -> None:
        """Kill every worker, and wait until the search has said something after that."""
        for worker in self.workers():
            with contextlib.suppress(psutil.Error):
                worker.kill()
        said = len(self.lines)
        deadline = time.monotonic() + 60.0
        while len(self.lines) == said and time.monotonic() < deadline:
            assert self.process.poll() is None, self.said()
            time.sleep(0.01)

    def workers(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # one that was killed a moment ago has no command line any more
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child)
        return found

    def kill(self) -> list[psutil.Process]:
        """Kill the coordinator alone; its workers must end by themselves."""
        workers = self.workers()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return workers

    def finish(self) -> None:
        assert self.process.wait(timeout=180.0) == 0, self.said()
        self._reader.join(10.0)

    def said(self) -> str:
        self.errors.seek(0)
        return "\n".join([*self.lines[-5:], self.errors.read()[-3000:]])


@contextmanager
def searching(*arguments: object) -> Iterator[Search]:
    search = Search(*arguments)  # type: ignore[arg-type]
    try:
        yield search
    finally:
        if search.process.poll() is None:
            search.kill()
        search.errors.close()


def assert_whole(url: str, trials: int) -> tuple[int, int]:
    """Hold Optuna's tables against the ledger; return how many trials there are and how many of them are retries."""
    import optuna

    storage = open_storage(url)
    found = optuna.load_study(study_name=STUDY, storage=storage).get_trials()
    rows = Rows(url, STUDY)
    by_number = rows.by_number()  # refuses a number with two rows
    rows.close()
    assert sorted(by_number) == [trial.number for trial in found] == list(range(len(found)))
    for trial in found:
        row = by_number[trial.number]
        assert row.parameters["searched"] == trial.params
        if trial.state.name == "COMPLETE":
            assert (row.status, row.values["skill"]) == (Status.COMPLETED, trial.value)
        elif trial.state.name == "PRUNED":
            assert row.status == Status.PRUNED
        else:
            assert trial.state.name == "FAIL" and row.status == Status.LOST
            assert trial.user_attrs["outcome"] == LOST
    retries = [trial for trial in found if RETRY_OF in trial.user_attrs]
    for trial in retries:
        lost = by_number[trial.user_attrs[RETRY_OF]]
        assert lost.status == Status.LOST and by_number[trial.number].parent == lost.id
        assert found[trial.user_attrs[RETRY_OF]].params == trial.params
    # A lost trial is tried again exactly once, unless its tries were over.
    assert len({trial.user_attrs[RETRY_OF] for trial in retries}) == len(retries)
    assert len(found) - len(retries) == trials, "the budget is not what was asked for"
    with TrialLedger(url) as ledger:
        assert ledger.verify(LINEAGE) == []
        assert ledger.count(LINEAGE) == len(found)
    storage.engine.dispose()
    return len(found), len(retries)


def test_a_search_survives_the_death_of_everything_it_is_made_of(workspace: Path, tmp_path: Path) -> None:
    budget = 18
    # Not below the state directory: there it would be the platform's own server, beside which the ledger is a file.
    server = EmbeddedPostgres(tmp_path / "elsewhere").start()
    try:
        with searching(workspace, tmp_path, server.url, budget, 2) as first:
            first.ended(2)
            while not first.retried():  # a worker between two trials dies without losing one
                first.kill_workers()
            first.ended(int(first.lines[-1].split()[1]) + 1)  # its new workers are at it
            orphans = first.kill()
        assert orphans, "there was no worker to leave behind"
        _, alive = psutil.wait_procs(orphans, timeout=20.0)
        assert not alive, "a worker outlived its coordinator"
        with searching(workspace, tmp_path, server.url, budget, 1) as second:
            second.ended(5)
            os.kill(server.pid, signal.SIGKILL)
            server.stop()
            server.start()  # as the supervisor of the services does
            second.finish()
        trials, retries = assert_whole(server.url, budget)
        assert trials == budget + retries and retries >= 1
    finally:
        server.stop()
