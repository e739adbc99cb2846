"""The whole search of one model in one workspace: from its parameters to a report and a patch."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from core.digest import digest_value
from core.errors import BadInputError, UnavailableError
from training.search.hyperparameters.coordinator import Coordinator
from training.search.hyperparameters.parameters import SearchParameters, read_search
from training.search.hyperparameters.progress import SearchProgress
from training.search.hyperparameters.rows import Rows
from training.search.hyperparameters.space import Space, read_space
from training.search.hyperparameters.storage import away, study_lease
from training.search.hyperparameters.study import Slot, Study
from training.search.hyperparameters.worker import Job
from training.search.hyperparameters.workers import Pool, open_pool
from training.stages.context import Context, load_context
from training.trials.session import database_url

REPORTS = Path("reports/search")
_DATABASE_SECONDS = 60.0  # a database that restarts is back by then
_SECTIONS = ("labels", "strategy", "validation")
_FRUITLESS = 3  # runs in a row that the database ended before a single trial could


@dataclass(frozen=True)
class Prepared:
    """A search that was checked and can begin."""

    name: str
    identity: dict[str, str]
    parameters: SearchParameters
    space: Space
    context: Context
    seed: int
    database_url: str


@dataclass(frozen=True)
class Searched:
    """What a search came to."""

    prepared: Prepared
    slots: tuple[Slot, ...]
    stopped: str
    seconds: float  # of searching, over all runs


def prepare(workspace: Path, study: str | None = None, **overrides: Any) -> Prepared:
    """Read and check everything a search of the workspace needs; nothing is begun.

    Args:
        workspace: folder with ``params.yaml`` and the outputs of the dataset stage.
        study: its name; None: made of market, model and what the search depends on, so that the same search goes on.
        overrides: values in place of those of ``search.hyperparameters``.

    Raises:
        BadInputError: a parameter, the space or the dataset cannot be used.
    """
    if not workspace.is_dir():
        raise BadInputError(f"{workspace} is no workspace: there is no such folder")
    with contextlib.chdir(workspace):
        from core.params import read_params
        from training.parameters import parse

        content = read_params()
        read = parse(content)
        parameters = read_search(content, **overrides)
        space = read_space(parameters.model, read)  # before the rows are read: that takes a while
        context = load_context()
    seed = context.parameters.seed
    lineage = context.lineage
    raw = context.parameters.raw
    identity = {
        "data set": lineage.data_digest,
        "feature set": lineage.feature_digest,
        "code": digest_value(lineage.code_digests),
        "labels, validation or strategy section": digest_value({key: raw.get(key) for key in _SECTIONS}),
        "model section": digest_value(msgspec.to_builtins(getattr(context.parameters.models, space.model))),
        "model": space.model,
        "space": space.digest,
        "objectives": ", ".join(parameters.objectives),
        "sampler or pruning": digest_value(
            [parameters.sampler, parameters.startup_trials, msgspec.to_builtins(parameters.pruning)]
        ),
        "seed": str(seed),
    }
    name = study or f"{context.parameters.market}-{space.model}-{digest_value(identity)[:8]}"
    if not name.strip() or "/" in name or len(name) > 200:
        raise BadInputError(f"{name!r} is no name for a study: 1 to 200 characters without a slash")
    return Prepared(name, identity, parameters, space, context, seed, database_url())


def search(prepared: Prepared, report: Callable[[SearchProgress], None]) -> Searched:
    """Search until a budget or the patience ends it, going on where an earlier run of the study stopped.

    A database that goes away is waited for; what was running meanwhile is tried again.

    Raises:
        RefusedError: another process searches the study.
        UnavailableError: the database stays away. Everything that ended is kept.
        BadInputError: the study was begun on something else.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    job = Job(prepared.context, prepared.space, prepared.parameters.objectives, prepared.name, prepared.database_url)
    pool = open_pool(prepared.parameters, job)
    fruitless = 0
    try:
        while True:
            ended = [0]

            def follow(progress: SearchProgress, ended: list[int] = ended) -> None:
                ended.append(progress.ended)
                report(progress)

            try:
                return _session(prepared, pool, follow)
            except (UnavailableError, StorageInternalError, SQLAlchemyError) as error:
                fruitless = 0 if ended[-1] > ended[min(1, len(ended) - 1)] else fruitless + 1
                lost = error if isinstance(error, UnavailableError) else away(error)
                if fruitless >= _FRUITLESS or not _back(prepared.database_url):
                    raise lost from error
    finally:
        pool.close()


def _session(prepared: Prepared, pool: Pool, report: Callable[[SearchProgress], None]) -> Searched:
    """Hold the study and search, until the end or until the database goes away."""
    p = prepared
    with contextlib.ExitStack() as stack:
        stack.enter_context(study_lease(p.database_url, p.name))
        study = Study(p.database_url, p.name, p.identity, p.parameters, p.space, p.seed)
        stack.callback(study.close)
        rows = Rows(p.database_url, p.name)
        stack.callback(rows.close)
        coordinator = Coordinator(study, rows, pool, p.parameters, len(p.context.folds), report)
        slots = coordinator.run()
        return Searched(p, tuple(slots), coordinator.stopped, study.seconds_used)


def _back(url: str) -> bool:
    """Wait until the database answers again; False when it stays away."""
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    from core.database import create_engine

    deadline = time.monotonic() + _DATABASE_SECONDS
    while time.monotonic() < deadline:
        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
            return True
        except SQLAlchemyError:
            time.sleep(1.0)
        finally:
            engine.dispose()
    return False
