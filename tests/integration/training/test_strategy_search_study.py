"""A whole strategy search on made markets: what it may see, what it writes down, what it refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategy_search_market import made_panel, made_study

from core.domain import Panel
from core.errors import BadInputError, RefusedError
from core.settings import get_settings
from training.search.strategy.backtests import Backtester
from training.search.strategy.evolve import Search
from training.search.strategy.objectives import NAMES
from training.search.strategy.recorder import assessment_at
from training.search.strategy.report import read_result
from training.search.strategy.state import begin
from training.search.strategy.study import Study, run_study
from training.trials import Status, TrialLedger

DAY = 86_400_000_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[TrialLedger]:
    with TrialLedger(f"sqlite:///{tmp_path}/trials.db") as opened:
        yield opened


def changed_after(panel: Panel, first: int) -> Panel:
    """The same bars until step ``first``; from there on other prices."""
    values = panel.values.copy()
    values[first:, :, :8] *= np.exp(0.01 * np.random.default_rng(5).normal(size=(len(values) - first, 1, 1)))
    values[:, :, :8] = np.round(values[:, :, :8], 5)
    return Panel(panel.instruments, panel.time_ns, panel.arrival_ns, values, panel.kind)


def assess(study: Study, positions: list[list[float]]) -> Any:
    backtester = Backtester(study.history, study.candidates, study.parameters.minimum_trades)
    return backtester([study.candidates.space.decode(position) for position in positions])


def test_a_window_says_nothing_of_later_bars(tmp_path: Path) -> None:
    """Prices after a training window change neither its figures nor those of any window before."""
    panel = made_panel()
    study = made_study(tmp_path, panel)
    positions = np.random.default_rng(0).random((12, 3)).tolist()
    plain = assess(study, positions)
    for fold in study.history.folds:
        end = int(study.history.days.first[fold.train[1]])
        other = assess(made_study(tmp_path, changed_after(panel, end)), positions)
        assert np.array_equal(other.train[:, : fold.number + 1], plain.train[:, : fold.number + 1])
        assert np.array_equal(other.test[:, : fold.number], plain.test[:, : fold.number])
        if fold.test is not None:
            assert not np.array_equal(other.test[:, fold.number], plain.test[:, fold.number])


def test_nothing_of_the_unseen_span_is_in_what_the_search_computes_on(tmp_path: Path) -> None:
    panel = made_panel()
    study = made_study(tmp_path, panel)
    cut = int(study.history.days.first[study.history.cut])
    assert study.history.research.time_ns[-1] == panel.time_ns[cut - 1]
    positions = [[0.3, 0.6, 0.2]]
    other = made_study(tmp_path, changed_after(panel, cut))
    assert np.array_equal(assess(other, positions).returns, assess(study, positions).returns)


def test_the_test_windows_adjoin_and_the_returns_are_those_of_the_days(tmp_path: Path) -> None:
    study = made_study(tmp_path)
    tests = [fold.test for fold in study.history.folds if fold.test is not None]
    assert [end for _, end in tests[:-1]] == [start for start, _ in tests[1:]]
    assert tests[-1][1] == study.history.cut == study.history.folds[-1].train[1]
    assessed = assess(study, [[0.2, 0.5, 0.0]])
    place = 0
    for fold, (start, end) in enumerate(tests):
        daily = assessed.returns[0, place : place + end - start]
        place += end - start
        years = study.history.days.years((start, end))
        assert assessed.test[0, fold, NAMES.index("return")] == pytest.approx(daily.sum() / years, rel=1e-12)
        equity = np.r_[1.0, np.cumprod(1.0 + daily)]
        deepest = max(1.0 - equity[i] / equity[: i + 1].max() for i in range(len(equity)))
        assert assessed.test[0, fold, NAMES.index("drawdown")] == pytest.approx(deepest, abs=1e-12)


def test_a_whole_search_is_on_record_and_every_figure_leads_to_its_row(tmp_path: Path, ledger: TrialLedger) -> None:
    study = made_study(tmp_path)
    outcome = run_study(study, ledger)
    rows = {row.id: row for row in ledger.trials(study=study.name)}
    assert {row.status for row in rows.values()} == {Status.COMPLETED}
    assert outcome["ledger"]["trials"] == len(rows) == ledger.count(study.lineage)
    assert outcome["evidence"]["series"] == sum(row.parameters["span"] == "research" for row in rows.values())
    for fold in outcome["folds"]:
        row = rows[fold["trial"]]
        name = f"fold{fold['number'] + 1}"
        assert row.parameters["rule"] == fold["parameters"]
        assert fold["in_sample"] == {figure: row.values[f"{name}.train.{figure}"] for figure in NAMES}
        assert fold["out_of_sample"] == {figure: row.values[f"{name}.test.{figure}"] for figure in NAMES}
    for member in outcome["hall_of_fame"]:
        (trial,) = member["validation"]["trials"]
        assert rows[trial].parameters["span"] == "unseen" and rows[trial].parameters["trial"] == member["trial"]
        assert rows[trial].values == member["unseen"]
        times, matrix = ledger.returns([trial])
        assert int(times[0]) == outcome["unseen"]["first_ns"] and len(times) == outcome["unseen"]["days"]
        scale = np.sqrt((len(times) - 1) * 365.25 * DAY / float(times[-1] - times[0]))
        sharpe = matrix[:, 0].mean() / matrix[:, 0].std(ddof=1) * scale
        assert member["validation"]["sharpe"]["value"] == pytest.approx(sharpe, rel=1e-9)
    path = np.concatenate([ledger.returns([fold["trial"]])[1][:, 0] for fold in outcome["folds"]])
    assert len(path) == 2 * outcome["walk_forward"]["span"]["days"], "each trial has the returns of all test windows"
    assert outcome["verdict"]["rules"][-1]["rule"] == "complete_ledger" and outcome["verdict"]["rules"][-1]["passed"]
    page = Path(outcome["report"]).read_text()
    assert page.count("<svg") == 5 and outcome["words"] in page
    assert "src=" not in page and 'href="http' not in page, "the page needs nothing from outside"

    again = run_study(study, ledger)
    assert again == outcome and ledger.count(study.lineage) == len(rows), "a search that is over is not run again"
    longer = made_study(tmp_path, changes={"budget": {"generations": 9, "patience": None}})
    assert longer.name == study.name
    with pytest.raises(RefusedError, match="was validated on its unseen span"):
        run_study(longer, ledger)
    single = {"generations": 1, "patience": None}
    other = run_study(made_study(tmp_path, changes={"minimum_trades": 6, "budget": single}), ledger)
    assert other["ledger"]["looks"] == 1, "another study on the same data says that the unseen span was looked at"


def test_a_longer_budget_goes_on_before_the_unseen_span_was_looked_at(tmp_path: Path, ledger: TrialLedger) -> None:
    """Ten generations at once, or four and then six more: the same search."""
    changes = {"evolution": {"islands": 1, "population": 4}}

    def search(folder: Path, generations: int, start: Any = None) -> Search:
        study = made_study(folder, changes={**changes, "budget": {"generations": generations, "patience": None}})
        backtester = Backtester(study.history, study.candidates, 5)

        def evaluate(candidates: Any, generation: int) -> Any:
            assessed = backtester(candidates)
            return [assessment_at(assessed, place, "") for place in range(len(candidates))]

        folder.mkdir(exist_ok=True)
        state = start or begin(study.digest, 3, 1)
        state.stopped = ""
        made = Search(study.parameters, 3, study.seed, evaluate, state, folder)
        made.run()
        return made

    whole = search(tmp_path / "a", 6).state
    part = search(tmp_path / "b", 2).state
    assert part.generation == 2
    assert search(tmp_path / "b", 6, part).state.values == whole.values


def test_a_planted_trend_is_found_and_holds_where_nobody_chose(tmp_path: Path, ledger: TrialLedger) -> None:
    panel = made_panel(days=500, seed=3, persistence=0.00025)
    study = made_study(tmp_path, panel, {"budget": {"generations": 3, "patience": None}})
    outcome = run_study(study, ledger)
    assert outcome["walk_forward"]["sharpe"]["low"] > 0.0
    winner = outcome["hall_of_fame"][outcome["winner"]]
    assert winner["plateau_share"] >= 0.6 and winner["validation"]["sharpe"]["value"] > 0.0
    rules = {rule["rule"]: rule["passed"] for rule in outcome["verdict"]["rules"]}
    assert rules["plateau"] and rules["walk_forward"] and rules["deflated_sharpe"]


def test_bad_input_is_refused_before_a_row_is_begun(tmp_path: Path, ledger: TrialLedger) -> None:
    with pytest.raises(BadInputError, match="no rule 'moon'"):
        made_study(tmp_path, changes={"rule": "moon", "space": {"moon": {"parameters": {"a": {"low": 0, "high": 1}}}}})
    bad: list[tuple[dict[str, Any], str]] = [
        ({"parameters": {"speed": {"low": 0, "high": 1}}}, "has no speed"),
        ({"parameters": {"fast": {"low": 2, "high": 9000, "integer": True}}}, "leaves what the rule takes"),
        ({"parameters": {"fast": {"low": 2, "high": 90}}}, "set integer: true"),
        ({"parameters": {"stop": {"low": 0, "high": 9}}, "fixed": {"stop": 2.0}}, "both searched and fixed"),
        (
            {"parameters": {"fast": {"low": 5, "high": 60, "integer": True}}, "fixed": {"slow": 40}},
            "fast must be below slow",
        ),
        (
            {
                "parameters": {
                    "fast": {"low": 5, "high": 9, "integer": True},
                    "slow": {"low": 8, "high": 99, "integer": True},
                }
            },
            "needs fast < slow",
        ),
    ]
    for space, words in bad:
        with pytest.raises(BadInputError, match=words):
            made_study(tmp_path, changes={"space": {"ema_cross": space}})
    with pytest.raises(BadInputError, match="ingest a longer history"):
        made_study(tmp_path, made_panel(days=150))
    with pytest.raises(BadInputError, match="ingest a longer history"):
        made_study(tmp_path, changes={"windows": {"folds": 12}})
    assert ledger.lineages() == []


def test_a_search_without_a_candidate_inside_the_limits_is_refused(tmp_path: Path, ledger: TrialLedger) -> None:
    study = made_study(tmp_path, changes={"minimum_trades": 100000, "budget": {"generations": 1, "patience": None}})
    with pytest.raises(RefusedError, match="makes 100000 trades"):
        run_study(study, ledger)
    assert ledger.count(study.lineage) == 24, "what was tried stays on record"


def test_the_description_of_a_study_names_what_decides_it(tmp_path: Path) -> None:
    study = made_study(tmp_path)
    assert made_study(tmp_path).name == study.name
    for changes in ({"minimum_trades": 6}, {"objectives": ["return", "drawdown"]}, {"evolution": {"islands": 1}}):
        assert made_study(tmp_path, changes=changes).name != study.name
    assert made_study(tmp_path, seed=12).name != study.name
    assert made_study(tmp_path, costs={"slippage_pips": 0.2}).name != study.name
    assert made_study(tmp_path, made_panel(seed=2)).name != study.name
    assert made_study(tmp_path, changes={"budget": {"generations": 9}}).name == study.name


@pytest.mark.heavy
def test_a_study_is_logged_once_with_its_rows(
    tmp_path: Path, ledger: TrialLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from training.search.strategy.tracking import track

    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("TIDEGATE_MLFLOW__TRACKING_URI", raising=False)
    get_settings.cache_clear()
    try:
        single = {"generations": 1, "patience": None}
        study = made_study(tmp_path, changes={"budget": single, "plateau": {"neighbours": 8, "share": 0.0}})
        run_study(study, ledger)
        outcome = read_result(study.folder)
        assert outcome is not None
        run = track(outcome, study.folder)
        assert track(outcome, study.folder) == run
        client = MlflowClient(tracking_uri=get_settings().mlflow_tracking_uri)
        found = client.search_runs([client.get_run(run).info.experiment_id])
        trials = {item.data.tags["mlflow.runName"]: item.data.tags.get("tidegate.trial") for item in found}
        assert trials["fold 1"] == outcome.folds[0].trial
        assert trials["winner"] == outcome.hall_of_fame[outcome.winner].trial
        assert len(found) == 1 + len(outcome.folds) + len(outcome.hall_of_fame)
    finally:
        get_settings.cache_clear()
