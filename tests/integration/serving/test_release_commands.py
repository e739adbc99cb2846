"""The commands of a release as a person types them, on a real registry: exit codes, words, and what is left."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from release_room import make_registry
from typer.testing import CliRunner

from core.settings import Settings, get_settings
from tidegate.cli import app

NAME = "tidegate-desk"
RELEASE = """
release:
  shadow: { minimum_decisions: 10, minimum_blocks: 2, maximum_days: 10.0 }
  canary: [ { share: 0.5, minimum_decisions: 10, minimum_blocks: 2, maximum_days: 10.0, tests: [benefit, harm] } ]
"""
Ask = Any


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A registry of three versions; what a test says of them there, the next one says anew."""
    return make_registry(tmp_path_factory.mktemp("release-commands"), name=NAME)[0]


@pytest.fixture
def ask(registry: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Run a command in a workspace of its own and return exit code, object and text."""
    repository = Path(__file__).resolve().parents[3]
    above = (repository / "params.yaml").read_text().split("\nrelease:")[0]  # what stands above the section of releases
    (tmp_path / "params.yaml").write_text(above.replace("market: fixings", "market: desk") + RELEASE)
    monkeypatch.setenv("TIDEGATE_DATABASE__URL", f"sqlite:///{tmp_path}/platform.db")
    monkeypatch.setenv("TIDEGATE_MLFLOW__TRACKING_URI", registry.mlflow_tracking_uri)
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(app, [*words, "-w", str(tmp_path)] + (["--json"] if "--json" not in words else []))
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "{}"
        value = json.loads(last) if last.startswith("{") else {}
        return getattr(done.exception, "exit_code", done.exit_code), value | {
            "words": done.output,
            "error": done.exception,
        }

    yield run
    get_settings.cache_clear()


def test_approve_release_and_promote_by_hand(ask: Ask) -> None:
    code, first = ask("approve", "1", "--reason", "read it")
    assert code == 0, first
    assert (first["served"], first["state"], first["revision"]) == (True, "champion", 1)
    code, second = ask("approve", "2", "--reason", "better")
    assert (code, second["served"], second["state"], second["champion"]) == (0, False, "shadow", "1")
    code, found = ask("models")
    assert code == 0, found
    assert found["serving"]["champion"]["version"] == "1"
    assert found["serving"]["challenger"] | {"version": "2", "share": 0.0} == found["serving"]["challenger"]
    assert found["serving"]["release"]["state"] == "shadow"
    assert [row["served"] for row in found["models"]] == ["", "shadow", "champion"]
    assert found["alerts"] == []
    for words, code, text in (
        (("approve", "3", "--reason", "also good"), 3, "one release at a time"),
        (("promote", "2"), 3, "no decision of both versions|0 of 10 decisions"),
        (("promote", "2", "--now"), 5, "needs a reason"),
        (("approve", "77", "--reason", "x"), 5, "no version 77"),
    ):
        assert_refused(ask(*words), code, text)
    listed = ask("release", "list")[1]["releases"]
    assert [(row["version"], row["state"]) for row in listed] == [("1", "champion"), ("2", "shadow")]
    code, done = ask("promote", "2", "--now", "--reason", "the desk asked for it")
    assert (code, done["reached"], done["timeline"][-1]["cause"]) == (0, ["champion"], "operator")
    assert_refused(ask("promote", "2"), 3, "champion already")
    assert_refused(ask("promote", "3"), 3, "no standing approval")
    assert_refused(ask("release", "abandon", "--reason", "x"), 3, "nothing of tidegate-desk is being released")
    assert_refused(ask("release", "show", "nothing.1.1"), 5, "no release nothing.1.1")


def test_a_rejection_ends_the_release_and_abandon_gives_it_up(ask: Ask) -> None:
    ask("approve", "1", "--reason", "read it")
    ask("approve", "2", "--reason", "better")
    code, rejected = ask("reject", "2", "--reason", "found a leak")
    assert (code, rejected["ended"], rejected["served"]) == (0, ["tidegate-desk.2.1"], False)
    assert ask("approve", "3", "--reason", "next")[1]["state"] == "shadow"
    code, given_up = ask("release", "abandon", "--reason", "no time")
    assert (code, given_up["state"]) == (0, "retired")
    code, again = ask("promote", "3")
    assert (code, again["reached"], again["release"]) == (0, ["approved", "shadow"], "tidegate-desk.3.2")
    found = ask("models")[1]["serving"]
    assert (found["champion"]["version"], found["challenger"]["version"], found["mode"]) == ("1", "3", "shadow")


def assert_refused(answer: tuple[int, dict[str, Any]], code: int, text: str) -> None:
    """Check the exit code of a command and that one line says why."""
    import re

    found, value = answer
    words = str(getattr(value["error"], "message", "")) + value["words"]
    assert found == code, (found, words)
    assert re.search(text, words), words
