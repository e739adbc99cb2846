"""Run many seeds on warm workers, and gather what came of them."""

import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from core.crash_points import TRADER_POINTS
from core.errors import TidegateError, UnavailableError
from tidegate.drill.day import DayOrder, DayResult
from tidegate.drill.plan import STEPS
from tidegate.drill.session import SeedResult
from tidegate.drill.worker import WorkerOrder

MOST_FAILURES = 20  # so many failing seeds say enough: the drill ends, and its figures are those of the seeds run
Progress = Callable[[SeedResult, int, int], None]


class DrillResult(msgspec.Struct, frozen=True, kw_only=True):
    """Every seed's result, and what the drill ran on."""

    seeds: tuple[SeedResult, ...]
    seconds: float
    workers: int
    postgres: bool
    points: tuple[str, ...]
    keep: str

    @property
    def failures(self) -> list[SeedResult]:
        """The seeds in which something was lost, doubled or wrong."""
        return [seed for seed in self.seeds if seed.problems]


class _Crashed(msgspec.Struct):
    """What a worker says when the drill itself made a mistake."""

    seed: int
    crashed: str


def run_kill_drill(
    seeds: range,
    workers: int,
    keep: Path,
    progress: Progress,
    points: tuple[str, ...] | None = None,
    steps: int = STEPS,
    postgres: bool = True,
    deepest: int = 100,
) -> DrillResult:
    """Run the seeds and return what came of them; a failing seed's folder is moved to ``keep``.

    Args:
        seeds: which ones.
        workers: processes that each run one seed after the other.
        keep: folder for what a failure left behind.
        progress: called after each seed with its result, how many are done, and how many failed.
        points: crash points to strike in rotation; None: all.
        steps: minutes of market a session has.
        deepest: at which passing of a crash point it is struck at most; 1 reaches every point soon.
        postgres: whether some seeds have their ledger on an embedded PostgreSQL.

    Raises:
        UnavailableError: a worker did not start or died.
    """
    began = time.monotonic()
    chosen = points or tuple(TRADER_POINTS)
    with _prepared(chosen, keep, steps, postgres, deepest) as order:
        results = list(_work(order, seeds, workers, progress))
    return DrillResult(
        seeds=tuple(sorted(results, key=lambda result: result.seed)),
        seconds=time.monotonic() - began,
        workers=workers,
        postgres=bool(order.postgres),
        points=chosen,
        keep=str(keep),
    )


def run_day_drill(day: DayOrder, keep: Path) -> DayResult:
    """Run one day and return what came of it; the folder of one that failed is moved to ``keep``.

    Raises:
        UnavailableError: the worker did not start or died.
    """
    with _prepared((), keep, 0, True) as order, _worker(order) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(day).decode() + "\n")
        process.stdin.close()
        line = process.stdout.readline()
        if not line:
            raise UnavailableError("the worker of the drill ended: see above")
        try:
            return msgspec.json.decode(line, type=DayResult)
        except msgspec.ValidationError:
            raise UnavailableError(
                f"the drill itself failed: {msgspec.json.decode(line, type=_Crashed).crashed}"
            ) from None


@contextmanager
def _prepared(
    points: tuple[str, ...], keep: Path, steps: int, postgres: bool, deepest: int = 100
) -> Generator[WorkerOrder]:
    """Make what all workers share in a folder that goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="tidegate-drill-") as folder, ExitStack() as stack:
        shared = Path(folder)
        shared.chmod(0o755)  # the database server may run as another user
        order = WorkerOrder(
            folder=folder,
            state_path=str(shared / "state.npz"),
            template=str(shared / "template.sqlite"),
            postgres=stack.enter_context(ledger_server(shared / "postgres")) if postgres else "",
            points=points,
            steps=steps,
            keep=str(keep.absolute()),
            deepest=deepest,
        )
        prepare(Path(order.state_path), Path(order.template))
        yield order


def prepare(state_path: Path, template: Path) -> None:
    """Write what every seed begins from: the feature state and a migrated, empty ledger."""
    from core.database import create_engine, migrate
    from tidegate.drill.market import write_feature_state

    write_feature_state(state_path)
    engine = create_engine(f"sqlite:///{template}")
    try:
        migrate(engine)
    finally:
        engine.dispose()


@contextmanager
def ledger_server(folder: Path) -> Generator[str]:
    """Run an embedded PostgreSQL with a migrated template; yield its connection string, empty where there is none."""
    from core.database import create_engine, migrate
    from core.embedded.postgres import EmbeddedPostgres
    from core.errors import BadInputError
    from tidegate.drill.databases import TEMPLATE

    try:
        server = EmbeddedPostgres(folder, database=TEMPLATE).start()
    except BadInputError:  # the wheel is not installed: the result says that no seed ran on PostgreSQL
        yield ""
        return
    with server:
        engine = create_engine(server.url)
        try:
            migrate(engine)
        finally:
            engine.dispose()
        yield f"host={server.socket_directory} user=postgres dbname=postgres"


def _work(order: WorkerOrder, seeds: range, workers: int, progress: Progress) -> Iterator[SeedResult]:
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in seeds:
        todo.put(seed)
    done: queue.SimpleQueue[SeedResult | TidegateError] = queue.SimpleQueue()
    stop = threading.Event()
    threads = [
        threading.Thread(target=_drive, args=(order, todo, done, stop), daemon=True)
        for _ in range(min(workers, len(seeds)))
    ]
    for thread in threads:
        thread.start()
    failed = 0
    try:
        for number in range(1, len(seeds) + 1):
            result = done.get()
            if isinstance(result, TidegateError):
                raise result
            failed += bool(result.problems)
            progress(result, number, failed)
            yield result
            if failed >= MOST_FAILURES:
                return
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def _worker(order: WorkerOrder) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tidegate.drill.worker", msgspec.json.encode(order).decode()]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _drive(
    order: WorkerOrder,
    todo: "queue.SimpleQueue[int]",
    done: "queue.SimpleQueue[SeedResult | TidegateError]",
    stop: threading.Event,
) -> None:
    """Keep one worker busy."""
    with _worker(order) as process:
        assert process.stdin is not None and process.stdout is not None
        while not stop.is_set():
            try:
                seed = todo.get_nowait()
            except queue.Empty:
                break
            try:
                process.stdin.write(f"{seed}\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                done.put(UnavailableError(f"a worker of the drill ended at seed {seed}: see above"))
                break
            done.put(_read(line))
        process.stdin.close()


def _read(line: str) -> SeedResult:
    try:
        return msgspec.json.decode(line, type=SeedResult)
    except msgspec.ValidationError:
        crashed = msgspec.json.decode(line, type=_Crashed)
        return SeedResult(
            seed=crashed.seed,
            style="",
            database="",
            seconds=0.0,
            lives=(),
            orders=0,
            fills=0,
            broker_restarts=0,
            tears=0,
            problems=(f"the drill itself failed: {crashed.crashed}",),
        )
