"""``tidegate drill`` from the command line: figures, exit codes, and what a wrong option says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tidegate.cli", "drill", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)


def test_one_seed_prints_its_figures(tmp_path: Path) -> None:
    done = run(tmp_path, "kill", "--seeds", "1", "--seed-from", "12", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["passed"], found["seeds"], found["failed"], found["kept"]) == (True, 1, [], None)
    assert found["orders"] > 0
    assert found["kills_at_points"] + found["kills_at_random"] >= 2
    assert found["simulated"] and "no model" in found["predictor"]
    assert not (tmp_path / "drill-failures").exists()


def test_half_an_hour_of_market_with_every_fault_ends_reconciled(tmp_path: Path) -> None:
    options = ("--hours", "0.5", "--speed", "600", "--kills-per-hour", "6", "--style", "market")
    done = run(tmp_path, "day", *options, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["passed"] and found["problems"] == []
    assert found["orders"] > 0 and found["trader_kills"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kill", "--seeds", "0"), "--seeds"),
        (("day", "--style", "hope"), "no style 'hope'"),
        (("day", "--kills-per-hour", "0"), "kills-per-hour"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr
