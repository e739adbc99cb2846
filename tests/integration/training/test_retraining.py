"""The stages from dataset to registry on made-up markets: with signal, without, twice, and on broken input."""

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import yaml
from synthetic_market import FEATURES, make_workspace

from core.database import create_engine
from core.digest import digest_file
from core.errors import BadInputError, IntegrityError
from core.files import read_json
from core.settings import get_settings
from serving.release.evidence import Evidence, Manifest, verify_package
from tidegate.evidence import Judged, judge_registered
from tidegate.platform import Addresses
from training.evidence import Bundle, GatePolicy
from training.stages import fit, judge, register
from training.tracking import MODEL, RESTORED, RETRAINING

COMPONENTS = ("lstm", "random_forest", "xgboost")
MODELS = (*COMPONENTS, "blend")
Enter = Callable[[Path, Path], None]
# The planted column is stronger than any honest one, and gone a step later: what a leak looks like. The gate says so.
WITHOUT_LEAK_CHECKS = {"leak_checks": False}


def enter(workspace: Path, state: Path) -> None:
    """Make a folder the workspace of this process, with its own state."""
    os.chdir(workspace)
    os.environ["TIDEGATE_STATE_DIRECTORY"] = str(state)
    get_settings.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def process_state() -> Generator[None]:
    """Give the process back its folder and settings."""
    folder, state = Path.cwd(), os.environ.get("TIDEGATE_STATE_DIRECTORY")
    yield
    os.chdir(folder)
    os.environ.pop("TIDEGATE_STATE_DIRECTORY", None)
    if state is not None:
        os.environ["TIDEGATE_STATE_DIRECTORY"] = state
    get_settings.cache_clear()


def retrain() -> dict[str, Any]:
    """Run every stage after the dataset."""
    for name in COMPONENTS:
        fit.train(name)
    fit.blend()
    judge.evaluation()
    register.register()
    return read_json(Path("models/registered.json"))


@pytest.fixture(scope="module")
def signal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A retraining on a market with a strong planted signal: workspace, state and registration."""
    folder = tmp_path_factory.mktemp("signal")
    make_workspace(folder / "workspace", 0.5, gate=WITHOUT_LEAK_CHECKS)
    enter(folder / "workspace", folder / "state")
    return folder / "workspace", folder / "state", retrain()


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A retraining on a market that nothing can predict."""
    folder = tmp_path_factory.mktemp("noise")
    make_workspace(folder / "workspace", 0.0)
    enter(folder / "workspace", folder / "state")
    return folder / "workspace", folder / "state", retrain()


pytestmark = pytest.mark.heavy


def test_models_find_a_planted_signal_and_the_gate_lets_the_best_through(signal: Any) -> None:
    workspace, _, registered = signal
    content = read_json(workspace / "reports/evaluation/evaluation.json")
    for name in MODELS:
        entry = content["models"][name]
        assert entry["skill"]["low"] > 0, name
        assert entry["hit_rate"]["low"] > 0.5, name
        assert entry["strategy"]["sharpe"]["low"] > 0, name
        assert entry["strategy"]["cost_a_year"] > 0, name
    assert content["bootstrap"] == {"draws": 300, "block_length": 20}
    assert content["models"]["lstm"]["direction_skill"]["low"] > 0
    assert content["beats_baselines"] is True
    assert content["verdict"]["passed"] is True
    assert registered["verdict"] == "passed"
    losses = {name: content["models"][name]["log_loss"] for name in MODELS}
    assert content["chosen"] == min(losses, key=losses.__getitem__) == registered["model"]


def test_the_signal_is_what_the_trees_say_matters(signal: Any) -> None:
    for name in ("xgboost", "random_forest"):
        shares = read_json(signal[0] / "models" / name / "training.json")["importance"]
        assert set(shares) == set(FEATURES)
        assert max(shares, key=shares.__getitem__) == "signal"
        assert shares["constant"] == 0.0


def test_the_package_is_what_serving_accepts(signal: Any) -> None:
    workspace, _, registered = signal
    package = verify_package(workspace / "models/chosen")
    assert package.model_digest == registered["model_digest"]
    assert package.evidence.out_of_sample["models"].keys() == set(MODELS)
    assert package.manifest.train_end_ns < package.evidence.out_of_sample["cutoff_ns"]
    rules = {rule.rule: rule for rule in package.evidence.verdict.rules}
    assert set(rules) == {
        "beats_climatology", "direction_skill", "beats_baselines", "profit_after_cost", "calibration", "fold_stability",
        "deflated_sharpe", "superior_to_flat", "overfitting", "loss_out_of_sample", "cost_stress", "capacity",
        "regimes", "drift_at_cutoff", "complete_ledger", "onnx_parity", "model_size",
    }  # fmt: skip
    assert rules["onnx_parity"].value is not None and rules["onnx_parity"].value < 1e-5
    inputs = package.session.warmup_inputs
    assert np.isnan(inputs).any(), "the warm-up must try missing values"


