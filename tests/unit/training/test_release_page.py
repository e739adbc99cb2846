"""The page of a release, from a ledger in which the challenger knows more than the champion."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from core.database import create_engine, migrate
from core.params import read_params
from serving.release.machine import figures_of
from serving.release.policy import ReleasePolicy
from serving.release.states import Cause, Release, ReleaseState, TransitionRecord
from trading.ledger import tables
from training.online.decisions import read_steps
from training.online.findings import findings_of
from training.online.page import Chapter, release_page
from training.online.rules import Comparison, OnlineRules
from training.online.series import series_of

STRATEGY, CHAMPION, CHALLENGER = "tidegate-test", "c" * 64, "d" * 64
HOUR, BEGIN, STEPS = 3_600_000_000_000, 1_767_600_000_000_000_000, 400
COMPARISON = Comparison(STRATEGY, CHAMPION, CHALLENGER, 0)


@pytest.fixture(scope="module")
def rules() -> OnlineRules:
    params = read_params(Path(__file__).parents[3] / "params.yaml")
    return OnlineRules.from_params({**params, "labels": {**params["labels"], "horizon": 1}})


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    """400 hourly decisions of one pair; the challenger is right in 70 % of them, the champion in half."""
    engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('page') / 'ledger.db'}")
    migrate(engine)
    generator = np.random.default_rng(2)
    ups = generator.integers(0, 2, STEPS)
    key, mid = {"session_id": "one"}, 1.1
    with engine.begin() as connection:
        connection.execute(
            tables.sessions.insert(),
            {**key, "strategy": STRATEGY, "broker": "paper", "account_key": "paper", "config_digest": "c",
             "instruments": "EUR_USD", "simulated": True, "start_balance": 1, "opened_ns": 1, "starts": 1},
        )  # fmt: skip
        for number, up in enumerate(ups.tolist()):
            one = {**key, "decision_id": f"d{number}", "instrument": "EUR_USD", "time_ns": BEGIN + number * HOUR}
            connection.execute(
                tables.decisions.insert(),
                {**one, "current_units": 0, "target_fraction": 0.0, "target_units": 0, "reason": "edge",
                 "model_digest": CHAMPION, "mid": mid},
            )  # fmt: skip
            connection.execute(
                tables.scoring.insert(),
                {**one, "equity": 1e5 * (1.0 + number * 1e-5), "volatility": 0.001, "cost": 0.0001, "base_rate": mid,
                 "quote_rate": 1.0, "held": 0.0, "exits_only": False},
            )  # fmt: skip
            for table, digest, right in (
                (tables.predictions, CHAMPION, 0.5),
                (tables.alternatives, CHALLENGER, 0.7),
            ):
                long = 0.68 if bool(up) == (generator.random() < right) else 0.3
                row: dict[str, Any] = {
                    **one, "probability_short": 0.98 - long, "probability_flat": 0.02, "probability_long": long,
                    "model_name": "m", "model_version": "1" if digest == CHAMPION else "2", "model_digest": digest,
                    "arm": "champion" if digest == CHAMPION else "challenger",
                }  # fmt: skip
                if table is tables.predictions:
                    row |= {"policy_revision": 1, "answered_by": "serve"}
                connection.execute(table.insert(), row)
            mid *= 1.001 if up else 0.999
    return engine


def release_in(state: ReleaseState, step: int = 0) -> Release:
    return Release(
        release_id=f"{STRATEGY}.2.1", strategy=STRATEGY, version="2", model_digest=CHALLENGER,
        evidence_digest="e" * 64, state=state, step=step, against=CHAMPION, opened_ns=BEGIN, entered_ns=BEGIN,
        policy={}, number=3, sequence=3,
    )  # fmt: skip


def record(number: int, before: str, after: ReleaseState, market: int = 0, **more: Any) -> TransitionRecord:
    return TransitionRecord(
        **{
            "sequence": number, "release_id": f"{STRATEGY}.2.1", "number": number, "strategy": STRATEGY, "version": "2",
            "model_digest": CHALLENGER, "evidence_digest": "e" * 64, "before": before, "after": after, "step": 0,
            "cause": Cause.RULES, "reason": f"because {number}", "figures": {}, "approval": 1, "against": CHAMPION,
            "market_ns": market, "actor": "tidegate", "time_ns": BEGIN + number * HOUR, "previous_hash": "0" * 64,
            "hash": f"{number}" * 64, **more,
        }
    )  # fmt: skip


def test_the_series_end_where_the_findings_are(engine: sa.Engine, rules: OnlineRules) -> None:
    found, series = (
        findings_of(engine, COMPARISON, rules),
        series_of(read_steps(engine, STRATEGY, 0), COMPARISON, rules),
    )
    assert series is not None
    assert len(series.times) == STEPS - 1
    benefit = found.test("benefit")
    assert benefit is not None
    assert np.exp(series.benefit[-1]) == pytest.approx(benefit.e_value)
    assert benefit.rejected, "a challenger that is right in 70 % of the hours is found"
    assert series.challenger[-1] - series.champion[-1] > 0.01
    assert sum(arm.net_return for arm in found.arms) == pytest.approx(series.challenger[-1] + series.champion[-1])
    assert (series.low[-1], series.high[-1]) == pytest.approx((found.difference.low, found.difference.high))
    assert series.account[-1] == pytest.approx((STEPS - 1) * 1e-5)


def test_the_page_tells_the_way_and_shows_the_figures(engine: sa.Engine, rules: OnlineRules, tmp_path: Path) -> None:
    found, series = (
        findings_of(engine, COMPARISON, rules),
        series_of(read_steps(engine, STRATEGY, 0), COMPARISON, rules),
    )
    history = [
        record(1, "", ReleaseState.CANDIDATE, reason="registered", actor="tidegate"),
        record(2, "candidate", ReleaseState.APPROVED, cause=Cause.REVIEWER, actor="<b>reviewer</b>"),
        record(3, "approved", ReleaseState.SHADOW, BEGIN),
        record(4, "shadow", ReleaseState.CANARY, BEGIN + 150 * HOUR, figures=figures_of(found)),
    ]
    chapter = Chapter(release_in(ReleaseState.CANARY), history, ReleasePolicy(), found, series, 0.9)
    page = release_page(chapter)
    (tmp_path / "release.html").write_text(page)
    for words in ("because 4", "canary step 1", "&lt;b&gt;reviewer", "e-value of harm", "canary 5%"):
        assert words in page
    assert "<b>reviewer" not in page, "what people wrote is text"
    assert page.count("<svg") == 3


def test_a_release_without_a_decision_has_a_page_too() -> None:
    history = [record(1, "", ReleaseState.CANDIDATE)]
    page = release_page(Chapter(release_in(ReleaseState.CANDIDATE), history, ReleasePolicy(), None, None, 0.9))
    assert "candidate" in page
    assert "<svg" not in page
