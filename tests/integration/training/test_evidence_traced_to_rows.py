"""From a search to a verdict, and back: each number of the evidence is computed again from rows of the trial ledger."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from synthetic_market import INSTRUMENTS, make_workspace, parameters
from typer.testing import CliRunner

from core.files import read_json
from core.settings import get_settings
from tidegate.cli import app
from training.evidence import GatePolicy, judge
from training.evidence.bundle import Bundle
from training.evidence.tracing import rests_on, trace
from training.search.hyperparameters.run import run_search
from training.stages import fit, register
from training.stages import judge as judging
from training.trials.session import open_ledger

pytestmark = pytest.mark.heavy
TRIALS = 7


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A workspace whose model was searched, applied and retrained, and what the search found."""
    folder = tmp_path_factory.mktemp("traced")
    models = parameters()["models"] | {"components": ["xgboost"], "chosen": "xgboost"}
    models["xgboost"] |= {"rounds": 20, "early_stopping": 8}
    make_workspace(
        folder / "workspace",
        strength=0.3,
        steps=700,
        train_steps=300,
        models=models,
        data={"source": "made", "instruments": list(INSTRUMENTS), "since": "1999-01-04", "holdout": {"count": 50}},
        search={
            "hyperparameters": {
                "trials": TRIALS,
                "workers": 1,
                "startup_trials": 3,
                "pruning": {"kind": "percentile", "percentile": 40, "warm_trials": 2},
                "space": {"xgboost": {"learning_rate": {"low": 0.02, "high": 0.4, "log": True}}},
            }
        },
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "workspace")
        patch.setenv("TIDEGATE_STATE_DIRECTORY", str(folder / "state"))
        patch.delenv("TIDEGATE_DATABASE__URL", raising=False)
        patch.delenv("TIDEGATE_MLFLOW__TRACKING_URI", raising=False)
        get_settings.cache_clear()
        found = run_search(folder / "workspace", "found", apply=True)
        fit.train("xgboost")
        fit.blend()
        judging.evaluation()
        register.register()
        yield folder / "workspace", found
    get_settings.cache_clear()


def gate(workspace: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["gate", "trace", "1", "-w", str(workspace), *arguments])
    return result.exit_code, result.stdout


def test_every_number_of_the_evidence_is_given_again_by_the_rows_it_names(retrained: Any) -> None:
    workspace, found = retrained
    code, output = gate(workspace, "--json")
    traced = json.loads(output.splitlines()[-1])
    assert code == 0 and traced["agrees"] is True, [n for n in traced["numbers"] if not n["agrees"]]
    assert traced["found_by"] == [found["best"]["row"]], "the applied trial of the search is named"
    numbers = {one["number"]: one for one in traced["numbers"]}
    with open_ledger() as ledger:
        rows = {row.id: row for row in ledger.trials(lineage="synthetic-made")}
    # Seven of the search, xgboost and the blend of the retraining.
    assert numbers["record.trials"]["rows"] == sorted(rows, key=lambda name: rows[name].sequence)
    assert numbers["search.trials"]["evidence"] == len(rows) == TRIALS + 2
    pruned = [name for name, row in rows.items() if row.status == "pruned"]
    assert pruned and numbers["record.by_status.pruned"]["rows"] == pruned
    assert set(numbers["search.deflated"]["rows"]) == set(rows) - set(pruned)
    assert {"search.effective", "search.overfitting", "search.luck", "result.strategy.sharpe"} <= set(numbers)
    assert numbers["search.sharpe"]["rows"] == [traced["candidate"]]
    assert rows[traced["candidate"]].study.startswith("retraining-")

    code, said = gate(workspace)
    assert code == 0 and "the ledger gives every number again" in said
    assert f"its parameters are those of {found['best']['row']}" in said and "search.deflated" in said


def test_each_rule_of_the_gate_says_what_it_rests_on(retrained: Any) -> None:
    workspace, _ = retrained
    bundle = Bundle.load(workspace / "reports/evaluation/bundle.json")
    rules = {rule.rule for rule in judge(bundle, GatePolicy()).rules}
    on_search = {rule for rule in rules if rests_on(rule, "row").startswith("search.")}
    assert on_search == {"deflated_sharpe", "superior_to_flat", "overfitting", "loss_out_of_sample"}
    assert rests_on("complete_ledger", "row") == "record"
    assert rests_on("beats_climatology", "row") == "the out-of-fold predictions of row"
    assert "exported model" in rests_on("onnx_parity", "row") and "onnx_parity" in rules


def test_a_ledger_that_was_changed_gives_other_numbers(retrained: Any) -> None:
    workspace, _ = retrained
    bundle = Bundle.load(workspace / "reports/evaluation/bundle.json")
    assert bundle.record is not None
    draws = int(read_json(workspace / "reports/evaluation/evaluation.json")["bootstrap"]["draws"])
    with open_ledger() as ledger:
        url = ledger.url
        with ledger.trial("later", "fit", "xgboost", "synthetic-made", {}, 1, "c") as trial:
            trial.pruned("a search that came later")
        assert trace(bundle, ledger, draws).agrees, "what came later is left out"
    engine = sa.create_engine(url)
    name = bundle.record.used[0]
    change = sa.text("update trials set status = :status where id = :id")
    try:
        with engine.begin() as connection:
            connection.execute(change, {"id": name, "status": "failed"})
        with open_ledger() as ledger:
            other = [one.number for one in trace(bundle, ledger, draws).numbers if not one.agrees]
        assert "record.by_status.completed" in other
        assert gate(workspace)[0] == 3
    finally:
        with engine.begin() as connection:
            connection.execute(change, {"id": name, "status": "completed"})
        engine.dispose()
