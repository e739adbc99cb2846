"""Fits and evaluations of the stages in the trial ledger: counted once, tied to MLflow, refused when they cannot be."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from synthetic_market import make_workspace, parameters

from core.errors import UnavailableError
from core.files import read_json
from core.settings import get_settings
from training.package import read_out_of_fold
from training.stages import fit
from training.stages.context import load_context
from training.stages.trial import evaluation_trials, fit_trial
from training.tracking import STUDY, TRIAL, study_name
from training.trials import Status
from training.trials.session import open_ledger

pytestmark = pytest.mark.heavy
LINEAGE = "synthetic"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace in which one model was trained, and the state that counted it."""
    folder = tmp_path_factory.mktemp("fitted")
    models = parameters()["models"] | {"components": ["xgboost"]}
    models["xgboost"] |= {"rounds": 15}
    make_workspace(folder / "workspace", 0.5, steps=700, models=models)
    before, variable = Path.cwd(), os.environ.get("TIDEGATE_STATE_DIRECTORY")
    os.chdir(folder / "workspace")
    os.environ["TIDEGATE_STATE_DIRECTORY"] = str(folder / "state")
    get_settings.cache_clear()
    try:
        fit.train("xgboost")
    finally:
        os.chdir(before)
        os.environ.pop("TIDEGATE_STATE_DIRECTORY")
        if variable is not None:
            os.environ["TIDEGATE_STATE_DIRECTORY"] = variable
        get_settings.cache_clear()
    return folder


@pytest.fixture
def workspace(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, and this process inside."""
    shutil.copytree(fitted, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy" / "workspace")
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "copy" / "state"))
    monkeypatch.delenv("TIDEGATE_DATABASE__URL", raising=False)
    get_settings.cache_clear()
    yield tmp_path / "copy" / "workspace"
    get_settings.cache_clear()


def change(workspace: Path, section: str, **values: Any) -> None:
    """Change parameters of a workspace."""
    content = yaml.safe_load((workspace / "params.yaml").read_text())
    content[section] |= values
    (workspace / "params.yaml").write_text(yaml.safe_dump(content))


def test_a_fit_is_one_trial_with_its_folds_and_its_returns(workspace: Path) -> None:
    context = load_context()
    with open_ledger() as ledger:
        (row,) = ledger.trials(LINEAGE)
        times, matrix = ledger.returns([row.id])
        assert ledger.verify(LINEAGE) == [] and ledger.count(LINEAGE) == 1
    assert (row.status, row.kind, row.subject, row.study) == (
        Status.COMPLETED, "fit", "xgboost", study_name(context.lineage)
    )  # fmt: skip
    written = read_json(workspace / "models/xgboost/training.json")
    assert [(one.number, one.loss, one.rows) for one in row.folds] == [
        (one["fold"], one["log_loss"], one["test_rows"]) for one in written["folds"]
    ]
    assert row.parameters["model"]["rounds"] == 15 and row.parameters["labels"]["horizon"] == 1
    assert row.data_digest == context.lineage.data_digest
    tested = read_out_of_fold(workspace / "models/xgboost", context.dataset).rows
    assert np.array_equal(times, np.unique(context.dataset.time_ns[tested])) and matrix.shape == (len(times), 1)
    assert row.values["sharpe"] == pytest.approx(matrix.mean() / matrix.std() * np.sqrt(260))


def test_the_run_carries_the_trial_and_the_parent_run_is_the_study(workspace: Path) -> None:
    tracker = load_context().tracker()
    with open_ledger() as ledger:
        (row,) = ledger.trials(LINEAGE)
    run = tracker.client.get_run(row.run)
    assert run.data.tags[TRIAL] == row.id and run.data.tags[STUDY] == row.study
    parent = tracker.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags[STUDY] == parent.info.run_name == row.study


def test_the_same_returns_are_counted_once_and_another_sizing_again(workspace: Path) -> None:
    def evaluate() -> tuple[str, ...]:
        context = load_context()
        predictions = {"xgboost": read_out_of_fold(workspace / "models/xgboost", context.dataset)}
        with evaluation_trials(context, predictions) as counted:
            return counted

    assert evaluate() == ()
    change(workspace, "evaluation", bootstrap_draws=200)
    assert evaluate() == (), "other intervals are no other returns"
    change(workspace, "strategy", rebalance_threshold=0.3)
    assert evaluate() == ("xgboost",)
    assert evaluate() == ()
    with open_ledger() as ledger:
        fitted, judged = ledger.trials(LINEAGE)
        assert (judged.kind, judged.status, judged.parameters["strategy"]["rebalance_threshold"]) == (
            "backtest", Status.COMPLETED, 0.3
        )  # fmt: skip
        assert judged.values["log_loss"] == fitted.values["log_loss"]
        assert judged.values["turnover_a_year"] < fitted.values["turnover_a_year"]


def test_a_fit_that_breaks_is_a_failed_trial_and_the_next_one_a_further_attempt(workspace: Path) -> None:
    context = load_context()
    tracker, options = context.tracker(), context.model_parameters("xgboost")
    with (
        pytest.raises(MemoryError),
        tracker.fit("xgboost", options) as run,
        fit_trial(context, run, "xgboost", options) as trial,
    ):
        trial.fold(0, 1.1)
        raise MemoryError("the matrix is too large")
    with open_ledger() as ledger:
        first, second = ledger.trials(LINEAGE)
    assert (first.attempt, second.attempt) == (1, 2)
    assert (second.status, second.reason) == (Status.FAILED, "MemoryError: the matrix is too large")
    assert [fold.loss for fold in second.folds] == [1.1]


def test_nothing_is_fitted_that_cannot_be_counted(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (workspace / "models/xgboost/model.onnx").stat().st_mtime_ns
    monkeypatch.setenv("TIDEGATE_DATABASE__URL", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    get_settings.cache_clear()
    with pytest.raises(UnavailableError, match="trials are not run uncounted"):
        fit.train("xgboost")
    assert (workspace / "models/xgboost/model.onnx").stat().st_mtime_ns == before
