"""A release decided by what the trader really wrote: shadow begins, the session trades, the rules read its ledger."""

import asyncio
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from release_room import QUICK, make_registry, open_desk
from shadowed_session import STRATEGY, project, trade_with_two

from core.errors import UnavailableError
from core.params import read_params
from serving.release.advance import advance
from serving.release.evidence import verify_package
from serving.release.machine import missing
from serving.traffic.policy import Mode, Traffic
from training.online import Comparison, OnlineRules, findings_of
from training.online.watch import first_decision_after, release_watch

STEPS = 42
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("extra", [(), ("calibration",)])
def test_a_release_goes_by_the_traders_ledger(tmp_path: Path, extra: tuple[Literal["calibration"], ...]) -> None:
    """The challenger answers the same class whatever it sees: no harm yet, and badly calibrated."""
    config, predictor = asyncio.run(trade_with_two(tmp_path, STEPS, Traffic(mode=Mode.SHADOW)))
    packages = [verify_package(tmp_path / name) for name in ("champion", "challenger")]
    settings, registered = make_registry(tmp_path / "state", name=STRATEGY, given=packages)
    url = f"sqlite:///{tmp_path}/platform.db"
    desk = open_desk(settings, registered, tmp_path / "state", url)
    room, engine = desk.room, desk.room.approvals.engine
    params = read_params(REPOSITORY / "params.yaml")
    watch = release_watch(engine, params)
    decisions = STEPS * len(config.instruments)
    shadow_step = msgspec.structs.replace(
        QUICK.shadow, minimum_decisions=decisions // 2, minimum_blocks=8, tests=("harm", *extra)
    )
    steps = tuple(msgspec.structs.replace(step, tests=("benefit", "harm")) for step in QUICK.canary)
    policy = msgspec.structs.replace(QUICK, shadow=shadow_step, canary=steps)
    desk.approve("1")
    desk.approve("2")
    reached = [release.words for release in advance(room, STRATEGY, policy, watch)]
    assert reached == ["approved", "champion", "approved", "shadow"]
    shadow = room.releases.current(STRATEGY)
    assert shadow is not None and (shadow.against, shadow.market_ns) == (predictor.champion, 0)
    found = watch.findings(shadow)
    assert found is not None and (found.decisions, found.blocks) == (0, 0)
    assert advance(room, STRATEGY, policy, watch) == []

    project(config, url)
    found = watch.findings(shadow)
    rules = OnlineRules.from_params(params, policy.alpha)
    assert found == findings_of(engine, Comparison(STRATEGY, predictor.champion, predictor.challenger, 0), rules)
    assert found is not None and (found.decisions, found.blocks) == ((STEPS - 1) * len(config.instruments), 8)
    reached = [release.words for release in advance(room, STRATEGY, policy, watch)]
    if extra:
        test = found.test("calibration")
        assert reached == ["rolled_back"] and test is not None and test.largest_e_value > 100
        assert room.releases.history(shadow.release_id)[-1].figures["trigger"]["value"] == test.largest_e_value
        engine.dispose()
        return
    assert reached == ["canary step 1"]
    canary = room.releases.current(STRATEGY)
    assert canary is not None
    assert canary.market_ns == first_decision_after(engine, STRATEGY) == found.time_ns + 1
    assert canary.compared_ns == 0  # the tests go on over the whole comparison
    after = watch.findings(canary)
    assert after is not None and (after.decisions, after.blocks, after.tests) == (0, 0, found.tests)
    assert missing(canary, policy, after)[0] == "0 of 10 decisions with a known outcome"
    record = room.releases.history(canary.release_id)[-1]
    assert record.figures["findings"]["arms"][1]["model_version"] == "2"
    room.releases.verify()
    engine.dispose()


def test_a_ledger_that_is_away_says_so(tmp_path: Path) -> None:
    from core.database import create_engine

    with pytest.raises(UnavailableError, match="the trader's ledger does not answer"):
        first_decision_after(create_engine(f"sqlite:///{tmp_path}/nothing/here.db"), STRATEGY)
