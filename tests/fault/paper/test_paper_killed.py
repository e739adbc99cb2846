"""SIGKILL at any moment takes nothing from a paper account that was answered, and doubles nothing."""

import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from paper_process import INSTRUMENTS, START_NS, digest

from core.clock import SimulatedClock
from core.errors import ConfigurationError
from trading.brokers.paper import PaperBroker

STEPS = 120
PROGRAM = Path(__file__).with_name("paper_process.py")
ROOT = Path(__file__).parents[3]


def run(folder: Path, seed: int, stop_after: int | None) -> list[tuple[int, int, int]]:
    """Trade; kill the process once it has said ``stop_after`` lines. Returns what it was answered."""
    child = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), str(seed), str(STEPS)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    said: list[tuple[int, int, int]] = []
    assert child.stdout is not None
    with child.stdout as lines:
        for line in lines:
            step, last, crc = (int(word) for word in line.split())
            said.append((step, last, crc))
            if stop_after is not None and len(said) >= stop_after:
                child.kill()  # it is somewhere in a later step by now
                break
    child.wait(30)
    assert stop_after is not None or child.returncode == 0
    return said


def reopened(folder: Path) -> PaperBroker:
    return PaperBroker(INSTRUMENTS, SimulatedClock(START_NS), folder=folder)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(tmp_path: Path, seed: int) -> None:
    undisturbed = run(tmp_path / "undisturbed", seed, None)
    assert len(undisturbed) == STEPS
    draw = random.Random(seed)
    killed = tmp_path / "killed"
    for _ in range(3):
        said = run(killed, seed, draw.randint(10, STEPS - 10))
        broker = reopened(killed)
        for _, last, crc in said[-1:]:
            assert broker.exchange.last_transaction_id >= last  # what was answered is there
            assert digest(broker, last) == crc
    run(killed, seed, None)
    one, other = reopened(tmp_path / "undisturbed").exchange, reopened(killed).exchange
    assert len(one.transactions) > 100
    assert msgspec.json.encode(other.transactions) == msgspec.json.encode(one.transactions)
    assert (other.book.balance, sorted(other.log.open_trades), sorted(other.log.pending)) == (
        one.book.balance,
        sorted(one.log.open_trades),
        sorted(one.log.pending),
    )


async def test_account_goes_on_only_with_what_it_holds(tmp_path: Path) -> None:
    run(tmp_path, 1, 60)
    with pytest.raises(ConfigurationError, match="EUR_USD"):
        PaperBroker({"USD_JPY": INSTRUMENTS["USD_JPY"]}, SimulatedClock(START_NS), folder=tmp_path)
