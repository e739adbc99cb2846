"""A study in MLflow: one parent run, one nested run per trial that ended, each tagged with its row in the ledger.

Logged once the search stands still, by the coordinator alone and from the ledger, so that workers neither wait for
MLflow nor race for its store. A run that is there already is found by its tag and not made again.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import UnavailableError
from core.experiments import open_experiment
from core.settings import get_settings
from training.search.hyperparameters.search import Prepared
from training.tracking import MODEL, STUDY, TRIAL
from training.trials import Status, TrialRecord

_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"
_SEARCH = "search"
_STATES = {Status.COMPLETED: "FINISHED", Status.PRUNED: "FINISHED", Status.FAILED: "FAILED", Status.LOST: "KILLED"}


def track(
    prepared: Prepared, rows: Mapping[int, TrialRecord], result: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Log the study and its trials; return the ids of experiment and parent run.

    Raises:
        UnavailableError: the tracking store does not answer; the search itself is kept and the same command logs it.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = get_settings().mlflow_tracking_uri
    if uri.startswith("sqlite:"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        experiment = open_experiment(f"tidegate-{prepared.context.parameters.market}")
        client = MlflowClient(tracking_uri=uri)
        parent = _parent(client, experiment, prepared)
        known = _known(client, experiment, prepared.name)
        for number in sorted(rows):
            if rows[number].id not in known:
                _trial(client, experiment, parent, prepared, rows[number])
        best: Mapping[str, float] = result["best"]["values"] if result["best"] else {}
        _log(client, parent, {f"best_{name}": value for name, value in best.items()}, {})
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name != "search.json":
                client.log_artifact(parent, str(path), "search")
        client.log_dict(parent, dict(result), "search/search.json")
        client.set_tag(parent, "mlflow.note.content", result["words"])
        client.set_terminated(parent, "FINISHED")
    except MlflowException as error:
        raise UnavailableError(
            f"MLflow does not answer: {str(error).splitlines()[0]}; the trials are in the ledger, run the same command "
            "again to log them"
        ) from None
    return {"experiment_id": experiment, "run_id": parent}


def _parent(client: Any, experiment: str, prepared: Prepared) -> str:
    found = client.search_runs(
        [experiment], f"tags.`{STUDY}` = '{_quoted(prepared.name)}' and tags.`{MODEL}` = '{_SEARCH}'", max_results=1
    )
    if found:
        return str(found[0].info.run_id)
    tags = {STUDY: prepared.name, MODEL: _SEARCH, _NAME: prepared.name, "tidegate.kind": "search hyperparameters"}
    run = str(client.create_run(experiment, tags=tags).info.run_id)
    described = {f"space.{d.name}": d.words for d in prepared.space.dimensions}
    _log(client, run, {}, {"model": prepared.space.model, "seed": prepared.seed, **described})
    return run


def _known(client: Any, experiment: str, study: str) -> set[str]:
    """Return the ledger rows that have a run which ended."""
    found: set[str] = set()
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.`{STUDY}` = '{_quoted(study)}' and attributes.status != 'RUNNING'",
            max_results=500,
            page_token=token,
        )
        found |= {run.data.tags[TRIAL] for run in page if TRIAL in run.data.tags}
        token = page.token
        if not token:
            return found


def _trial(client: Any, experiment: str, parent: str, prepared: Prepared, row: TrialRecord) -> None:
    tags = {
        _PARENT: parent,
        _NAME: f"trial {row.number}",
        STUDY: prepared.name,
        TRIAL: row.id,
        MODEL: prepared.space.model,
        "tidegate.outcome": str(row.status),
        "tidegate.reason": row.reason,
    }
    if row.parent is not None:
        tags["tidegate.retry_of"] = row.parent
    run = str(client.create_run(experiment, tags=tags, start_time=row.begun_ns // 1_000_000).info.run_id)
    losses = {fold.number + 1: fold.loss for fold in row.folds}
    _log(client, run, dict(row.values), dict(row.parameters["searched"]), losses)
    ended = (row.closed_ns or row.begun_ns) // 1_000_000
    client.set_terminated(run, _STATES.get(row.status, "KILLED"), end_time=ended)


def _log(
    client: Any,
    run: str,
    metrics: Mapping[str, float],
    parameters: Mapping[str, Any],
    fold_losses: Mapping[int, float] | None = None,
) -> None:
    """Log everything about a run in one call: a search has hundreds of them."""
    from mlflow.entities import Metric, Param

    now = time.time_ns() // 1_000_000
    folds = [Metric("fold_log_loss", loss, now, step) for step, loss in sorted((fold_losses or {}).items())]
    client.log_batch(
        run,
        metrics=[Metric(name, float(value), now, 0) for name, value in sorted(metrics.items())] + folds,
        params=[Param(name, str(value)[:500]) for name, value in sorted(parameters.items())],
    )


def _quoted(text: str) -> str:
    return text.replace("'", "\\'")
