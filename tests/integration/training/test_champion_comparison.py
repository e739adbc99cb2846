"""The candidate against the registry's champion: on rows both saw for the first time, or a reason why not."""

from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient
from synthetic_market import make_workspace

from core.files import read_json
from core.params import read_params
from training.dataset import DATASET, Dataset, load_dataset
from training.evidence.candidate import Candidate
from training.evidence.champion import compare, find_champion
from training.evidence.paths import CANDIDATE, CHAMPION, champion_path, equity_path
from training.package import OUT_OF_FOLD, TrainingReport, write_training
from training.parameters import Parameters, parse
from training.registry import MODEL_DIGEST
from training.splits import Split, WalkForward
from training.walkforward import OutOfFold

NAME = "tidegate-synthetic"
Market = tuple[Dataset, list[Split], Parameters]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    folder = make_workspace(tmp_path_factory.mktemp("champion") / "w", 0.4, steps=700)
    parameters = parse(read_params(folder / "params.yaml"))
    columns = read_json(folder / "data/processed/features/features.json")["columns"]
    dataset = load_dataset(folder / DATASET, columns, 1)
    return dataset, WalkForward(3, 400, 5).folds_of(dataset.time_ns, dataset.label_end_ns), parameters


def predictions(market: Market, tilt: float) -> OutOfFold:
    """Return answers that follow the planted column with this slope."""
    dataset, folds, _ = market
    rows = np.concatenate([fold.test for fold in folds])
    signal = dataset.features[rows, dataset.feature_names.index("signal")].astype(np.float64)
    logits = np.column_stack([-tilt * signal, np.full(len(rows), -1.0), tilt * signal])
    answer = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    fold = np.concatenate([np.full(len(part.test), part.number) for part in folds])
    return OutOfFold(rows, fold, answer, answer)


@pytest.fixture(scope="module")
def registry(market: Market, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    """A registry in which version 1 is the champion, with its out-of-fold predictions, and ``bare`` has lost them."""
    folder = tmp_path_factory.mktemp("registry")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("champions", str(folder / "artifacts"))
    write_training(
        folder / "champion",
        market[0],
        predictions(market, 0.4),
        TrainingReport(name="champion", folds=(), fitted={}, calibration={}, parity=0.0),
    )
    for name in (NAME, "bare"):
        run = client.create_run(experiment).info.run_id
        if name == NAME:
            client.log_artifact(run, str(folder / "champion" / OUT_OF_FOLD), "model_files")
        client.create_registered_model(name)
        version = client.create_model_version(name, f"runs:/{run}/model", run, {MODEL_DIGEST: "abc"})
        client.set_registered_model_alias(name, "champion", version.version)
    return client


def test_a_worse_candidate_is_told_so_and_a_better_one_is_not(market: Market, registry: MlflowClient) -> None:
    dataset, folds, parameters = market
    strong, weak = predictions(market, 0.4), predictions(market, -0.4)
    found = find_champion(registry, NAME, dataset)
    assert not isinstance(found, str)
    version, digest, champion = found
    assert (version, digest) == ("1", "abc")
    np.testing.assert_array_equal(champion.rows, strong.rows)
    worse = compare(Candidate.of("model", dataset, folds, weak, parameters), version, digest, champion)
    assert not isinstance(worse, str)
    assert worse.p_worse < 0.001 and worse.low > 0
    same = compare(Candidate.of("model", dataset, folds, strong, parameters), version, digest, champion)
    assert not isinstance(same, str)
    assert (same.difference, same.p_worse) == (0.0, 1.0)


def test_a_champion_of_older_data_is_compared_where_it_can_be_and_else_says_why(
    market: Market, registry: MlflowClient
) -> None:
    dataset, folds, parameters = market
    strong = predictions(market, 0.4)
    # The candidate's data begin later, and lack an instrument.
    kept = (dataset.time_ns > np.median(dataset.time_ns[strong.rows])) & (dataset.instrument != 1)
    columns = ("instrument", "time_ns", "label_end_ns", "bar", "label", "features")
    later = replace(
        dataset,
        **{name: getattr(dataset, name)[kept] for name in columns},
        economics={name: values[kept] for name, values in dataset.economics.items()},
    )
    found = find_champion(registry, NAME, later)
    assert not isinstance(found, str)
    np.testing.assert_array_equal(later.time_ns[found[2].rows], np.sort(later.time_ns))
    few = replace(strong, rows=strong.rows[:50], fold=strong.fold[:50], raw=strong.raw[:50], calibrated=strong.raw[:50])
    said = compare(Candidate.of("model", dataset, folds, strong, parameters), "4", "abc", few)
    assert isinstance(said, str) and "50 of the candidate's rows" in said
    lost = find_champion(registry, "bare", dataset)
    assert isinstance(lost, str) and "version 1, cannot be compared with" in lost
    assert find_champion(registry, "unheard-of", dataset) == "there is no champion to compare with"


def test_the_champions_equity_is_that_of_its_own_unseen_predictions_on_the_rows_both_have(market: Market) -> None:
    dataset, folds, parameters = market
    strong, weak = predictions(market, 0.4), predictions(market, -0.4)
    candidate = Candidate.of("model", dataset, folds, strong, parameters)
    own = equity_path("model", CANDIDATE, candidate.positions.time_ns, candidate.performance)
    same, other = champion_path(candidate, "1", strong), champion_path(candidate, "2", weak)
    assert same is not None and other is not None
    assert (same.equity, same.drawdown, same.end_ns) == (own.equity, own.drawdown, own.end_ns)
    assert (same.name, same.role) == ("version 1", CHAMPION)
    assert other.equity[-1] < 1.0 < own.equity[-1]
    half = len(strong.rows) // 2
    later = replace(
        strong, rows=strong.rows[half:], fold=strong.fold[half:], raw=strong.raw[half:], calibrated=strong.raw[half:]
    )
    part = champion_path(candidate, "3", later)
    assert part is not None and part.end_ns[0] > own.end_ns[0] and part.end_ns[-1] == own.end_ns[-1]
    assert champion_path(candidate, "4", replace(strong, rows=strong.rows[:0], calibrated=strong.raw[:0])) is None
