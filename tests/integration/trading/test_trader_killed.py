"""Kill the trader's process at random moments and start it again: the session ends as if nothing had happened."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from trading_session import (
    MomentumPredictor,
    Practice,
    make_config,
    make_feed,
    make_panel,
    trade_on_practice,
    write_state,
)

from core.domain import BarKind
from core.journal import written_bytes
from trading.summary import SummaryCollector, read_state

PROGRAM = Path(__file__).with_name("trader_process.py")
STEPS = 30


def start(folder: Path, url: str, kind: BarKind, database: str = "-") -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), url, kind.value, database],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def journal_entries(folder: Path) -> int:
    return written_bytes(folder / "session" / "journal")


@pytest.mark.parametrize(("kind", "seed"), [(BarKind.FIXING, 1), (BarKind.BAR, 3)])
def test_killed_at_random_moments_the_session_ends_the_same(tmp_path: Path, kind: BarKind, seed: int) -> None:
    panel = make_panel(kind, STEPS)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    for folder in (calm, rough):
        config = make_config(folder, kind)
        folder.mkdir()
        write_state(panel, config.feature_set, config.state_path)
    with Practice(make_feed(panel)) as practice:
        config = make_config(calm, kind)
        expected = asyncio.run(trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set)))

    chance = random.Random(seed)
    kills = 0
    with Practice(make_feed(panel)) as practice:
        while kills < 3:
            process = start(rough, practice.url, kind)
            before = journal_entries(rough)
            # Let it get going, then strike somewhere inside the next steps.
            while process.poll() is None and journal_entries(rough) <= before + 2000:
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.12))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        assert kills >= 2
        process = start(rough, practice.url, kind)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()[-3000:]
        assert practice.venue is not None
        venue_orders = [
            transaction["clientExtensions"]["id"]
            for transaction in msgspec.to_builtins(practice.venue.exchange.transactions)
            if transaction["type"] == "MARKET_ORDER"
        ]
    actual = json.loads((rough / "session" / "summary.json").read_text())
    assert len(venue_orders) == len(set(venue_orders)), "an order was sent twice"
    assert actual["starts"] == kills + 1
    assert actual["reconciliation"]["reconciled"], actual["reconciliation"]
    assert actual["steps"] == STEPS
    assert actual["balance"] == expected.balance
    assert actual["equity_curve"] == [list(point) for point in expected.equity_curve]
    assert len(actual["trades"]) == len(expected.trades)


def test_a_terminated_trader_stops_cleanly_and_goes_on_later(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 60)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    with Practice(make_feed(panel)) as practice:
        process = start(tmp_path, practice.url, BarKind.FIXING)
        while process.poll() is None and journal_entries(tmp_path) < 30_000:
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()[-3000:]
        first = json.loads((tmp_path / "session" / "summary.json").read_text())
        assert first["ended"] == "stopped"
        assert 0 < first["steps"] < 60
        state, _ = read_state(tmp_path / "session" / "journal", SummaryCollector("USD"))
        assert state.closed
        process = start(tmp_path, practice.url, BarKind.FIXING)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()[-3000:]
    second = json.loads((tmp_path / "session" / "summary.json").read_text())
    assert (second["ended"], second["steps"], second["starts"]) == ("end of data", 60, 2)
    assert second["equity_curve"][: first["steps"]] == first["equity_curve"]
