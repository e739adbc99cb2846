"""A version or a rule scored on a range: its decisions are the trader's, its money the engine's, its row on record."""

import asyncio
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from backtest_loop import random_panel
from serving_packages import write_package
from typer.testing import CliRunner

from core.domain import OrderRequest, Panel
from core.errors import BadInputError, UsageError
from core.params import read_params
from core.settings import get_settings
from data.batch import Batch
from data.catalog import Catalog
from data.granularity import parse_granularity
from data.manifest import View as CatalogView
from features.live import LiveFeatures
from features.sets import feature_set
from serving.release.evidence import Evidence, Manifest, VerifiedPackage, verify_package
from tidegate.cli import app
from trading.steps import Step
from trading.strategy.interface import Portfolio
from trading.strategy.rules.catalogue import rule_of
from trading.strategy.rules.strategy import RuleStrategy
from training.backtest import Account, Costs, Execution, Market, Sizing, run_one
from training.backtest.model.drive import View, run_policy
from training.backtest.model.predictions import forecast
from training.backtest.preparation import Prepared, Request, prepare_backtest
from training.backtest.report.page import write_report
from training.backtest.scoring import Scored, score
from training.trials import TrialLedger

NAMES, PRICES = ("EUR_USD", "USD_JPY"), (1.3, 102.0)
STEPS, LOOKBACK, WARM_UP = 900, 3, 40
SET = feature_set("bars")


class RuleInPython:
    """A rule of the event loop, asked bar by bar: it says what the compiled rule says."""

    def __init__(self, market: Market, name: str, parameters: dict[str, float], sizing: Sizing) -> None:
        rule = rule_of(name)
        self.name = name
        self.asked = np.ones(len(market), np.bool_)
        self._market = market
        self._strategy = RuleStrategy(name, market.names, rule, rule.row(parameters), sizing.columns(), 3600)
        self._seen = 0

    def decide(self, view: View) -> Sequence[OrderRequest]:
        market = self._market
        missing = tuple(name for name, here in zip(market.names, market.present[view.row], strict=True) if not here)
        assert view.row == self._seen, "asked once for every row"
        self._seen += 1
        step = Step(view.time_ns, market.rows[view.row], missing, False)
        self._strategy.observe(step)
        portfolio = Portfolio(
            view.equity, view.positions, view.quotes, {}, {item.name: item for item in market.instruments}, {}, False
        )
        decisions = asyncio.run(self._strategy.decide(step, view.time_ns, portfolio))
        return [decision.order for decision in decisions if decision.order is not None]


@pytest.mark.parametrize(("rule", "fill"), [("ema_cross", "open"), ("channel_breakout", "close")])
def test_row_by_row_is_to_the_cent_what_the_engine_does_in_one_piece(rule: str, fill: Any) -> None:
    """Stops, targets, trailing stops, gaps, every cost, a stressed spread: same trades, same equity at every bar."""
    market = Market.from_panel(with_gaps(random_panel(NAMES, PRICES, 700, 5)))
    parameters = {"stop": 1.5, "target": 2.5, "trailing": 2.0}
    parameters |= {"fast": 3, "slow": 8} if rule == "ema_cross" else {"enter": 12, "leave": 6}
    sizing = Sizing(units=40_000)
    costs = Costs(slippage_pips=0.2, commission_per_million=30, spread_multiple=2.0, financing=True)
    account, execution = Account(sizing=sizing), Execution(fill=fill)
    whole = run_one(market, rule, parameters, account, costs, execution)
    # What a rule plans is counted from the quotes that are traded at: it is shown the stressed market.
    stressed, plain = market.widened(2.0), msgspec.structs.replace(costs, spread_multiple=1.0)
    rows = run_policy(stressed, RuleInPython(stressed, rule, parameters, sizing), account, plain, execution)
    assert len(whole.trades) > 60 and len({trade.reason for trade in whole.trades}) >= 3
    assert rows.trades == whole.trades
    assert rows.digest() == whole.digest()
    assert rows.metrics == pytest.approx(whole.metrics, abs=1e-12)
    assert np.array_equal(rows.held, whole.held) and np.array_equal(rows.exposure, whole.exposure)


