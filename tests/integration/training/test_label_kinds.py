"""Triple-barrier and meta-labels through the stages, from the rows to the package and its evaluation."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic_market import FEATURES, make_workspace

from core.errors import BadInputError
from core.files import read_json
from core.settings import get_settings
from training.dataset import DATASET, load_dataset, write_table
from training.label_parameters import LabelParameters, PrimaryParameters
from training.labels import FLAT, LONG, SHORT
from training.labels.primary import primary_rule, take_side
from training.models import graph
from training.package import CHOSEN
from training.stages import fit, judge
from training.stages.context import load_context

pytestmark = pytest.mark.heavy

MODELS = {
    "chosen": "best",
    "components": ["xgboost", "random_forest"],
    "xgboost": {"rounds": 60, "learning_rate": 0.1, "minimum_child_weight": 10, "early_stopping": 15},
    "random_forest": {"trees": 25, "maximum_depth": 4, "minimum_leaf": 20, "sample_share": 0.6},
}
RULE = {"feature": "signal", "threshold": 0.2}


def enter(workspace: Path, state: Path) -> None:
    os.chdir(workspace)
    os.environ["TIDEGATE_STATE_DIRECTORY"] = str(state)
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def process_state() -> Generator[None]:
    folder, state = Path.cwd(), os.environ.get("TIDEGATE_STATE_DIRECTORY")
    yield
    os.chdir(folder)
    os.environ.pop("TIDEGATE_STATE_DIRECTORY", None)
    if state is not None:
        os.environ["TIDEGATE_STATE_DIRECTORY"] = state
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


def workspace(folder: Path, kind: str) -> Path:
    """Make a workspace whose labels look some steps ahead; the side of meta-labels is that of the planted signal."""
    labels: dict[str, Any] = {"kind": kind, "horizon": 2 if kind == "meta_labels" else 3, "minimum_edge": 1.0}
    if kind == "meta_labels":
        labels["primary"] = RULE
    made = make_workspace(folder, 0.8 if kind == "meta_labels" else 0.5, labels=labels, models=MODELS)
    if kind == "meta_labels":
        table = pq.read_table(made / DATASET)
        columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
        rule = primary_rule(LabelParameters(2, kind="meta_labels", primary=PrimaryParameters(**RULE)), FEATURES)
        assert rule is not None
        columns = take_side(columns, rule.sides_of(columns["signal"]))
        cutoff = table.schema.metadata[b"tidegate.cutoff_ns"].decode()
        write_table(made / DATASET, columns, {"cutoff_ns": cutoff})
    return made


def retrain() -> dict[str, Any]:
    for name in MODELS["components"]:
        fit.train(name)
    fit.blend()
    judge.evaluation()
    return read_json(Path("reports/evaluation/evaluation.json"))


def test_triple_barrier_labels_are_learnt_and_weighed_by_their_own_spans(tmp_path: Path, state: Path) -> None:
    enter(workspace(tmp_path / "barrier", "triple_barrier"), state)
    dataset = load_dataset(DATASET, FEATURES, 3)
    assert dataset.end_bar is not None and dataset.side is None
    spans = dataset.end_bar - dataset.bar
    assert spans.min() == 1 and spans.max() == 3
    assert dataset.weights[spans == 1].mean() > dataset.weights[spans == 3].mean()
    context = load_context()
    for fold in context.folds:
        assert dataset.label_end_ns[fold.train].max() < dataset.time_ns[fold.test].min()
    content = retrain()
    assert content["models"][content["chosen"]]["skill"]["low"] > 0.0
    assert content["models"][content["chosen"]]["hit_rate"]["low"] > 0.5
    trades = content["models"][content["chosen"]]["label_trades"]
    assert trades["trades"] > 100 and trades["net_return_a_trade"]["low"] > 0.0
    assert trades["share_with_profit"] > 0.5


def test_meta_labels_take_or_skip_the_given_side_also_inside_the_graph(tmp_path: Path, state: Path) -> None:
    enter(workspace(tmp_path / "meta", "meta_labels"), state)
    content = retrain()
    context = load_context()
    dataset, rule = context.dataset, context.rule
    assert rule is not None and dataset.side is not None
    assert np.array_equal(rule.sides(dataset.features), dataset.side)
    sided = dataset.side != 0
    assert ((dataset.label != FLAT) <= sided).all() and (dataset.weights[~sided] == 0.0).all()
    answers = graph.run((CHOSEN / "model.onnx").read_bytes(), dataset.windows(np.arange(len(dataset.label)), 1))
    assert np.array_equal(answers[dataset.side <= 0, LONG], np.zeros((dataset.side <= 0).sum()))
    assert np.array_equal(answers[dataset.side >= 0, SHORT], np.zeros((dataset.side >= 0).sum()))
    assert (answers[~sided] == [0.0, 1.0, 0.0]).all()
    # Whoever only knows how often each side pays is the reference, and is told the side as the models are.
    test = np.concatenate([fold.test for fold in context.folds])
    share = (dataset.label[test] != FLAT)[sided[test]].mean()
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)) * sided[test].mean()
    assert content["baselines"]["climatology"]["log_loss"] == pytest.approx(entropy, rel=0.03)
    # The planted signal tells not only the side but, by its size, whether the side pays.
    best = content["models"][content["chosen"]]
    assert best["skill"]["low"] > 0.0
    assert best["hit_rate"]["value"] >= share


def test_a_class_that_never_occurs_and_an_unknown_primary_feature_end_before_a_run(tmp_path: Path, state: Path) -> None:
    made = make_workspace(tmp_path / "flat", 0.5, labels={"horizon": 1, "minimum_edge": 500.0}, models=MODELS)
    enter(made, state)
    with pytest.raises(BadInputError, match="class short never occurs"):
        fit.train("xgboost")
    other = {"kind": "meta_labels", "horizon": 3, "primary": {"feature": "nothing"}}
    text = (made / "params.yaml").read_text()
    assert "minimum_edge: 500.0" in text
    import yaml

    content = yaml.safe_load(text) | {"labels": other}
    (made / "params.yaml").write_text(yaml.safe_dump(content))
    from training.stages import prepare

    with pytest.raises(BadInputError, match=r"labels.primary.feature 'nothing' is no column"):
        prepare.labels()
    assert not (made / "models").exists()
