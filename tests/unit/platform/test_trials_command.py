"""``tidegate trials``: what a person and a machine get to see, and the exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from core.errors import BadInputError, ExitCode
from core.settings import Settings, get_settings
from tidegate.cli import app
from training.trials import TrialLedger
from training.trials.session import open_ledger
from training.trials.tables import trials

TIMES = np.arange(1, 101, dtype=np.int64) * 86_400_000_000_000


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory with three trials: two that differ in depth and in what they earned, one that failed."""
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("TIDEGATE_DATABASE__URL", raising=False)
    get_settings.cache_clear()
    noise = np.random.default_rng(1).normal(scale=1e-3, size=100)
    with open_ledger(Settings(state_directory=tmp_path)) as ledger:
        for depth in (3, 5):
            parameters = {"model": {"depth": depth, "rounds": 300}, "labels": {"horizon": 1}}
            with ledger.trial("retraining-a", "fit", "xgboost", "m-ecb", parameters, 7, "c") as trial:
                trial.fold(0, 1.0 + depth / 100, 50)
                trial.complete({"sharpe": depth / 10, "log_loss": 1.05}, noise + 1e-3 * (depth - 3), TIMES)
        with pytest.raises(ZeroDivisionError), ledger.trial("other", "backtest", "ema_cross", "m-ecb", {}, 7, "c"):
            _ = 1 / 0
    yield tmp_path
    get_settings.cache_clear()


def command(*arguments: str) -> tuple[int, str]:
    """Run a command and return its exit code and its stdout; errors raised on purpose come through."""
    result = CliRunner().invoke(app, ["trials", *arguments], standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return (result.return_value if isinstance(result.return_value, int) else result.exit_code), result.stdout


def answer(*arguments: str) -> dict[str, Any]:
    """Return the JSON object that a command ends with."""
    code, output = command(*arguments, "--json")
    assert code == ExitCode.OK
    return json.loads(output.splitlines()[-1])


def test_trials_are_listed_newest_first_and_filtered(state: Path) -> None:
    lines = command("list")[1].splitlines()
    assert lines[0].split()[:5] == ["trial", "study", "kind", "subject", "status"]
    assert [line.split()[0] for line in lines[1:]] == ["m-ecb:3", "m-ecb:2", "m-ecb:1"]
    assert "failed" in lines[1] and "ZeroDivisionError: division by zero" in lines[1]
    assert "sharpe 0.5" in lines[2]
    found = answer("list", "--study", "retraining-a", "--kind", "fit", "--limit", "1")
    assert [one["id"] for one in found["trials"]] == ["m-ecb:2"]
    assert found["ledger"] == f"sqlite:///{state}/trials/trials.db"
    assert "no such trial" in command("list", "--status", "lost")[1]
    with pytest.raises(BadInputError, match="no status 'good'"):
        command("list", "--status", "good")


def test_studies_say_what_became_of_their_trials(state: Path) -> None:
    assert [one["study"] for one in answer("studies")["studies"]] == ["retraining-a", "other"]
    assert "2 completed" in command("studies")[1]
    assert "no study" in command("studies", "--lineage", "none")[1]


def test_one_trial_is_shown_whole(state: Path) -> None:
    shown = {" ".join(line.split()) for line in command("show", "m-ecb:2")[1].splitlines()}
    assert {"parameters.model.depth 5", "fold 0 loss 1.05, 50 rows", "steps 100", "status completed"} <= shown
    assert answer("show", "m-ecb:2")["values"] == {"log_loss": 1.05, "sharpe": 0.5}
    with pytest.raises(BadInputError, match="no trial 'm-ecb:9'"):
        command("show", "m-ecb:9")


def test_trials_are_compared_by_what_differs_and_by_paired_returns(state: Path) -> None:
    found = answer("compare", "m-ecb:1", "m-ecb:2", "m-ecb:3")
    assert found["parameters"]["model.depth"] == [3, 5, None]
    assert "model.rounds" in found["parameters"] and "seed" not in found["parameters"]
    assert found["values"]["sharpe"] == [0.3, 0.5, None]
    assert found["folds"] == {"0": [1.03, 1.05, None]}
    assert found["without_returns"] == ["m-ecb:3"]
    (pair,) = found["pairs"]
    assert (pair["first"], pair["other"], pair["steps"]) == ("m-ecb:1", "m-ecb:2", 100)
    assert pair["difference"] == pytest.approx(2e-3) and pair["low"] <= 2e-3 <= pair["high"]
    assert pair["correlation"] == pytest.approx(1.0)
    text = command("compare", "m-ecb:1", "m-ecb:2")[1]
    assert "model.rounds" not in text and "the two differ" in text
    with pytest.raises(BadInputError, match="at least two"):
        command("compare", "m-ecb:1", "m-ecb:1")


def test_a_whole_ledger_verifies_and_an_edited_one_is_refused(state: Path) -> None:
    assert answer("verify")["whole"] is True
    assert "m-ecb: 3 trials, whole" in command("verify", "--lineage", "m-ecb")[1]
    with pytest.raises(BadInputError, match="no lineage 'x'"):
        command("verify", "--lineage", "x")
    engine = sa.create_engine(f"sqlite:///{state}/trials/trials.db")
    with engine.begin() as connection:
        connection.execute(trials.delete().where(trials.c.sequence == 2))
    engine.dispose()
    code, output = command("verify")
    assert code == ExitCode.REFUSED
    assert "trial 2 is missing: 3 were begun" in output


def test_an_empty_ledger_is_whole(tmp_path: Path) -> None:
    with TrialLedger(f"sqlite:///{tmp_path}/t.db") as ledger:
        assert ledger.lineages() == [] and ledger.verify("none") == [] and ledger.count("none") == 0