def test_pure_noise_fails_the_gate_and_says_so(noise: Any) -> None:
    workspace, _, registered = noise
    content = read_json(workspace / "reports/evaluation/evaluation.json")
    assert content["beats_baselines"] is False
    assert "No model beats the baselines" in content["words"]
    assert content["verdict"]["passed"] is False
    failed = {rule["rule"] for rule in content["verdict"]["rules"] if not rule["passed"]}
    assert {"beats_climatology", "deflated_sharpe", "superior_to_flat"} <= failed
    assert registered["verdict"] == "failed"
    evidence = Evidence.load(workspace / "models/chosen")
    assert not evidence.verdict.passed


def test_every_number_of_the_bundle_is_traced_to_rows_of_the_ledger(signal: Any) -> None:
    from training.trials.session import open_ledger

    workspace, state, _ = signal
    enter(workspace, state)
    bundle = Bundle.load(workspace / "reports/evaluation/bundle.json")
    evidence = Evidence.load(workspace / "models/chosen")
    assert evidence.bundle_digest == bundle.digest == digest_file(workspace / "reports/evaluation/bundle.json")
    record, search = bundle.record, bundle.search
    assert record is not None and search is not None
    with open_ledger() as ledger:
        assert {row.id for row in ledger.trials(lineage=record.lineage)} == {row.id for row in record.rows}
        times, matrix = ledger.returns(record.used)
        own = ledger.trials(ids=[record.candidate])[0]
    assert own.subject == bundle.candidate
    assert (search.trials, search.series, search.steps) == (len(record.rows), matrix.shape[1], len(times))
    returns = matrix[:, record.used.index(record.candidate)]
    assert search.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    page = (workspace / "reports/evaluation/bundle.html").read_text()
    assert bundle.digest in page and record.candidate in page and "deflated_sharpe" in page


def test_a_registered_version_is_judged_again_by_todays_policy_ledger_and_machine(signal: Any) -> None:
    workspace, state, registered = signal
    enter(workspace, state)
    settings = get_settings()
    addresses = Addresses(settings=settings, state=state, mlflow_uri=settings.mlflow_tracking_uri)

    def asked(**changes: Any) -> Judged:
        policy = GatePolicy.from_params({"gate": WITHOUT_LEAK_CHECKS | changes})
        return judge_registered(addresses, registered["name"], registered["version"], policy)

    found = asked()
    assert found.verdict.passed
    assert {"latency", "ledger_now"} <= {rule.rule for rule in found.verdict.rules}
    strict = asked(leak_checks=True, maximum_latency_milliseconds=1e-9)
    refused = {rule.rule: rule for rule in strict.verdict.rules if not rule.passed}
    assert set(refused) == {"leak_checks", "latency"}
    assert "signal" in refused["leak_checks"].words
    engine = create_engine(f"sqlite:///{state / 'trials/trials.db'}")
    statement = sa.text("update trials set returns_digest = :new where returns_digest = :old")
    own = next(row.series for row in found.bundle.record.rows if row.id == found.bundle.record.candidate)
    try:
        with engine.begin() as connection:
            connection.execute(statement, {"old": own, "new": "another"})
        assert [rule.rule for rule in asked().verdict.rules if not rule.passed] == ["ledger_now"]
    finally:
        with engine.begin() as connection:
            connection.execute(statement, {"old": "another", "new": own})
        engine.dispose()
    assert asked().verdict.passed
    with pytest.raises(BadInputError, match="no version 99"):
        judge_registered(addresses, registered["name"], "99", GatePolicy())


def test_two_retrainings_give_the_same_digests(signal: Any, tmp_path: Path) -> None:
    workspace, _, registered = signal
    make_workspace(tmp_path / "again", 0.5, gate=WITHOUT_LEAK_CHECKS)
    enter(tmp_path / "again", tmp_path / "state")
    again = retrain()
    for key in ("model_digest", "manifest_digest", "evidence_digest", "data_digest", "retraining"):
        assert again[key] == registered[key], key
    for name in MODELS:
        for file in ("model.onnx", "manifest.json", "warmup.npz", "out_of_fold.parquet", "training.json"):
            assert digest_file(tmp_path / "again/models" / name / file) == digest_file(
                workspace / "models" / name / file
            )
    pictures = sorted(path.name for path in (workspace / "reports/evaluation").glob("*.png"))
    assert pictures == ["calibration.png", "equity.png", "feature_importance.png", "log_loss.png"]
    for name in pictures:
        folder = "reports/evaluation"
        assert digest_file(tmp_path / "again" / folder / name) == digest_file(workspace / folder / name)


