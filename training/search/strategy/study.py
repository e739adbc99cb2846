"""One strategy search from params.yaml to its verdict: search, plateau, validation, evidence, report.

In-sample and out-of-sample, in one place:

- a fold's *training* window is in-sample: fitness, fronts, the choice and the plateau check are measured there;
- its *test* window is out-of-sample for its own choice: the walk-forward path is made of these, one after the other;
- the test windows are in-sample for the final fold, whose training window holds the last of them: what the winner did
  there is deflated by every trial, and never shown as a result;
- the *unseen span* is out-of-sample for everybody. It is loaded when the search is over, and looked at once: a study
  whose hall of fame was validated cannot be searched further.

One thing is shared by all folds: how many generations there are. Patience ends the search for all of them at once.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from core.digest import digest_source, digest_value
from core.embedded.lock import DirectoryLock
from core.errors import RefusedError, UnavailableError
from core.files import write_json
from core.params import read_params, required
from core.settings import get_settings
from training.evidence.policy import GatePolicy
from training.search.strategy.candidates import Candidates
from training.search.strategy.history import History, load_history
from training.search.strategy.objectives import column
from training.search.strategy.outcome import Outcome
from training.search.strategy.parameters import SECTION, Budget, StrategySearchParameters, read_search
from training.search.strategy.report import REPORT, read_result
from training.search.strategy.state import Generation, begin, load
from training.trials import TrialLedger
from training.trials.session import data_lineage

if TYPE_CHECKING:
    from training.search.strategy.backtests import Backtester

FOLDER = Path("reports/search/strategy")
DESCRIPTION = "study.json"
_ASIDE = ("budget", "backend", "ray_address")  # how long and where: they decide no result
_CODE = ("training.search.strategy", "training.backtest", "trading.strategy.rules")  # what decides the path of a search


@dataclass(frozen=True)
class Study:
    """A search before it runs: everything that decides what it finds, and where its files are."""

    name: str
    words: str
    folder: Path
    market: str
    lineage: str
    seed: int
    parameters: StrategySearchParameters
    policy: GatePolicy
    candidates: Candidates
    history: History
    digests: dict[str, str]

    @property
    def digest(self) -> str:
        """Digest of what decides the path of the search; the budget is not part of it."""
        return self.digests["study"]


def check(
    workspace: Path,
    rule: str | None = None,
    generations: int | None = None,
    trials: int | None = None,
    minutes: float | None = None,
) -> tuple[dict[str, Any], StrategySearchParameters, Candidates]:
    """Read and check everything that can be checked without data.

    Raises:
        BadInputError: ``params.yaml`` or an option cannot be used; the message names it.
    """
    params = read_params(workspace / "params.yaml")
    given = read_search(params, rule=rule, generations=generations, trials=trials, minutes=minutes)
    candidates = Candidates.of(given)
    GatePolicy.from_params(params)
    for key in ("market", "seed", "data"):
        required(params, key, workspace / "params.yaml")
    return params, given, candidates


def begin_study(
    workspace: Path,
    rule: str | None = None,
    generations: int | None = None,
    trials: int | None = None,
    minutes: float | None = None,
) -> Study:
    """Check parameters and data and name the study; nothing is written and no trial is begun.

    Raises:
        BadInputError: the parameters or the data cannot be used.
    """
    params, given, candidates = check(workspace, rule, generations, trials, minutes)
    history = load_history(workspace, params, given, get_settings().trading.account_currency)
    return make_study(workspace, params, given, candidates, history)


def make_study(
    workspace: Path,
    params: Mapping[str, Any],
    given: StrategySearchParameters,
    candidates: Candidates,
    history: History,
) -> Study:
    """Name the study of a history: the same inputs have the same name, and go on where they stood."""
    from data.panel import panel_digest

    content = msgspec.to_builtins(given)
    for key in _ASIDE:
        content.pop(key)
    content["space"] = {given.rule: content["space"][given.rule]}
    digests = {
        "parameters": digest_value(content),
        "data": panel_digest(history.panel),
        "terms": digest_value(
            msgspec.to_builtins((history.account, history.costs, history.currency, dict(history.cost_parameters)))
        ),
        "code": digest_source(*_CODE),
    }
    seed = int(params["seed"])
    digests["study"] = digest_value([digests[key] for key in sorted(digests)] + [seed, params["market"]])
    name = f"strategy-{given.rule}-{params['market']}-{digests['study'][:12]}"
    folds = len(history.folds) - 1
    words = (
        f"{given.rule} on {', '.join(history.panel.instruments)}: {folds} folds and the final one over "
        f"{history.cut} days, {len(history.days) - history.cut} days unseen"
    )
    policy = GatePolicy.from_params(params)
    return Study(
        name,
        words,
        workspace / FOLDER / name,
        str(params["market"]),
        data_lineage(params),
        seed,
        given,
        policy,
        candidates,
        history,
        digests,
    )


def run_study(
    study: Study, ledger: TrialLedger, report: Callable[[Generation], None] = lambda generation: None
) -> dict[str, Any]:
    """Run a study to its end and return its result with the path of its report.

    Killed at any moment and run again, it ends with the same result. A study that is over is not run again.

    Raises:
        RefusedError: it was validated with another budget, or no parameter set trades enough.
        UnavailableError: another process runs it, or the ledger or the Ray cluster does not answer.
    """
    study.folder.mkdir(parents=True, exist_ok=True)
    lock = DirectoryLock(study.folder)
    if not lock.acquire():
        raise UnavailableError(f"another process runs study {study.name}: wait for its end")
    try:
        with ExitStack() as stack:
            return _run(study, ledger, report, stack)
    finally:
        lock.release()


def _backtester(study: Study, stack: ExitStack) -> "Backtester":
    """Return what backtests the candidates: the cores of this machine, or a Ray cluster that the stack closes."""
    given = study.parameters
    if given.backend == "threads":
        from training.search.strategy.backtests import Backtester

        return Backtester(study.history, study.candidates, given.minimum_trades)
    from training.search.cluster import Cluster
    from training.search.strategy.ray_backtests import Inputs, RayBacktester

    cluster = stack.enter_context(Cluster(f"{SECTION}.backend", given.ray_address))
    inputs = Inputs(study.digest, study.digests["code"], _CODE, study.history, study.candidates, given.minimum_trades)
    return RayBacktester(cluster, inputs)


def _run(study: Study, ledger: TrialLedger, report: Callable[[Generation], None], stack: ExitStack) -> dict[str, Any]:
    from training.search.strategy.conclusion import conclude
    from training.search.strategy.evolve import Search
    from training.search.strategy.recorder import Recorder
    from training.search.strategy.validation import validated

    given, history = study.parameters, study.history
    looked = validated(ledger, study.lineage, study.name)
    _describe(study, looked)
    outcome = read_result(study.folder)
    if outcome is None:
        choice = column(given.choose_by)
        backtester = _backtester(study, stack)
        recorder = Recorder(
            ledger,
            study.name,
            given.rule,
            study.lineage,
            study.digests["code"],
            study.digests["data"],
            study.seed,
            study.candidates.space,
            backtester,
            len(history.folds),
            choice,
        )
        state = load(study.folder, study.digest) or begin(study.digest, len(history.folds), given.evolution.islands)
        if looked is None:
            state.stopped = ""  # a longer budget goes on; the same one stops at the same place
        search = Search(given, len(history.folds), study.seed, recorder, state, study.folder, report)
        search.run()
        conclude(study, ledger, search, recorder)
        outcome = read_result(study.folder)
    assert outcome is not None
    return {**msgspec.to_builtins(outcome), "report": str(study.folder / REPORT)}


def _describe(study: Study, looked: Budget | None) -> None:
    """Write what the study is, or refuse another budget once its unseen span was looked at."""
    if looked is not None and looked != study.parameters.budget:
        raise RefusedError(
            f"study {study.name} was validated on its unseen span with the budget {msgspec.to_builtins(looked)}: "
            "a longer search would choose with knowledge of it; change the space or the windows for another study"
        )
    described = {
        "study": study.name,
        "digests": study.digests,
        "seed": study.seed,
        "parameters": msgspec.to_builtins(study.parameters),
    }
    write_json(study.folder / DESCRIPTION, described)


def budget_share(budget: Budget, generation: Generation) -> float:
    """Return how much of the budget a search has used after a generation, 0 to 1; minutes are not counted."""
    shares = [0.0]
    if budget.generations is not None:
        shares.append((generation.number + 1) / budget.generations)
    if budget.trials is not None:
        shares.append(generation.trials / budget.trials)
    return min(max(shares), 1.0)


__all__ = ["Outcome", "Study", "begin_study", "budget_share", "check", "make_study", "run_study"]
