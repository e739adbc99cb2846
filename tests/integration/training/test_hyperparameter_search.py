"""A whole search with two workers: counted, repeatable, reported, tracked, and its best values in params.yaml."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_market import INSTRUMENTS, make_workspace

from core.errors import BadInputError, RefusedError
from core.settings import get_settings
from training.search.hyperparameters.run import run_search
from training.search.hyperparameters.search import Searched, prepare, search
from training.search.hyperparameters.storage import study_lease
from training.trials.session import database_url, open_ledger

pytestmark = pytest.mark.heavy
SPACE = {"learning_rate": {"low": 0.05, "high": 0.3, "log": True}, "maximum_depth": {"low": 2, "high": 4}}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(
        tmp_path_factory.mktemp("search") / "workspace",
        strength=0.3,
        steps=700,
        folds=3,
        train_steps=300,
        models={"xgboost": {"rounds": 25, "minimum_child_weight": 10, "early_stopping": 10}},
        data={"source": "made", "instruments": list(INSTRUMENTS), "since": "1999-01-04", "holdout": {"count": 50}},
        search={
            "hyperparameters": {
                "trials": 9,
                "startup_trials": 3,
                "pruning": {"kind": "percentile", "percentile": 30, "warm_trials": 3},
                "space": {"xgboost": SPACE},
            }
        },
    )


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("TIDEGATE_DATABASE__URL", raising=False)
    monkeypatch.delenv("TIDEGATE_MLFLOW__TRACKING_URI", raising=False)
    get_settings.cache_clear()
    yield tmp_path / "state"
    get_settings.cache_clear()


def facts(searched: Searched) -> list[Any]:
    fixed = ("skill", "log_loss", "sharpe", "size")
    return [(s.proposed, s.outcome, s.scores, {n: s.values[n] for n in fixed if s.values}) for s in searched.slots]


def quiet(_progress: Any) -> None:
    """Listen to nothing."""


def test_a_search_is_counted_repeated_reported_and_applied(workspace: Path) -> None:
    said: list[str] = []
    first = search(prepare(workspace, "whole"), lambda progress: said.append(progress.words))
    assert any("of 9 trials ended" in words and "left" in words for words in said)
    second = search(prepare(workspace, "again"), quiet)
    assert facts(second) == facts(first), "the timing of the workers changed something"
    with pytest.raises(BadInputError, match="begun with another objectives"):
        search(prepare(workspace, "whole", objectives=["log_loss"]), quiet)

    # A search that is over is not gone on with; what it found is written anew.
    result = run_search(workspace, "whole", {}, apply=True)
    assert result["slots"] == result["trials"] == result["ledger_rows"] == 9
    assert result["stopped"] == "the budget of 9 trials is used up"
    assert result["outcomes"].get("pruned", 0) >= 1, "nothing was pruned: the rule is never met here"
    best = result["best"]
    with open_ledger() as ledger:
        records = {record.id: record for record in ledger.trials(study="whole")}
        assert ledger.verify("synthetic-made") == []
        row = records[best["row"]]
        assert (
            row.values["skill"] == best["values"]["skill"] == max(r.values.get("skill", -1) for r in records.values())
        )
        assert [fold.number for fold in row.folds] == [0, 1, 2] and row.steps > 0
        times, returns = ledger.returns([best["row"]])
        assert returns.shape == (len(times), 1)
    pruned = [record for record in records.values() if record.status == "pruned"]
    assert all(1 <= len(record.folds) < 3 and "not among the best" in record.reason for record in pruned)

    after = yaml.safe_load((workspace / "params.yaml").read_text())["models"]["xgboost"]
    assert {name: after[name] for name in SPACE} == best["parameters"]
    folder = workspace / "reports" / "search" / "whole"
    page = (folder / "search.html").read_text()
    for title in ("History of skill", "Parallel coordinates", "Importance", "Scores fold by fold", best["row"]):
        assert title in page
    assert json.loads((folder / "search.json").read_text())["words"] == result["words"]

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=get_settings().mlflow_tracking_uri)
    nested = client.search_runs([result["experiment_id"]], f"tags.`mlflow.parentRunId` = '{result['run_id']}'")
    assert {run.data.tags["tidegate.trial"] for run in nested} == set(records)


def test_a_study_is_searched_by_one_process_at_a_time() -> None:
    with study_lease(database_url(), "held"):
        with pytest.raises(RefusedError, match="being searched by another process"):
            with study_lease(database_url(), "held", wait_seconds=0.0):
                pass
        with study_lease(database_url(), "other", wait_seconds=0.0):
            pass
    with study_lease(database_url(), "held", wait_seconds=0.0):
        pass
