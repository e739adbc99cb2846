"""Many simulated markets through the whole search and the gate, resumable, with the rates it was all done for."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from core.digest import canonical_json, digest_source, digest_value
from core.errors import BadInputError
from core.files import write_bytes
from core.params import required
from training.evidence import GatePolicy
from training.simulation.markets import MarketParameters
from training.simulation.study import study_parameters
from training.simulation.verdict import FOLDS, Kind, Outcome, SimulationOptions, judge_market

CONFIDENCE = 0.95
_SECTIONS = ("evaluation", "execution", "gate", "seed", "strategy")  # of params.yaml: what the verdict depends on
Task = tuple[Kind, int]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A share with its exact 95 % interval (Clopper and Pearson, Biometrika 26, 1934)."""

    count: int
    of: int
    value: float
    low: float
    high: float


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate let through, and what each rule refused."""

    options: SimulationOptions
    digest: str  # of options, policy and code: outcomes of another one are never counted
    false_passes: Rate | None  # of markets without signal
    passes: Rate | None  # of planted ones
    refused_without_signal: dict[str, int]  # by rule
    refused_planted: dict[str, int]
    naive_profit: Rate | None  # without signal: winners whose profit interval lies above zero
    bayes_skill: float | None  # mean over planted markets
    bayes_direction_skill: float | None
    bayes_sharpe: float | None
    candidate_sharpe: float | None
    found: Rate | None  # planted: winners that use the state
    outcomes: tuple[Outcome, ...]


def simulate(
    markets: int,
    planted: int,
    options: SimulationOptions,
    params: dict[str, Any],
    folder: Path,
    workers: int,
    report: Callable[[Outcome, int, int], None],
) -> Simulation:
    """Judge markets that are not judged yet and return the rates of all.

    Each outcome is a file of its own, written when its market is done: after a kill the same call goes on with the
    rest. Every market has its own seed, so the result does not depend on workers or order.

    Args:
        markets: without signal.
        planted: with one.
        options: of every market.
        params: the workspace's ``params.yaml``.
        folder: where outcomes are kept; made if need be.
        workers: processes.
        report: called with each new outcome, how many are done and how many there will be.

    Raises:
        BadInputError: nothing to simulate, or options out of range.
    """
    check_simulation(markets, planted, options, workers)
    GatePolicy.from_params(params)  # a policy that cannot be read ends here, and not in a worker
    study_parameters(MarketParameters(steps=options.steps), FOLDS, int(required(params, "seed")), params)
    digest = simulation_digest(options, params)
    own = folder / digest[:16]
    own.mkdir(parents=True, exist_ok=True)
    tasks: list[Task] = [("none", number) for number in range(markets)]
    tasks.extend(("planted", number) for number in range(planted))
    tasks.sort(key=lambda task: (task[1], task[0]))  # both kinds from the start: a run cut short says something of both
    outcomes = {task: found for task in tasks if (found := _read(own, task)) is not None}
    left = [task for task in tasks if task not in outcomes]
    for outcome in _judged(left, options, params, min(workers, len(left))):
        write_bytes(_path(own, (outcome.kind, outcome.number)), canonical_json(msgspec.to_builtins(outcome)))
        outcomes[outcome.kind, outcome.number] = outcome
        report(outcome, len(outcomes), len(tasks))
    return summarise(options, digest, [outcomes[task] for task in tasks])


def simulation_digest(options: SimulationOptions, params: dict[str, Any]) -> str:
    """Return what names a simulation: its options, the sections of ``params.yaml`` it reads, and the code."""
    read = {name: params.get(name) for name in _SECTIONS}
    return digest_value([msgspec.to_builtins(options), read, _code_digest()])


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Return the digest of the code that this process runs: read once, a file may change under it."""
    return digest_source("training", "features", "trading")


def summarise(options: SimulationOptions, digest: str, outcomes: list[Outcome]) -> Simulation:
    """Return the rates of outcomes."""
    none = [outcome for outcome in outcomes if outcome.kind == "none"]
    planted = [outcome for outcome in outcomes if outcome.kind == "planted"]

    def mean(name: str) -> float | None:
        return sum(getattr(outcome, name) for outcome in planted) / len(planted) if planted else None

    return Simulation(
        options=options,
        digest=digest,
        false_passes=rate(sum(outcome.passed for outcome in none), len(none)),
        passes=rate(sum(outcome.passed for outcome in planted), len(planted)),
        refused_without_signal=_refusals(none),
        refused_planted=_refusals(planted),
        naive_profit=rate(sum(outcome.net_return_low > 0 for outcome in none), len(none)),
        bayes_skill=mean("bayes_skill"),
        bayes_direction_skill=mean("bayes_direction_skill"),
        bayes_sharpe=mean("bayes_sharpe"),
        candidate_sharpe=mean("sharpe"),
        found=rate(sum(outcome.found for outcome in planted), len(planted)),
        outcomes=tuple(outcomes),
    )


def rate(count: int, of: int) -> Rate | None:
    """Return a share with its Clopper-Pearson interval; None where there is nothing to share."""
    if not of:
        return None
    from scipy.stats import beta

    tail = (1.0 - CONFIDENCE) / 2.0
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1.0 - tail, count + 1, of - count)) if count < of else 1.0
    return Rate(count=count, of=of, value=count / of, low=low, high=high)


def check_simulation(markets: int, planted: int, options: SimulationOptions, workers: int) -> None:
    """Refuse what cannot be simulated.

    Raises:
        BadInputError: nothing to simulate, or options out of range.
    """
    if markets < 0 or planted < 0 or markets + planted < 1:
        raise BadInputError(f"{markets} markets without signal and {planted} planted ones: nothing to simulate")
    if options.trials < 4 or not 0 <= options.boosted <= options.trials // 2:
        raise BadInputError(
            f"a search needs at least 4 trials and boosted ones in its free half only, not {options.trials} and "
            f"{options.boosted}"
        )
    if options.steps < 2000:
        raise BadInputError(f"{options.steps} steps are too few to validate on; 2000 are the least")
    if not 0.0 < options.strength < 1.0:
        raise BadInputError(f"the strength of a planted signal must be in (0, 1), not {options.strength}")
    if workers < 1:
        raise BadInputError(f"{workers} workers cannot do anything: give at least 1")


def _judged(tasks: list[Task], options: SimulationOptions, params: dict[str, Any], workers: int) -> Iterator[Outcome]:
    """Yield outcomes as they are done, judged by processes of their own."""
    if not tasks:
        return
    if workers == 1:
        yield from (judge_market(kind, number, options, params) for kind, number in tasks)
        return
    # Each worker is one core: two libraries that both start threads for it would only wait for each other.
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            waiting = iter(tasks)
            open_ones: set[Future[Outcome]] = set()
            try:
                while True:
                    # Few at a time: an interrupt leaves little behind to be cancelled.
                    for kind, number in islice(waiting, 2 * workers - len(open_ones)):
                        open_ones.add(pool.submit(judge_market, kind, number, options, params))
                    if not open_ones:
                        return
                    done, open_ones = wait(open_ones, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _path(folder: Path, task: Task) -> Path:
    return folder / f"{task[0]}-{task[1]:05d}.json"


def _read(folder: Path, task: Task) -> Outcome | None:
    """Return an outcome that is on disk; one that a kill cut short is made again."""
    try:
        return msgspec.json.decode(_path(folder, task).read_bytes(), type=Outcome)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _refusals(outcomes: list[Outcome]) -> dict[str, int]:
    names = sorted({rule for outcome in outcomes for rule in outcome.failed})
    return {name: sum(name in outcome.failed for outcome in outcomes) for name in names}
