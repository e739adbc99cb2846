"""The live window read from a session's journal is, bit for bit, what the batch driver computes for the same bars."""

import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.domain import AccountState, BarKind, Panel
from core.errors import BadInputError
from core.journal import Journal
from features import batch
from features.live import LiveFeatures
from features.sets import feature_set
from monitoring.drift.session import newest_session, write_session_window
from trading import records
from trading.trader import JOURNAL

INSTRUMENTS = ("EUR_USD", "USD_JPY")
DAY = 86_400_000_000_000
DEFINITION = feature_set("fixings")


def _panel(steps: int) -> Panel:
    rng = np.random.default_rng(5)
    values = np.full((steps, 2, 9), np.nan)
    prices = np.array([1.1, 150.0]) * np.exp(np.cumsum(rng.standard_normal((steps, 2)) * 0.005, axis=0))
    values[:, :, 3] = values[:, :, 7] = prices
    values[steps - 5, 1] = np.nan  # a step without one instrument
    times = (np.arange(steps, dtype=np.int64) + 15_000) * DAY
    arrivals = np.where(np.isnan(values[:, :, 3]), 0, times[:, None] + 1)
    return Panel(INSTRUMENTS, times, arrivals, values, BarKind.FIXING)


def _session(folder: Path, panel: Panel, start: int, strategy: str) -> Path:
    zero = Decimal(0)
    account = AccountState("USD", zero, zero, zero, zero, zero, 1, 1)
    opened = records.SessionOpened(
        folder.name, "digest", strategy, "paper", "key", INSTRUMENTS, account, (), resumed=False, simulated=True
    )
    steps = [
        records.StepClosed(int(time_ns), panel.values[index].tobytes(), ())
        for index, time_ns in enumerate(panel.time_ns)
        if index >= start
    ]
    with Journal(folder / JOURNAL) as journal:
        for record in (opened, *steps):
            journal.append(records.kind_of(record), records.encode(record), 1, durable=True)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    panel = _panel(340)
    _, state = batch.compute(panel.between(0, int(panel.time_ns[300])), DEFINITION)
    live = LiveFeatures(DEFINITION, INSTRUMENTS, 1)
    for i in range(300):
        live.update(int(panel.time_ns[i]), panel.values[i])
    folder = tmp_path / "data" / "processed" / "features"
    folder.mkdir(parents=True)
    live.save(folder / "state.npz")
    assert state is not None
    return tmp_path


def test_rows_from_the_journal_equal_the_batch_rows(workspace: Path) -> None:
    panel = _panel(340)
    session = _session(workspace / "sessions" / "one", panel, 300, "tidegate-test")
    path = write_session_window(session, workspace, DEFINITION, workspace / "live.parquet")
    frame = pd.read_parquet(path)
    expected, _ = batch.compute(panel, DEFINITION)
    assert len(frame) == 2 * 40 - 1
    for name, rows in frame.groupby("instrument"):
        index = INSTRUMENTS.index(str(name))
        steps = np.searchsorted(panel.time_ns, pd.DatetimeIndex(rows["event_timestamp"]).as_unit("ns").asi8)
        found = rows[list(DEFINITION.columns)].to_numpy()
        np.testing.assert_array_equal(found, expected[steps, index])


def test_the_newest_session_of_the_strategy_is_taken(workspace: Path) -> None:
    sessions, panel = workspace / "sessions", _panel(340)
    old = _session(sessions / "old", panel, 320, "tidegate-test")
    new = _session(sessions / "new", panel, 330, "tidegate-test")
    other = _session(sessions / "other", panel, 330, "tidegate-other")
    _session(sessions / "without_steps", panel, 340, "tidegate-test")
    for age, folder in enumerate((other, new, old)):
        os.utime(folder, (2_000_000_000 - age, 2_000_000_000 - age))
    assert newest_session(sessions, "tidegate-test") == new
    with pytest.raises(BadInputError, match="trade first"):
        newest_session(sessions, "tidegate-absent")
