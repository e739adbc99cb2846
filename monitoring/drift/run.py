"""One drift check, as the scheduled flow and the demo run it: load both windows, judge, write, log to MLflow."""

from pathlib import Path
from typing import Any, cast

import msgspec
import pandas as pd

from core.errors import BadInputError
from core.experiments import open_experiment
from core.files import read_json, write_json
from core.logging import get_logger
from core.params import read_params
from core.settings import get_settings
from features.sets import feature_set
from monitoring.drift.assess import DriftAssessment, assess
from monitoring.drift.evidently_report import write_report
from monitoring.drift.session import newest_session, write_session_window

log = get_logger("monitoring")


class DriftResult(msgspec.Struct, frozen=True):
    """Where the reports are and what they say."""

    assessment: DriftAssessment
    html: str
    json: str
    summary: str
    mlflow_run_id: str


def training_window(workspace: Path, features: dict[str, Any], last_steps: int | None) -> pd.DataFrame:
    """Return the feature rows before the cut-off, the newest ``last_steps`` decision times of them if given."""
    path = workspace / "data" / "processed" / "features" / "features.parquet"
    columns = ["instrument", "event_timestamp", *features["columns"]]
    frame = pd.read_parquet(path, columns=columns)
    cutoff = pd.Timestamp(int(features["cutoff_ns"]), unit="ns", tz="UTC")
    times = pd.DatetimeIndex(frame["event_timestamp"])
    keep = times < cutoff
    if last_steps is not None:
        steps = times[keep].unique().sort_values()
        keep &= times >= steps[-min(last_steps, len(steps))]
    training = cast(pd.DataFrame, frame[keep])
    return training.sort_values(by=["event_timestamp", "instrument"], kind="stable").reset_index(drop=True)


def live_window(path: Path) -> pd.DataFrame:
    """Read the live rows a trading session saved.

    Raises:
        BadInputError: there is no such file, or it holds no rows.
    """
    if not path.exists():
        raise BadInputError(f"drift: no live window at {path}; trade first, then check for drift")
    frame = pd.read_parquet(path)
    if frame.empty:
        raise BadInputError(f"drift: the live window {path} is empty; let the trader see some bars first")
    return frame


def run_drift(workspace: Path, live: Path | None, output: Path, log_to_mlflow: bool = True) -> DriftResult:
    """Compare the training window of a workspace with a live window and write the reports to ``output``.

    Args:
        workspace: folder with ``params.yaml`` and the outputs of the features stage.
        live: parquet file with ``instrument``, ``event_timestamp`` and the feature columns; None takes what the
            newest trading session of the workspace's market has seen so far.
        output: folder for ``drift.html``, ``drift.json`` (Evidently) and ``summary.json`` (ours).

    Raises:
        BadInputError: a window is missing, empty or has other features.
    """
    params = read_params(workspace / "params.yaml")
    description = read_json(workspace / "data" / "processed" / "features" / "features.json")
    columns = list(description["columns"])
    settings = params.get("drift", {})
    reference = training_window(workspace, description, params.get("validation", {}).get("train_steps"))
    current = live_window(live or _newest(workspace, params))
    warmed = reference.dropna(subset=columns, how="all")
    assessment = assess(
        warmed,
        current,
        columns,
        false_alarm_rate=float(settings.get("false_alarm_rate", 0.05)),
        minimum_share=float(settings.get("share", 0.3)),
    )
    html, document = write_report(warmed, current, assessment, output)
    summary = output / "summary.json"
    write_json(summary, {**msgspec.to_builtins(assessment), "words": assessment.words})
    run_id = _log(params, assessment, [html, document, summary]) if log_to_mlflow else ""
    log.info("drift checked", verdict=assessment.words, report=str(html))
    return DriftResult(assessment, str(html), str(document), str(summary), run_id)


def _newest(workspace: Path, params: dict[str, Any]) -> Path:
    session = newest_session(get_settings().state / "sessions", f"tidegate-{params['market']}")
    definition = feature_set(str(params["features"]["set"]))
    return write_session_window(session, workspace, definition, workspace / "reports" / "live" / "features.parquet")


def _log(params: dict[str, Any], assessment: DriftAssessment, files: list[Path]) -> str:
    import mlflow

    experiment_id = open_experiment(f"tidegate-{params['market']}")
    with mlflow.start_run(experiment_id=experiment_id, run_name="drift", tags={"tidegate.kind": "drift"}) as run:
        mlflow.log_metrics(
            {
                "drift.share": assessment.share_drifted,
                "drift.share_threshold": assessment.share_threshold,
                "drift.rank": assessment.rank,
                "drift.detected": float(assessment.drifted),
            }
        )
        mlflow.set_tag("drift.verdict", assessment.words)
        for path in files:
            mlflow.log_artifact(str(path), artifact_path="drift")
        return run.info.run_id
