"""A session that follows a volume profile: its content is part of the session, the place of its file is not."""

from pathlib import Path

import numpy as np
import pytest
from test_trading_loop_paper import trade_on_paper
from trading_session import INSTRUMENTS, MomentumPredictor, make_config, make_panel, write_state

from core.domain import BarKind
from core.errors import BadInputError, RefusedError
from trading.config import TraderConfig
from trading.execution.parameters import ExecutionParameters
from trading.execution.plan import Algorithm
from trading.execution.volume_profile import VolumeProfile
from trading.replay import replay_session
from trading.summary import SessionSummary

HOURS = 7 * 24
PANEL = make_panel(BarKind.FIXING, 12)


def write_profile(path: Path, seed: int) -> Path:
    draw = np.random.default_rng(seed)
    ticks = {name: tuple(draw.uniform(50.0, 500.0, HOURS).tolist()) for name in INSTRUMENTS}
    VolumeProfile(bucket_seconds=3600, source="test", days=dict.fromkeys(INSTRUMENTS, 7), ticks=ticks).save(path)
    return path


def vwap_config(folder: Path, profile: Path) -> TraderConfig:
    execution = ExecutionParameters(
        Algorithm.VWAP, duration_seconds=36_000.0, slices=4, minimum_order_units=2.0, volume_profile=str(profile)
    )
    return make_config(folder, BarKind.FIXING, execution=execution)


async def trade(folder: Path, profile: Path) -> SessionSummary:
    config = vwap_config(folder, profile)
    write_state(PANEL, config.feature_set, config.state_path)
    return await trade_on_paper(config, PANEL, MomentumPredictor(config.feature_set))


async def replayed(folder: Path) -> int:
    report = await replay_session(folder / "session")
    assert report.equal, report.difference.lines() if report.difference else ""
    return report.records["plan_started"]


async def test_another_profile_cannot_resume_a_session_and_a_moved_one_can(tmp_path: Path) -> None:
    profile = write_profile(tmp_path / "profile.json", 1)
    await trade(tmp_path, profile)
    write_profile(profile, 2)
    with pytest.raises(RefusedError, match="other settings"):
        await trade(tmp_path, profile)
    assert await replayed(tmp_path) > 0, "the session's own copy is replayed, not what lies there today"
    moved = write_profile(tmp_path / "moved.json", 1)
    assert vwap_config(tmp_path, moved).digest() == vwap_config(tmp_path, profile).digest()
    profile.unlink()
    assert (await trade(tmp_path, moved)).starts == 2
    moved.unlink()
    assert (await trade(tmp_path, moved)).starts == 3, "the session has a copy of its own"
    await replayed(tmp_path)


async def test_a_copy_that_was_changed_is_no_profile_of_the_session(tmp_path: Path) -> None:
    await trade(tmp_path, write_profile(tmp_path / "profile.json", 1))
    write_profile(tmp_path / "session" / "volume-profile.json", 2)
    with pytest.raises(BadInputError, match="another profile"):
        await replay_session(tmp_path / "session")
    (tmp_path / "profile.json").unlink()
    with pytest.raises(RefusedError, match="other settings"):
        await trade(tmp_path, tmp_path / "profile.json")
