"""Both searches on a Ray cluster by setting alone: the same trials and results as on one machine."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from strategy_search_market import made_study
from synthetic_market import INSTRUMENTS, make_workspace

from core.errors import BadInputError, RefusedError
from core.settings import get_settings
from training.search.cluster import Cluster
from training.search.hyperparameters.search import Searched, prepare, search
from training.search.strategy.ray_backtests import Inputs, RayBacktester
from training.search.strategy.study import run_study
from training.trials import Status, TrialLedger
from training.trials.session import open_ledger

pytestmark = pytest.mark.heavy
VOLATILE = ("latency",)  # measured by a clock


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of this machine on loopback; both backends join what is there, and leave it running."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    yield ray
    ray.shutdown()


def test_a_hyperparameter_search_on_ray_makes_the_trials_that_processes_make(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("TIDEGATE_DATABASE__URL", raising=False)
    workspace = make_workspace(
        tmp_path / "workspace",
        strength=0.3,
        steps=600,
        folds=2,
        train_steps=300,
        models={"xgboost": {"rounds": 15, "minimum_child_weight": 10, "early_stopping": 5}},
        data={"source": "made", "instruments": list(INSTRUMENTS), "since": "1999-01-04", "holdout": {"count": 50}},
        search={
            "hyperparameters": {
                "trials": 5,
                "startup_trials": 2,
                "pruning": {"kind": "none"},
                "space": {"xgboost": {"learning_rate": {"low": 0.05, "high": 0.3, "log": True}}},
            }
        },
    )
    get_settings.cache_clear()
    try:
        here = search(prepare(workspace, "here"), lambda progress: None)
        there = search(prepare(workspace, "there", backend="ray"), lambda progress: None)
        assert facts(there) == facts(here) and len(there.slots) == 5
        with open_ledger() as ledger:
            rows = ledger.trials(study="there")
            assert [row.status for row in rows] == [Status.COMPLETED] * 5
            assert ledger.verify("synthetic-made") == []
        with pytest.raises(BadInputError, match="a database that its machines can reach"):
            search(prepare(workspace, "far", backend="ray", ray_address="ray://nowhere:10001"), lambda progress: None)
    finally:
        get_settings.cache_clear()
    assert cluster.is_initialized(), "a cluster that was there before is left running"


def facts(searched: Searched) -> list[Any]:
    return [
        (slot.proposed, slot.outcome, slot.scores, {n: v for n, v in slot.values.items() if n not in VOLATILE})
        for slot in searched.slots
    ]


def test_a_strategy_search_on_ray_ends_with_the_result_of_this_machine(cluster: Any, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"budget": {"generations": 2, "patience": None}}
    with TrialLedger(f"sqlite:///{tmp_path}/here.db") as ledger:
        here = run_study(made_study(tmp_path / "here", changes=changes), ledger)
        rows = ledger.trials(study=here["study"])
        returns = ledger.returns([row.id for row in rows if row.parameters["span"] == "research"])[1]
    with TrialLedger(f"sqlite:///{tmp_path}/there.db") as ledger:
        there = run_study(made_study(tmp_path / "there", changes={**changes, "backend": "ray"}), ledger)
        spread = ledger.trials(study=there["study"])
        same = ledger.returns([row.id for row in spread if row.parameters["span"] == "research"])[1]
    assert there["study"] == here["study"], "where a search runs is no part of what it is"
    assert there["digest"] == here["digest"]
    assert [(row.parameters, row.values) for row in spread] == [(row.parameters, row.values) for row in rows]
    assert same.tobytes() == returns.tobytes()
    for part in ("folds", "walk_forward", "hall_of_fame", "evidence", "verdict"):
        assert there[part] == here[part]
    assert cluster.is_initialized()


def test_a_machine_with_other_code_is_refused(cluster: Any, tmp_path: Path) -> None:
    study = made_study(tmp_path)
    inputs = Inputs("other", "0" * 64, ("training.backtest",), study.history, study.candidates, 5)
    with Cluster("search.strategy.backend", None) as joined, pytest.raises(RefusedError, match="has other code"):
        RayBacktester(joined, inputs)([study.candidates.space.decode([0.3, 0.6, 0.2])])
