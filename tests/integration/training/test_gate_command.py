"""``tidegate gate``: what a person and a machine get to see, and the exit codes."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from core.errors import BadInputError
from core.settings import get_settings
from tidegate.cli import app

SMALL = ("--markets", "1", "--planted", "1", "--trials", "6", "--boosted", "0", "--steps", "2000", "--workers", "1")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    get_settings.cache_clear()
    content = {"market": "made", "seed": 1, "evaluation": {"bootstrap_draws": 100}, "gate": {"leak_checks": False}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    yield tmp_path
    get_settings.cache_clear()


def gate(workspace: Path, *arguments: str) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["gate", *arguments, "-w", str(workspace)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout, result.stderr


def test_rates_are_printed_for_people_and_machines_and_nothing_is_judged_twice(workspace: Path) -> None:
    said, progress = gate(workspace, "simulate", "--offline", *SMALL)
    assert "without signal, let through: 0 of 1, 0.0% (95 % interval 0.0% to 97.5%)" in said
    assert "Bayes-optimal: log-loss skill" in said and "planted (strength 0.08)" in said
    assert progress.count("gate: ") == 2 and "refused by" in progress
    output, again = gate(workspace, "simulate", "--offline", *SMALL, "--json")
    assert "gate: " not in again, "both markets lie in the state directory"
    content: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert content["false_passes"]["of"] == content["passes"]["of"] == 1
    assert {outcome["kind"] for outcome in content["outcomes"]} == {"none", "planted"}
    assert content["options"]["trials"] == 6
    assert Path(content["folder"]).is_relative_to(workspace / "state")
    _, fresh = gate(workspace, "simulate", "--offline", *SMALL, "--planted", "0", "--fresh")
    assert fresh.count("gate: 1/1") == 1


def test_what_makes_no_sense_is_refused(workspace: Path) -> None:
    with pytest.raises(BadInputError, match="trials"):
        gate(workspace, "simulate", "--offline", "--trials", "0")
    with pytest.raises(BadInputError, match="nothing to simulate"):
        gate(workspace, "simulate", "--offline", "--markets", "0", "--planted", "0")
    (workspace / "params.yaml").write_text("market: made\nseed: 1\ngate: {minimum_luck: 3}\n")
    with pytest.raises(BadInputError, match="no minimum_luck"):
        gate(workspace, "offline", "1")
    with pytest.raises(BadInputError, match="no minimum_luck"):
        gate(workspace, "simulate", "--offline", *SMALL)
    (workspace / "params.yaml").write_text("market: made\nseed: 1\n")
    with pytest.raises(BadInputError, match="no version 7"):
        gate(workspace, "offline", "7")
