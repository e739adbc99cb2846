"""The main job as a user runs it: killed, started again, interrupted, repeated, and looked at in a browser.

One story on one state directory, so that the servers and models are made once; the tests are its chapters.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidegate.processes.readiness import request_json

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]
CHROMIUM = Path("/usr/bin/chromium")


def _environment(state: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEGATE_", "PREFECT_", "MLFLOW_", "RAY_"))}
    # Free ports: tests beside this one may hold the usual ones.
    ports = {f"TIDEGATE_{name}__PORT": "0" for name in ("PREFECT", "MLFLOW", "SERVING", "RELEASE")}
    return {**kept, **ports, "TIDEGATE_STATE_DIRECTORY": str(state), "MLFLOW_DISABLE_TELEMETRY": "true"}


def _processes_of(state: Path) -> list[psutil.Process]:
    """Every process, however orphaned, that was started for this state directory."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("TIDEGATE_STATE_DIRECTORY", "")]
        except (psutil.Error, OSError):
            continue
        if process.pid != os.getpid() and any(str(state) in word for word in words):
            found.append(process)
    return found


def _all_gone(state: Path, seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := _processes_of(state)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [f"{process.pid} {process.name()}" for process in left]


@dataclass
class Run:
    """One ``tidegate demo`` process."""

    code: int
    stdout: str
    stderr: str
    left: list[str]

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.stdout.strip().splitlines()[-1])


@dataclass
class Story:
    """What happened, in order."""

    state: Path
    runs: dict[str, Run] = field(default_factory=dict)

    def demo(self, name: str, stop_at: str = "", stop_with: int = 0, patience_seconds: float = 20.0) -> Run:
        """Run the demo; send a signal when a line of its progress holds ``stop_at``."""
        log = self.state.parent / f"{name}.log"
        command = [sys.executable, "-m", "tidegate.cli", "demo", "--market", "quick", "--json"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, "--state", str(self.state)],
                stdout=subprocess.PIPE,
                stderr=stream,
                env=_environment(self.state),
                cwd=self.state.parent,
                start_new_session=True,
            )
            while stop_at and process.poll() is None and stop_at not in log.read_text(errors="replace"):
                time.sleep(0.1)
            if stop_with and process.poll() is None:
                process.send_signal(stop_with)
            stdout, _ = process.communicate(timeout=600)
        left = _all_gone(self.state, patience_seconds)
        self.runs[name] = Run(process.returncode, stdout.decode(), log.read_text(errors="replace"), left)
        return self.runs[name]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Generator[Story]:
    told = Story(tmp_path_factory.mktemp("demo") / "state")
    told.demo("killed", "Train models …", signal.SIGKILL)
    told.demo("complete")
    told.demo("interrupted", "Trade unseen data …", signal.SIGINT)
    told.demo("repeated")
    yield told
    for process in _processes_of(told.state):  # only after a failure
        process.kill()


def test_killed_it_leaves_no_process(story: Story) -> None:
    run = story.runs["killed"]
    assert run.code == -signal.SIGKILL
    assert run.left == []


def test_started_again_it_completes_with_right_results(story: Story) -> None:
    run = story.runs["complete"]
    assert run.code == 0, run.stderr[-2000:]
    assert run.left == []
    summary = run.summary
    trading = summary["trading"]
    assert trading["decisions"] == 120  # forty fixings, three pairs
    assert trading["answered_by"] == {"serve": 120}
    assert trading["orders"] > 0 and trading["fills"] >= trading["orders"]
    assert summary["reconciliation"] and all(row["equal"] for row in summary["reconciliation"])
    assert summary["parity"]["equal"] and summary["parity"]["rows"] == 120
    assert summary["replay"]["equal"] and summary["replay"]["entries"] > 1000
    assert 0 < summary["memory_peak_mb"] < 6 * 1024
    assert {row["name"] for row in summary["models"]} >= {
        "xgboost",
        "random_forest",
        "lstm",
        "blend",
        "flat",
        "momentum",
    }
    for path in summary["reports"].values():
        assert Path(path).stat().st_size > 0
    assert any("simulated" in line.lower() or "practice broker" in line for line in summary["simulated"])


def test_a_model_without_evidence_trades_on_paper_only_and_the_summary_says_why(story: Story) -> None:
    summary = story.runs["complete"].summary
    passed = all(rule["passed"] for rule in summary["verdict"]["rules"])
    assert passed is summary["verdict"]["passed"]
    assert "paper" in summary["let_through"]
    if not passed:
        assert "never trades on a live account" in summary["let_through"]


def test_ctrl_c_ends_it_cleanly(story: Story) -> None:
    run = story.runs["interrupted"]
    assert run.code == 130
    assert run.left == []
    assert "Traceback" not in run.stderr


def test_another_run_gives_the_same_models_orders_and_profit(story: Story) -> None:
    first, second = story.runs["complete"].summary, story.runs["repeated"].summary
    assert story.runs["repeated"].left == []
    for name in ("model", "data", "features", "orders", "fills"):
        assert first["digests"][name] == second["digests"][name]
    assert first["trading"]["profit"] == second["trading"]["profit"]
    assert first["registered"] == second["registered"]  # the same package keeps its version


@pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium at /usr/bin/chromium")
def test_each_result_can_be_found_in_the_three_pages(story: Story) -> None:
    from playwright.sync_api import sync_playwright

    environment = _environment(story.state)
    command = [sys.executable, "-m", "tidegate.cli"]
    up = subprocess.run(
        [*command, "up", "--without", "serving", "--without", "deployments", "--without", "pusher", "--json"],
        env=environment,
        cwd=story.state / "demo" / "quick",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    try:
        assert up.returncode == 0, up.stderr
        urls = {s["name"]: s["url"] for s in json.loads(up.stdout.strip().splitlines()[-1])["services"]}
        assert request_json("GET", f"{urls['release']}/healthz")["healthy"]
        summary = story.runs["repeated"].summary
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=str(CHROMIUM),
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
                      "--disable-component-update", "--disable-sync"],
            )  # fmt: skip
            page = browser.new_page()
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(Path(summary["reports"]["report"]).as_uri())
            page.wait_for_selector("#drift .main-svg")
            assert page.locator("#stages tr").count() == 13
            assert page.locator("#reconciliation .bad").count() == 0
            assert problems == []
            page.goto(f"{urls['prefect'].removesuffix('/api')}/runs", wait_until="domcontentloaded")
            page.get_by_text("retrain", exact=False).first.wait_for(timeout=60_000)
            page.get_by_text("drift", exact=False).first.wait_for(timeout=60_000)
            page.goto(f"{urls['mlflow']}/#/models/tidegate-quick", wait_until="domcontentloaded")
            page.get_by_text("champion").first.wait_for(timeout=60_000)
            browser.close()
    finally:
        down = subprocess.run([*command, "down"], env=environment, capture_output=True, timeout=120, check=False)
    assert down.returncode == 0
    assert _all_gone(story.state, 20) == []
