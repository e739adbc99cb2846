"""MLflow runs: one parent per retraining, one nested run per fit, found again by tags.

Stages are separate processes and DVC may take a result from its cache without fitting anything. So a stage does not
hand a run id on; it looks the run up by what it is about: ``tidegate.retraining`` (the digest of all inputs) and
``tidegate.model_digest`` (the digest of the result). A result whose run is not in this store is logged from its files
and tagged ``tidegate.restored``.
"""

import fcntl
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from core.errors import UnavailableError
from core.experiments import open_experiment
from core.settings import get_settings
from training.lineage import Lineage, environment
from training.package import TrainingReport

RETRAINING = "tidegate.retraining"
MODEL = "tidegate.model"
MODEL_DIGEST = "tidegate.model_digest"
RESTORED = "tidegate.restored"
STUDY = "tidegate.study"  # of the trial ledger
TRIAL = "tidegate.trial"  # the row that counts this fit
_PARENT = "mlflow.parentRunId"
_NAME = "mlflow.runName"


class Tracker:
    """The runs of one retraining."""

    def __init__(self, market: str, lineage: Lineage, parameters: Mapping[str, Any]) -> None:
        """Find or create the parent run.

        Raises:
            UnavailableError: the tracking store does not answer.
        """
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.lineage = lineage
        uri = get_settings().mlflow_tracking_uri
        if uri.startswith("sqlite:"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        try:
            with _lock():
                self.experiment_id = open_experiment(f"tidegate-{market}")
                self.client = MlflowClient(tracking_uri=uri)
                self.parent_id = self._parent(market, parameters)
        except MlflowException as error:
            raise UnavailableError(f"MLflow at {_shown(uri)} does not answer: {str(error).splitlines()[0]}") from None

    @contextmanager
    def fit(self, model: str, parameters: Mapping[str, Any]) -> Generator["Run"]:
        """Open a nested run for one fit; it ends as finished, or as failed when the body raises."""
        self._end_killed(model)
        run = Run(self, self._create(f"{model}-{self.lineage.retraining}", {MODEL: model}))
        run.parameters(parameters)
        try:
            yield run
        except BaseException:
            self.client.set_terminated(run.run_id, "FAILED")
            raise
        self.client.set_terminated(run.run_id, "FINISHED")

    def _end_killed(self, model: str) -> None:
        """End runs of the same fit that a killed process left open: nobody else will."""
        open_runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{MODEL}` = '{model}' and tags.`{RETRAINING}` = '{self.lineage.retraining}' "
            "and attributes.status = 'RUNNING'",
        )
        for run in open_runs:
            self.client.set_terminated(run.info.run_id, "KILLED")

    def find(self, model: str, model_digest: str) -> "Run | None":
        """Return the newest finished run that made this model in this retraining, or None."""
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{MODEL}` = '{model}' and tags.`{MODEL_DIGEST}` = '{model_digest}' "
            f"and tags.`{RETRAINING}` = '{self.lineage.retraining}' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return Run(self, found[0].info.run_id) if found else None

    def ensure(self, folder: Path, report: TrainingReport, model_digest: str, parameters: Mapping[str, Any]) -> "Run":
        """Return the run of a fitted model, logging it from its files where this store has none."""
        found = self.find(report.name, model_digest)
        if found is not None:
            return found
        with self.fit(report.name, parameters) as run:
            run.tags({RESTORED: "true"})
            run.fitted(folder, report, model_digest)
        return run

    @property
    def parent(self) -> "Run":
        """The run of the whole retraining."""
        return Run(self, self.parent_id)

    def finish(self) -> None:
        """Mark the retraining as finished."""
        self.client.set_terminated(self.parent_id, "FINISHED")

    def _parent(self, market: str, parameters: Mapping[str, Any]) -> str:
        name = study_name(self.lineage)
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{RETRAINING}` = '{self.lineage.retraining}' and tags.`{MODEL}` = 'retraining'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        if found:
            return str(found[0].info.run_id)
        tags = {
            RETRAINING: self.lineage.retraining,
            MODEL: "retraining",
            STUDY: name,
            _NAME: name,
            "tidegate.market": market,
        }
        run_id = str(self.client.create_run(self.experiment_id, tags=tags | self._lineage_tags()).info.run_id)
        run = Run(self, run_id)
        run.parameters(parameters)
        self.client.log_text(run_id, "\n".join(environment()) + "\n", "environment/requirements.txt")
        self.client.log_dict(run_id, msgspec.to_builtins(self.lineage), "lineage/lineage.json")
        return run_id

    def _create(self, name: str, tags: dict[str, str]) -> str:
        tags = tags | {_PARENT: self.parent_id, RETRAINING: self.lineage.retraining, _NAME: name}
        return str(self.client.create_run(self.experiment_id, tags=tags | self._lineage_tags()).info.run_id)

    def _lineage_tags(self) -> dict[str, str]:
        lineage = self.lineage
        tags = {
            "lineage.data_digest": lineage.data_digest,
            "lineage.feature_digest": lineage.feature_digest,
            "lineage.environment_digest": lineage.environment_digest,
            "lineage.git_commit": lineage.git_commit,
        }
        return tags | {f"lineage.code.{room}": digest for room, digest in lineage.code_digests.items()}


class Run:
    """One MLflow run, written in few calls."""

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self.tracker = tracker
        self.run_id = run_id

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.tracker.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names."""
        from mlflow.entities import Param

        flat = [Param(key, str(value)[:500]) for key, value in sorted(_flatten(parameters).items())]
        self.tracker.client.log_batch(self.run_id, params=flat)

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        rows = [Metric(key, float(value), now, step) for key, value in sorted(metrics.items())]
        self.tracker.client.log_batch(self.run_id, metrics=rows)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file."""
        self.tracker.client.log_artifact(self.run_id, str(path), folder)

    def fold(self, fold: int, log_loss: float, fitted: Mapping[str, float]) -> None:
        """Log how a fold went, with the fold as the step."""
        self.metrics({"fold_log_loss": log_loss, **{f"fold_{key}": value for key, value in fitted.items()}}, fold + 1)

    def fitted(self, folder: Path, report: TrainingReport, model_digest: str) -> None:
        """Log everything about a fit that its folder tells, and tag the run with the model's digest."""
        if self.tags_of().get(RESTORED):
            for fold in report.folds:
                self.fold(fold.fold, fold.log_loss, fold.fitted)
        final = {f"final_{key}": value for key, value in (report.fitted | report.calibration).items()}
        self.metrics({"onnx_parity": report.parity, **final})
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                self.artifact(path, (Path("model_files") / path.relative_to(folder).parent).as_posix())
        self.tags({MODEL_DIGEST: model_digest})

    def tags_of(self) -> dict[str, str]:
        """Return the run's tags."""
        return dict(self.tracker.client.get_run(self.run_id).data.tags)


def study_name(lineage: Lineage) -> str:
    """Return the study of the trial ledger that a retraining is; its parent run has the same name."""
    return f"retraining-{lineage.retraining}"


@contextmanager
def _lock() -> Generator[None]:
    """Let one process at a time look for and create runs: stages may run side by side."""
    path = get_settings().state / "mlflow" / "training.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= _flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _shown(uri: str) -> str:
    """Return a URI without user and password."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
