"""``tidegate drill serving`` in its short form: one Ray Serve, two replicas, swaps, policies, and a killed replica."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(240)]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tidegate.cli", "drill", "serving", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=220, check=False)


def test_versions_policies_and_a_killed_replica_under_load(tmp_path: Path) -> None:
    options = ("--rate", "100", "--seconds", "1", "--swaps", "4", "--trees", "5", "--without-restart", "--json")
    done = run(tmp_path, *options)
    assert done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and found["passed"], found
    assert found["policy_changes"] == 14 and found["wrong"] == 0
    phases = found["phases"]
    assert list(phases) == ["steady", "swap", "policy", "replica killed", "after"]
    assert all(phase["requests"] > 50 for phase in phases.values())
    assert [phases[name]["failed"] for name in ("steady", "swap", "policy", "after")] == [0, 0, 0, 0]
    assert found["trader"]["missed"] == 0 and found["trader"]["decisions"] > 50
    assert found["replica_back_seconds"] is not None and found["ray_back_seconds"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--rate", "0"), "--rate"), (("--swaps", "0"), "--swaps"), (("--seconds", "0"), "--seconds")],
)
def test_an_order_that_makes_no_sense_is_refused(tmp_path: Path, arguments: tuple[str, str], words: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