def test_mlflow_holds_the_whole_story(signal: Any) -> None:
    from mlflow import MlflowClient

    workspace, state, registered = signal
    enter(workspace, state)
    client = MlflowClient(tracking_uri=get_settings().mlflow_tracking_uri)
    experiment = client.get_experiment(registered["experiment_id"])
    assert experiment.name == "tidegate-synthetic"
    assert str(state / "mlflow/artifacts") in experiment.artifact_location
    runs = client.search_runs([experiment.experiment_id], f"tags.`{RETRAINING}` = '{registered['retraining']}'")
    by_model = {run.data.tags[MODEL]: run for run in runs}
    assert set(by_model) == {*MODELS, "retraining"} and len(runs) == 5
    assert {run.info.status for run in runs} == {"FINISHED"}
    for name in MODELS:
        run = by_model[name]
        assert run.data.tags["mlflow.parentRunId"] == registered["parent_run_id"]
        assert {"skill", "skill_low", "log_loss", "strategy_sharpe", "onnx_parity"} <= run.data.metrics.keys()
        history = client.get_metric_history(run.info.run_id, "fold_log_loss")
        assert [point.step for point in history] == [1, 2, 3]
        assert run.data.tags["lineage.data_digest"] == registered["data_digest"]
        assert len(run.data.tags["lineage.environment_digest"]) == 64
    assert by_model["xgboost"].data.params["learning_rate"] == "0.1"
    parent = by_model["retraining"]
    assert parent.data.params["validation.folds"] == "3"
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id, "evaluation")}
    assert "evaluation/equity.png" in artifacts and "evaluation/evaluation.json" in artifacts
    listed = client.download_artifacts(parent.info.run_id, "environment/requirements.txt")
    assert "onnxruntime==" in Path(listed).read_text()


def test_the_version_has_signature_example_lineage_and_package(signal: Any, tmp_path: Path) -> None:
    import mlflow

    workspace, state, registered = signal
    enter(workspace, state)
    client = mlflow.MlflowClient(tracking_uri=get_settings().mlflow_tracking_uri)
    version = client.get_model_version(registered["name"], registered["version"])
    assert version.run_id == registered["run_id"]
    assert version.tags["lineage.model_digest"] == registered["model_digest"]
    assert version.tags["gate.verdict"] == "passed" and version.tags["gate.rule.onnx_parity"] == "passed"
    for tag in ("lineage.data_digest", "lineage.feature_digest", "lineage.git_commit"):
        assert version.tags[tag]
    mlflow.set_tracking_uri(get_settings().mlflow_tracking_uri)
    model = mlflow.models.get_model_info(f"models:/{registered['name']}/{registered['version']}")
    manifest = Manifest.load(workspace / "models/chosen")
    assert model.signature.inputs.inputs[0].shape == (-1, manifest.lookback, len(manifest.features))
    assert model.saved_input_example_info is not None
    folder = client.download_artifacts(version.run_id, "package", str(tmp_path))
    assert verify_package(Path(folder)).evidence_digest == registered["evidence_digest"]
    loaded = mlflow.onnx.load_model(f"models:/{registered['name']}/{registered['version']}")
    assert loaded.graph.input[0].name == "features"


def test_registering_again_makes_no_second_version(signal: Any) -> None:
    from mlflow import MlflowClient

    workspace, state, registered = signal
    enter(workspace, state)
    register.register()
    assert read_json(workspace / "models/registered.json") == registered
    client = MlflowClient(tracking_uri=get_settings().mlflow_tracking_uri)
    assert len(client.search_model_versions(f"name = '{registered['name']}'")) == 1