def with_gaps(panel: Panel) -> Panel:
    values = panel.values.copy()
    values[100:108, 0] = values[300:301, 1] = np.nan
    return Panel(panel.instruments, panel.time_ns, panel.arrival_ns, values, panel.kind)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a catalog of hourly bars and a real package: a linear model trained on nobody knows what."""
    folder = tmp_path_factory.mktemp("backtest")
    panel = with_gaps(random_panel(NAMES, PRICES, STEPS, 8))
    content = {
        "market": "made",
        "seed": 3,
        "data": {"instruments": list(NAMES), "source": "lean", "holdout": {"count": 100}},
        "features": {"set": "bars", "warmup": WARM_UP},
        "costs": {"slippage_pips": 0.1},
        "labels": {"horizon": 2},
        "validation": {"train_steps": 300},
        "models": {},
        "evaluation": {"bootstrap_draws": 100},
        "strategy": {"kelly_fraction": 1.0, "steps_per_year": 6240.0, "stop_loss_volatilities": 2.0},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    with Catalog(folder / "data/raw/catalog").transaction() as transaction:
        for index, name in enumerate(NAMES):
            here = ~np.isnan(panel.values[:, index, 3])
            close, values = panel.time_ns[here], panel.values[here, index]
            opened, rows = close - 3_600_000_000_000, np.arange(1, len(close) + 1)
            transaction.write(Batch(name, parse_granularity("H1"), "lean", "made", opened, close, close, values, rows))
        transaction.set_view(CatalogView("lean", "H1", NAMES))
    write_package(folder / "package", lookback=LOOKBACK, features=4, strategy="tidegate-made")
    rewrite(folder / "package", panel.time_ns)
    return folder


def rewrite(package: Path, time_ns: Any, **changes: Any) -> None:
    """Make the package one of this market, trained on its bars 200 to 500."""
    manifest = msgspec.structs.replace(
        Manifest.load(package),
        **{
            "market": "made", "feature_set": "bars", "feature_digest": SET.digest, "horizon": 2,
            "features": ("return_1", "return_5", "volatility_21", "hour_sine"),
            "train_start_ns": int(time_ns[200]), "train_end_ns": int(time_ns[500]), **changes,
        },
    )  # fmt: skip
    evidence = Evidence.load(package)
    digest = manifest.save(package)
    msgspec.structs.replace(evidence, manifest_digest=digest, feature_digest=manifest.feature_digest).save(package)


@pytest.fixture
def package(workspace: Path) -> VerifiedPackage:
    return verify_package(workspace / "package")


def prepared(workspace: Path, package: VerifiedPackage | None, **changes: Any) -> Prepared:
    named: dict[str, Any] = {"name": "tidegate-made", "version": "4"} if package else {}
    request = Request(workspace, "USD", **(named | changes))
    return prepare_backtest(request, read_params(workspace / "params.yaml"), package)


def run(workspace: Path, folder: Path, package: VerifiedPackage | None, **changes: Any) -> tuple[Scored, Any]:
    with TrialLedger(f"sqlite:///{folder}/trials.db") as ledger:
        done = score(prepared(workspace, package, **changes), ledger)
        return done, ledger.trials(kind="backtest")[-1]


def test_forecasts_are_those_of_the_live_window_step_by_step(workspace: Path, package: VerifiedPackage) -> None:
    """The same kernel, the same windows, the same graph: what the trader would have asked is what is asked here."""
    ready = prepared(workspace, package)
    panel, first = ready.panel, ready.scope.first
    found = forecast(panel, first, SET, package, "volatility_21", None)
    live = LiveFeatures(SET, panel.instruments, LOOKBACK)
    columns = [SET.columns.index(name) for name in package.manifest.features]
    for row in range(len(panel.time_ns)):
        values = live.update(int(panel.time_ns[row]), panel.values[row])
        if row < first:
            continue
        answers = package.session.run(np.ascontiguousarray(live.windows()[:, :, columns]))
        expected = np.where(live.present[:, None], answers, np.nan)
        np.testing.assert_allclose(found.probabilities[row - first], expected, rtol=1e-5, atol=1e-7)
        assert np.array_equal(found.volatilities[row - first], values[:, SET.columns.index("volatility_21")], True)


def test_a_version_is_scored_marked_and_counted(workspace: Path, package: VerifiedPackage, tmp_path: Path) -> None:
    done, trial = run(workspace, tmp_path, package)
    content = done.content
    assert [part.kind for part in content.parts] == ["before_training", "in_sample", "out_of_sample"]
    assert content.in_sample_share == pytest.approx(301 / content.steps, abs=2e-3)
    assert "IN-SAMPLE" in content.words and content.holdout is False
    assert len(done.result.trades) > 50 and content.warm_up >= WARM_UP + LOOKBACK - 1
    change = done.result.equity[-1] - 100_000
    assert content.costs.net == pytest.approx(change, rel=1e-3, abs=1.0)
    assert content.costs.gross - content.costs.net == pytest.approx(content.costs.spread + content.costs.slippage)
    for shares in content.attribution.values():
        assert sum(share.net for share in shares) == pytest.approx(content.costs.net)
    total = np.prod([1 + month.total for month in content.monthly]) - 1
    assert total == pytest.approx(content.figures.net_return)
    assert (trial.status, trial.lineage, trial.subject) == ("completed", "made-lean", "tidegate-made:4")
    assert trial.parameters["holdout"] is False and trial.values["in_sample_share"] == content.in_sample_share
    assert trial.parameters["model"]["digest"] == package.model_digest
    again, _ = run(workspace, tmp_path, package)
    assert again.content.result_digest == content.result_digest and again.content.trials_before == 1
    page = write_report(tmp_path / "report", content, done.result, done.benchmarks, done.market, done.parts)
    text = page.read_text()
    assert "IN-SAMPLE" in text and text.count("<svg") == 8 and "http-equiv" not in text
    assert "src=" not in text and 'rel="stylesheet"' not in text, "nothing is loaded from elsewhere"
    lines = (tmp_path / "report/trades.csv").read_text().splitlines()
    assert len(lines) == len(done.result.trades) + 1


def test_a_range_says_the_same_whatever_comes_after_it(
    workspace: Path, package: VerifiedPackage, tmp_path: Path
) -> None:
    whole, _ = run(workspace, tmp_path, package)
    times = whole.result.time_ns
    short, _ = run(workspace, tmp_path, package, end_ns=int(times[300]))
    assert np.array_equal(short.result.equity, whole.result.equity[:300])
    dear, _ = run(workspace, tmp_path, package, end_ns=int(times[300]), spread_multiple=3.0)
    assert dear.content.costs.spread > 2.0 * short.content.costs.spread
    assert dear.content.figures.net_return < short.content.figures.net_return


def test_the_holdout_is_scored_only_when_asked_and_that_is_on_record(
    workspace: Path, package: VerifiedPackage, tmp_path: Path
) -> None:
    panel_end = 1_398_902_400_000_000_000 + STEPS * 3_600_000_000_000
    with pytest.raises(BadInputError, match="reaches into the holdout"):
        prepared(workspace, package, end_ns=panel_end)
    done, trial = run(workspace, tmp_path, package, holdout=True)
    assert done.content.parts[-1].kind == "holdout" and done.content.parts[-1].steps == 100
    assert trial.parameters["holdout"] is True and trial.values["holdout"] == 1.0


def test_what_does_not_fit_together_is_refused_before_a_trial_begins(workspace: Path, tmp_path: Path) -> None:
    good = verify_package(workspace / "package")
    first = 1_398_902_400_000_000_000
    day = 24 * 3_600_000_000_000
    for words, changes in {
        "range begins on 2014-05-01, but every instrument needs 42": {"start_ns": first + 3_600_000_000_000},
        "no bar in the range": {"start_ns": first + 400 * day},
        "is empty": {"start_ns": first + 9 * day, "end_ns": first + 8 * day},
        "but the data reach from 2014-05-01": {"start_ns": first - 9 * day},
        "spread multiple": {"spread_multiple": 0.0},
    }.items():
        with pytest.raises(BadInputError, match=words):
            prepared(workspace, good, **changes)
    times = np.arange(600, dtype=np.int64) * 3_600_000_000_000 + first
    for words, changes in {
        "release computes": {"feature_digest": "0" * 64},
        "made for the market other": {"market": "other"},
        "horizon 5": {"horizon": 5},
    }.items():
        write_package(tmp_path / words, lookback=LOOKBACK, features=4)
        rewrite(tmp_path / words, times, **changes)
        with pytest.raises(BadInputError, match=words):
            prepared(workspace, verify_package(tmp_path / words))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    get_settings.cache_clear()
    yield tmp_path / "state"
    get_settings.cache_clear()


def command(workspace: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["backtest", *arguments, "-w", str(workspace)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def test_a_rule_by_name_from_the_command_line(workspace: Path, state: Path) -> None:
    chosen = ("--rule", "ema_cross", "--parameters", "fast=4, slow=9,stop=2")
    result = command(workspace, *chosen, "--from", "2014-05-10", "--json")
    content = json.loads(result.stdout.splitlines()[-1])
    assert content["subject"]["parameters"] == {
        "fast": 4.0, "slow": 9.0, "stop": 2.0, "target": 0.0, "trailing": 0.0, "range_periods": 14.0,
    }  # fmt: skip
    assert [part["kind"] for part in content["parts"]] == ["not_trained"]
    assert content["figures"]["trades"] > 10 and content["warm_up"] > 100
    assert set(content["benchmarks"]) == {"buy and hold", "momentum"}
    assert Path(content["report"]).is_file() and "trial made-lean:1" in result.stderr
    with TrialLedger(f"sqlite:///{state}/trials/trials.db") as ledger:
        [row] = ledger.trials(kind="backtest")
        assert (row.id, row.status, row.subject) == (content["trial"], "completed", "ema_cross")
        assert ledger.returns([row.id])[1].shape[0] == content["figures"]["days"]
        assert not ledger.verify("made-lean")


def test_the_command_refuses_in_one_line_and_counts_nothing(workspace: Path, state: Path) -> None:
    for words, arguments in {
        "no rule 'sma'": ("--rule", "sma"),
        "has no speed": ("--rule", "ema_cross", "--parameters", "speed=3"),
        "fast must be below slow": ("--rule", "ema_cross", "--parameters", "fast=30,slow=20"),
        "fast=10,slow=20": ("--rule", "ema_cross", "--parameters", "fast:10"),
        "--from is 'May'": ("--rule", "ema_cross", "--from", "May"),
        "bars in the range, at least 2 are needed": (
            "--rule",
            "ema_cross",
            "--from",
            "2014-05-10",
            "--to",
            "2014-05-10T00:30:00Z",
        ),
    }.items():
        with pytest.raises(BadInputError, match=words):
            command(workspace, *arguments)
    for arguments in ((), ("--rule", "ema_cross", "--version", "1"), ("--version", "1", "--parameters", "fast=1")):
        with pytest.raises(UsageError):
            command(workspace, *arguments)
    assert not (state / "trials").exists()
