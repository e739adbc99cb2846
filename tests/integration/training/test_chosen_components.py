"""Which models are trained is a parameter: the stages train, blend and judge the chosen ones and no other."""

import os
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from synthetic_market import make_workspace, parameters

from core.digest import digest_file
from core.errors import BadInputError, IntegrityError, UsageError
from core.files import read_json
from core.settings import get_settings
from serving.release.evidence import Manifest
from training.dataset import DATASET, load_dataset
from training.models import create
from training.package import read_native, read_out_of_fold
from training.parameters import parse
from training.splits import WalkForward
from training.stages import fit, judge
from training.walkforward import walk_forward

pytestmark = pytest.mark.heavy
MODELS: dict[str, Any] = {
    **parameters()["models"],
    "components": ["gru", "xgboost"],
    "blend": {"method": "stacking", "ridge": 0.01},
    "gru": {"lookback": 3, "hidden": 6, "epochs": 3, "batch_size": 128, "learning_rate": 0.02, "accelerator": "cpu"},
    "xgboost": {
        "rounds": 40,
        "learning_rate": 0.1,
        "minimum_child_weight": 10,
        "early_stopping": 10,
        "monotone": {"signal": 1},
        "incremental": True,
        "refit_rounds": 7,
    },
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A workspace in which two models were trained, blended and judged; this process stands in it."""
    folder, before, state = tmp_path_factory.mktemp("chosen"), Path.cwd(), os.environ.get("TIDEGATE_STATE_DIRECTORY")
    make_workspace(folder / "workspace", 0.5, models=MODELS)
    os.chdir(folder / "workspace")
    os.environ["TIDEGATE_STATE_DIRECTORY"] = str(folder / "state")
    get_settings.cache_clear()
    for name in MODELS["components"]:
        fit.train(name)
    fit.blend()
    judge.evaluation()
    yield folder / "workspace"
    os.chdir(before)
    os.environ.pop("TIDEGATE_STATE_DIRECTORY")
    if state is not None:
        os.environ["TIDEGATE_STATE_DIRECTORY"] = state
    get_settings.cache_clear()


def test_only_the_chosen_ones_are_trained_and_judged(workspace: Path) -> None:
    assert sorted(path.stem for path in (workspace / "lineage/models").iterdir()) == ["gru", "xgboost"]
    content = read_json(workspace / "reports/evaluation/evaluation.json")
    assert set(content["models"]) == {"blend", "gru", "xgboost"}
    assert all(entry["skill"]["low"] > 0 for entry in content["models"].values())
    made_of = Manifest.load(workspace / "models/blend").parameters
    assert set(made_of["components"]) == {"gru", "xgboost"}
    assert set(made_of["weights"]) == {"gru_direction", "gru_flatness", "xgboost_direction", "xgboost_flatness"}
    with pytest.raises(UsageError, match=r"lstm is not in params\.yaml models\.components"):
        fit.train("lstm")
    assert not (workspace / "models/lstm").exists()


def test_the_digest_that_later_stages_depend_on_is_that_of_the_whole_folder(workspace: Path) -> None:
    from core.digest import digest_files

    folder = workspace / "models/gru"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"model.onnx", "out_of_fold.parquet", "training.json", "network.npz"}
    assert (workspace / "lineage/models/gru.txt").read_text().strip() == digest_files(folder, files)


def test_the_native_model_is_in_the_package_and_answers_as_the_graph_does(workspace: Path) -> None:
    from training.models import graph
    from training.models.calibration import Slopes
    from training.package import read_training

    content = parse(yaml.safe_load((workspace / "params.yaml").read_text()))
    native = read_native("xgboost", content, workspace / "models/xgboost")
    with np.load(workspace / "models/xgboost/warmup.npz") as archive:
        inputs, outputs = archive["inputs"], archive["outputs"]
    slopes = read_training(workspace / "models/xgboost").calibration
    # The calibration is known up to the frequencies of the last window: the direction's order stays.
    said = native.predict_proba(inputs)
    assert (np.argsort(said[:, 2] / said[:, 0]) == np.argsort(outputs[:, 2] / outputs[:, 0])).all()
    assert 0.0 < slopes["direction_slope"] <= Slopes().direction
    raw = graph.run(graph.to_bytes(native.graph()), inputs)
    assert raw == pytest.approx(said, abs=1e-5)
    chosen = read_json(workspace / "reports/evaluation/evaluation.json")["chosen"]
    if chosen != "blend":
        assert (workspace / "models/chosen/native").is_dir()


def test_a_native_model_that_was_changed_is_not_opened(workspace: Path) -> None:
    content = parse(yaml.safe_load((workspace / "params.yaml").read_text()))
    path = workspace / "models/xgboost/native/xgboost.json"
    before, digest = path.read_bytes(), digest_file(path)
    try:
        path.write_bytes(before + b" ")
        with pytest.raises(IntegrityError, match="is not what training wrote: do not open it"):
            read_native("xgboost", content, workspace / "models/xgboost")
    finally:
        path.write_bytes(before)
    assert digest_file(path) == digest
    with pytest.raises(BadInputError, match="holds no native model"):
        read_native("blend", content, workspace / "models/blend")


def test_an_incremental_model_is_fitted_once_and_refitted_from_fold_to_fold(workspace: Path) -> None:
    content = parse(yaml.safe_load((workspace / "params.yaml").read_text()))
    described = read_json(workspace / "data/processed/features/features.json")
    dataset = load_dataset(workspace / DATASET, described["columns"], 1)
    options = content.validation
    folds = WalkForward(options.folds, options.train_steps, options.embargo).folds_of(
        dataset.time_ns, dataset.label_end_ns
    )
    said: list[np.ndarray] = []
    model = create("xgboost", content)
    for number, fold in enumerate(folds):
        (model.fit if number == 0 else model.refit)(dataset.training_data(fold.train, 1))
        said.append(model.predict_proba(dataset.view(fold.test, 1)))
    rounds: list[float] = []
    walked = walk_forward(
        dataset, folds, lambda: create("xgboost", content), lambda n, loss, m: rounds.append(m.fitted()["rounds"])
    )
    assert (walked.raw == np.concatenate(said)).all()
    assert (walked.raw == read_out_of_fold(workspace / "models/xgboost", dataset).raw).all()
    assert all(0 <= after - before <= 7 for before, after in pairwise(rounds))
