"""A strategy search in MLflow: one parent run per study, one nested run per choice that counts, tagged with its row.

Thousands of candidates stay in the trial ledger; the runs of MLflow are what a reviewer opens: what each fold chose and
the hall of fame. Logged once the result is written; a study that is there already is found by its tag and left alone.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from core.errors import UnavailableError
from core.experiments import open_experiment
from core.settings import get_settings
from training.search.strategy.outcome import Outcome
from training.search.strategy.report import REPORT, RESULT
from training.tracking import MODEL, STUDY, TRIAL

_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"


def track(outcome: Outcome, folder: Path) -> str:
    """Log a finished study and return the id of its run.

    Raises:
        UnavailableError: the tracking store does not answer; the result is kept, and the same command logs it.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = get_settings().mlflow_tracking_uri
    if uri.startswith("sqlite:"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        experiment = open_experiment(f"tidegate-{outcome.market}")
        client = MlflowClient(tracking_uri=uri)
        wanted = f"tags.`{STUDY}` = '{outcome.study}' and tags.`{MODEL}` = 'search' and attributes.status = 'FINISHED'"
        found = client.search_runs([experiment], wanted, max_results=1)
        return str(found[0].info.run_id) if found else _log_study(client, experiment, outcome, folder)
    except MlflowException as error:
        raise UnavailableError(
            f"MLflow does not answer: {str(error).splitlines()[0]}; the result is in {folder}, run the same command "
            "again to log it"
        ) from None


def _log_study(client: Any, experiment: str, outcome: Outcome, folder: Path) -> str:
    tags = {
        STUDY: outcome.study,
        MODEL: "search",
        _NAME: outcome.study,
        "tidegate.kind": "search strategy",
        "tidegate.lineage": outcome.lineage,
        "tidegate.verdict": "passed" if outcome.verdict.passed else "refused",
        "mlflow.note.content": outcome.words,
    }
    parent = str(client.create_run(experiment, tags=tags).info.run_id)
    metrics = {
        "trials": float(outcome.trials),
        "walk_forward_sharpe": outcome.walk_forward.sharpe.value,
        "walk_forward_return": outcome.walk_forward.return_a_year.value,
        "walk_forward_drawdown": outcome.walk_forward.drawdown,
        "deflated_sharpe": outcome.evidence.deflated,
        "effective_trials": outcome.evidence.effective,
    }
    _log(client, parent, metrics, {"rule": outcome.rule, "seed": outcome.seed, **_flat(outcome.parameters)})
    for fold in outcome.folds:
        scored = {f"in_sample_{name}": value for name, value in fold.in_sample.items()}
        scored |= {f"out_of_sample_{name}": value for name, value in fold.out_of_sample.items()}
        _nested(client, experiment, parent, outcome, f"fold {fold.number + 1}", fold.trial, fold.parameters, scored)
    for place, member in enumerate(outcome.hall_of_fame):
        scored = {f"in_sample_{name}": value for name, value in member.in_sample.items()}
        scored |= {f"unseen_{name}": value for name, value in member.unseen.items()}
        name = "winner" if place == outcome.winner else f"hall of fame {place + 1}"
        _nested(client, experiment, parent, outcome, name, member.trial, member.parameters, scored)
    for name in (REPORT, RESULT):
        client.log_artifact(parent, str(folder / name), "search")
    client.set_terminated(parent, "FINISHED")
    return parent


def _nested(
    client: Any,
    experiment: str,
    parent: str,
    outcome: Outcome,
    name: str,
    trial: str,
    parameters: Mapping[str, float],
    metrics: Mapping[str, float],
) -> None:
    tags = {_PARENT: parent, _NAME: name, STUDY: outcome.study, TRIAL: trial, MODEL: outcome.rule}
    run = str(client.create_run(experiment, tags=tags).info.run_id)
    _log(client, run, metrics, parameters)
    client.set_terminated(run, "FINISHED")


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested parameters by dotted names, the spaces of other rules left out."""
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "space":
            flat |= {f"space.{key}": bound for key, bound in value[parameters["rule"]]["parameters"].items()}
        elif isinstance(value, Mapping):
            nested: Mapping[str, Any] = msgspec.to_builtins(value)
            flat |= {f"{name}.{key}": item for key, item in nested.items()}
        else:
            flat[name] = value
    return flat


def _log(client: Any, run: str, metrics: Mapping[str, float], parameters: Mapping[str, Any]) -> None:
    from mlflow.entities import Metric, Param

    now = time.time_ns() // 1_000_000
    client.log_batch(
        run,
        metrics=[Metric(name, float(value), now, 0) for name, value in sorted(metrics.items())],
        params=[Param(name, str(value)[:500]) for name, value in sorted(parameters.items())],
    )