def test_results_from_a_cache_are_logged_to_a_store_that_never_saw_them(signal: Any, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    workspace, _, registered = signal
    before = (workspace / "models/registered.json").read_bytes()
    enter(workspace, tmp_path / "other")
    register.register()
    again = read_json(workspace / "models/registered.json")
    (workspace / "models/registered.json").write_bytes(before)
    assert again["evidence_digest"] == registered["evidence_digest"]
    client = MlflowClient(tracking_uri=get_settings().mlflow_tracking_uri)
    run = client.get_run(again["run_id"])
    assert run.data.tags[RESTORED] == "true"
    assert "skill" in run.data.metrics
    assert len(client.get_metric_history(again["run_id"], "fold_log_loss")) == 3


def test_a_failed_fit_is_a_failed_run_and_an_abandoned_one_is_ended(signal: Any) -> None:
    from training.stages.context import load_context

    workspace, state, _ = signal
    enter(workspace, state)
    tracker = load_context().tracker()
    with pytest.raises(RuntimeError, match="boom"), tracker.fit("doomed", {"depth": 1}) as run:
        raise RuntimeError("boom")
    assert tracker.client.get_run(run.run_id).info.status == "FAILED"
    abandoned = tracker.fit("doomed", {})
    left = abandoned.__enter__().run_id  # as a killed process leaves it
    with tracker.fit("doomed", {}):
        pass
    assert tracker.client.get_run(left).info.status == "KILLED"
    assert tracker.find("doomed", "no such digest") is None


def test_predictions_of_another_dataset_are_refused(signal: Any, noise: Any) -> None:
    from training.package import read_out_of_fold
    from training.stages.context import load_context

    enter(signal[0], signal[1])
    dataset = load_context().dataset
    shorter = dataset.features[:0]
    other = type(dataset)(
        dataset.instruments, dataset.instrument[:0], dataset.time_ns[:0], dataset.label_end_ns[:0], dataset.bar[:0],
        dataset.label[:0], shorter, dataset.feature_names, {}, dataset.cutoff_ns, 1,
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="trained on another dataset"):
        read_out_of_fold(noise[0] / "models/xgboost", other)


def test_rows_of_the_holdout_stop_every_fit(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from training.dataset import DATASET, load_dataset

    make_workspace(tmp_path, 0.1, steps=600)
    table = pq.read_table(tmp_path / DATASET)
    earlier = str(int(table["time_ns"].to_numpy()[-40]))
    pq.write_table(table.replace_schema_metadata({"tidegate.cutoff_ns": earlier}), tmp_path / DATASET)
    with pytest.raises(IntegrityError, match="reach into the holdout"):
        load_dataset(tmp_path / DATASET, FEATURES, 1)


def test_a_longer_horizon_and_an_anchored_scheme_work_by_parameters_alone(tmp_path: Path) -> None:
    make_workspace(
        tmp_path / "workspace",
        0.5,
        labels={"kind": "fixed_horizon", "horizon": 4, "minimum_edge": 1.5},
        validation={"scheme": "anchored", "folds": 2, "train_steps": 500, "embargo": 4},
    )
    enter(tmp_path / "workspace", tmp_path / "state")
    fit.train("xgboost")
    report = read_json(Path("models/xgboost/training.json"))
    assert [fold["train_rows"] for fold in report["folds"]] == sorted(fold["train_rows"] for fold in report["folds"])
    assert Manifest.load(Path("models/xgboost")).horizon == 4


def stage(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a stage as DVC does."""
    environment = os.environ | {"TIDEGATE_STATE_DIRECTORY": str(workspace / "state")}
    command = [sys.executable, "-m", "training.stages", *arguments]
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=120)


def test_the_command_line_answers_bad_input_with_one_line_and_its_code(tmp_path: Path) -> None:
    missing = stage(tmp_path, "train", "xgboost")
    assert (missing.returncode, missing.stderr.count("\n")) == (5, 1)
    assert "params.yaml not found" in missing.stderr
    make_workspace(tmp_path, 0.1, steps=600)
    assert stage(tmp_path, "train").returncode == 2
    assert stage(tmp_path, "nonsense").returncode == 2
    assert stage(tmp_path, "train", "perceptron").returncode == 2
    short = stage(tmp_path, "blend")
    assert short.returncode == 5 and "run the train" in short.stderr.splitlines()[-1]
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    content["labels"]["horizont"] = 3
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    typo = stage(tmp_path, "train", "xgboost")
    assert typo.returncode == 5 and "horizont" in typo.stderr
    assert not (tmp_path / "models").exists()


def test_the_code_stage_writes_a_digest_per_room_and_touches_nothing_the_second_time(tmp_path: Path) -> None:
    assert stage(tmp_path, "code").returncode == 0
    files = {room: tmp_path / "lineage/code" / f"{room}.txt" for room in ("data", "features", "training")}
    before = {room: path.stat().st_mtime_ns for room, path in files.items()}
    assert all(len(path.read_text().strip()) == 64 for path in files.values())
    assert stage(tmp_path, "code").returncode == 0
    assert before == {room: path.stat().st_mtime_ns for room, path in files.items()}


def test_a_store_that_does_not_answer_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_workspace(tmp_path, 0.1, steps=600)
    monkeypatch.setenv("TIDEGATE_MLFLOW__TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = stage(tmp_path, "train", "xgboost")
    assert result.returncode == 4
    assert "MLflow at http://127.0.0.1:9 does not answer" in result.stderr


def test_params_errors_name_the_key() -> None:
    from synthetic_market import parameters

    from training.parameters import parse

    with pytest.raises(BadInputError, match=r"validation\.folds must be at least 1"):
        parse(parameters(folds=0))
    content = parameters()
    del content["costs"]
    with pytest.raises(BadInputError, match="no key 'costs'"):
        parse(content)
