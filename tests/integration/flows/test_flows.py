"""The flows on a real Prefect server: the whole pipeline on a tiny market, bad input, leases, kills."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from release_room import make_registry, open_desk

from core.embedded.guardian import marked
from core.embedded.redis import EmbeddedRedis
from core.errors import BadInputError, ConfigurationError, TidegateError, UnavailableError, UsageError
from core.files import write_json
from core.settings import Settings
from flows.lease import workspace_lease
from flows.pipeline import Pipeline, stage_names
from flows.run import run_flow
from tidegate.processes.readiness import request_json
from tidegate.processes.supervisor import Supervisor
from tidegate.services.deployments import deployments_service
from tidegate.services.environment import platform_environment
from tidegate.services.prefect import prefect_service
from tidegate.workspace import create_workspace, pipeline_environment
from training.retraining.requests import RetrainingRecord

ROOT = Path(__file__).resolve().parents[3]
TINY: dict[str, Any] = {
    "market": "tiny",
    "data": {"since": "2022-01-01", "instruments": ["EUR_USD", "GBP_USD"]},
    "features": {"warmup": 120},
    "validation": {"folds": 2, "train_steps": 350},
    "models": {
        "xgboost": {"rounds": 10},
        "random_forest": {"trees": 5, "minimum_leaf": 50},
        "lstm": {"lookback": 5, "epochs": 1, "hidden": 4},
    },
    "evaluation": {"bootstrap_draws": 50},
}
FITTED = {"dataset", "train@xgboost", "train@random_forest", "train@lstm", "blend", "evaluate"}
REBUILT_BY = {"data": {"ingest"}, "features": {"features", *FITTED}, "training": {"labels", *FITTED}}

pytestmark = pytest.mark.heavy


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def supervisor(state: Path) -> Iterator[Supervisor]:
    with Supervisor(state) as running:
        yield running


@pytest.fixture(scope="module")
def api(supervisor: Supervisor, state: Path) -> str:
    service = prefect_service(state)
    supervisor.start(service)
    return service.url


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return create_workspace(tmp_path / "tiny", TINY, ROOT)


def environment(api: str, state: Path, workspace: Path) -> dict[str, str]:
    return platform_environment(Settings(), state=state, prefect_api_url=api) | pipeline_environment(workspace, state)


def artifacts(api: str) -> dict[str, Any]:
    return {item["key"]: item for item in request_json("POST", f"{api}/artifacts/filter", {"sort": "UPDATED_DESC"})}


def test_retraining_from_source_to_registered_version(api: str, state: Path, workspace: Path) -> None:
    events: list[dict[str, Any]] = []
    variables = environment(api, state, workspace)
    result = run_flow("retrain", {"workspace": str(workspace)}, environment=variables, on_event=events.append)
    assert (result["name"], result["version"]) == ("tidegate-tiny", "1")
    assert [stage for stage, outcome in result["stages"].items() if outcome["ran"]] == stage_names(workspace)
    told = [(event["stage"], event["state"]) for event in events if event["event"] == "stage"]
    assert told == [(name, state) for name in stage_names(workspace) for state in ("running", "done")]
    shown = artifacts(api)
    assert {"pipeline", "skill", "verdict", "data-quality"} <= set(shown)
    assert "gate" in shown["verdict"]["data"]
    rows = json.loads(shown["skill"]["data"])
    assert {"xgboost", "random_forest", "lstm", "blend"} <= {row["model"].removesuffix(" (chosen)") for row in rows}
    names = {run["name"] for run in request_json("POST", f"{api}/task_runs/filter", {"limit": 200})}
    assert set(stage_names(workspace)) <= names, "each stage is a task on the flow's page"

    # A drift alarm asks for a new model. Nothing changed: only the stages that always look run, the version stays.
    drift = workspace / "reports" / "drift" / "summary.json"
    write_json(drift, {"drifted": True, "share_drifted": 0.5, "share_threshold": 0.3, "words": "drift: half of them"})
    before = code_digests(workspace)
    again = run_flow("retraining", {"workspace": str(workspace)}, environment=variables)
    assert [reason["kind"] for reason in again["asking"]] == ["drift"]
    assert again["outcome"] == "nothing_new" or before != code_digests(workspace)
    assert again["model_digest"] == result["model_digest"]
    expected = {"code", "source", "register"}
    for room, stages in REBUILT_BY.items():  # somebody edited the code while this test ran
        expected |= stages if code_digests(workspace)[room] != before[room] else set()
    assert {stage for stage, outcome in again["stages"].items() if outcome["ran"]} <= expected
    assert again["version"] == "1" or before != code_digests(workspace)
    answered = run_flow("retraining", {"workspace": str(workspace)}, environment=variables)
    assert not answered["retrained"], "what was answered does not ask again"
    assert answered["pause_left_seconds"] > 0
    [request] = RetrainingRecord(state / "retraining", "tidegate-tiny").requests()
    assert request.ended is not None and request.ended.request == again["request"]

    with EmbeddedRedis(state / "redis") as redis:
        variables["TIDEGATE_REDIS__URL"] = redis.url
        done = run_flow("materialize", {"workspace": str(workspace)}, environment=variables)
    assert (done["offered"], done["online_store"]) == (["EUR_USD", "GBP_USD"], "redis")


def code_digests(workspace: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (workspace / "lineage" / "code").iterdir()}


def test_bad_input_is_the_stages_own_line(api: str, state: Path, workspace: Path) -> None:
    create_workspace(workspace, {**TINY, "data": {"instruments": ["EUR_XXX"], "since": "2022-01-01"}}, ROOT)
    log = state / "flow.log"
    with pytest.raises(BadInputError, match=r"^ingest: .*XXX"):
        run_flow("ingest", {"workspace": str(workspace)}, environment=environment(api, state, workspace), log_file=log)
    assert not (workspace / "data" / "raw" / "catalog" / "manifest.json").exists()
    runs = request_json("POST", f"{api}/task_runs/filter", {"sort": "END_TIME_DESC", "limit": 5})
    assert runs[0]["run_count"] == 1, "bad input must not be tried again"


def test_what_cannot_run_is_refused_before_a_process_is_started(workspace: Path) -> None:
    with pytest.raises(UsageError, match="no flow 'dance'"):
        run_flow("dance", {})
    with pytest.raises(ConfigurationError, match="PREFECT_API_URL is not set"):
        run_flow("retrain", {"workspace": str(workspace)}, environment={"PREFECT_API_URL": ""})


def test_a_folder_that_is_no_workspace(api: str, state: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no workspace"):
        run_flow("retrain", {"workspace": str(tmp_path)}, environment=environment(api, state, tmp_path))


def test_a_killed_owner_takes_the_flow_along_and_the_next_run_completes(api: str, state: Path, workspace: Path) -> None:
    code = (
        "import json, sys\nfrom flows.run import run_flow\n"
        "run_flow('ingest', {'workspace': sys.argv[1]}, on_event=lambda e: print(json.dumps(e), flush=True))"
    )
    mark = {"TIDEGATE_GUARD_TOKEN": f"test-{os.getpid()}-{time.time_ns()}"}
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment(api, state, workspace), **mark},
    )
    assert owner.stdout is not None
    for line in owner.stdout:
        if json.loads(line).get("stage") == "ingest":
            break
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert eventually(lambda: not working_in(workspace)), working_in(workspace)
    assert not marked(mark["TIDEGATE_GUARD_TOKEN"])
    result = run_flow("ingest", {"workspace": str(workspace)}, environment=environment(api, state, workspace))
    assert (workspace / "data" / "raw" / "catalog" / "manifest.json").exists()
    assert Path(result["report"]).is_dir()


def working_in(folder: Path) -> list[str]:
    """Command lines of the processes whose working folder is ``folder``."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_deployments_are_ready_and_scheduled(supervisor: Supervisor, api: str, state: Path, workspace: Path) -> None:
    service = deployments_service(api, workspace, state, environment(api, state, workspace))
    supervisor.start(service)
    found = {item["name"]: item for item in request_json("POST", f"{api}/deployments/filter", {})}
    names = ("approval", "drift", "ingest", "materialize", "release", "retrain", "retraining")
    assert set(found) == {f"{name}-tiny" for name in names}
    scheduled = {name for name, item in found.items() if any(one["active"] for one in item["schedules"])}
    asked_for = {"approval-tiny", "retrain-tiny"}  # by people, and by the triggers
    assert scheduled == set(found) - asked_for
    created = request_json("POST", f"{api}/deployments/{found['ingest-tiny']['id']}/create_flow_run", {})

    def completed() -> bool:
        run = request_json("GET", f"{api}/flow_runs/{created['id']}")
        assert run["state_type"] not in ("FAILED", "CRASHED"), run["state"]
        return run["state_type"] == "COMPLETED"

    assert eventually(completed, 90.0)
    assert (workspace / "data" / "raw" / "catalog" / "manifest.json").exists()
    supervisor.stop([service.name])


def test_releases_are_carried_on_and_shown(api: str, tmp_path: Path, workspace: Path) -> None:
    state, name, url = tmp_path / "state", "tidegate-tiny", f"sqlite:///{tmp_path}/platform.db"
    settings, packages = make_registry(state, versions=2, name=name)
    desk = open_desk(settings, packages, state, url)
    desk.approve("1")
    desk.approve("2")
    variables = environment(api, state, workspace) | {
        "TIDEGATE_DATABASE__URL": url,
        "TIDEGATE_MLFLOW__TRACKING_URI": settings.mlflow_tracking_uri,
    }
    outcome = run_flow("release", {"workspace": str(workspace)}, environment=variables)
    reached = [(entry["release"], entry["state"]) for entry in outcome["reached"]]
    assert reached == [
        (f"{name}.1.1", "approved"),
        (f"{name}.1.1", "champion"),
        (f"{name}.2.1", "approved"),
        (f"{name}.2.1", "shadow"),
    ]
    assert "0 of 400 decisions" in outcome["words"]
    champion = desk.room.releases.champion(name)
    assert champion is not None and outcome["bentos"] == {champion.release_id: champion.bento}
    assert champion.bento.startswith(name) and (state / "bentoml" / "bentos" / name).is_dir()
    shown = artifacts(api)
    rows = json.loads(shown[f"release-{name}"]["data"])
    assert [row["to"] for row in rows] == ["candidate", "approved", "shadow"]
    assert "| harm | 1 | 1 | 20 |" in shown[f"findings-{name}"]["data"]
    desk.room.approvals.engine.dispose()


def test_two_holders_of_a_workspace_follow_each_other(tmp_path: Path) -> None:
    order: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with workspace_lease(tmp_path):
            inside.set()
            time.sleep(0.4)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with pytest.raises(UnavailableError, match="another flow has been working"), workspace_lease(tmp_path, 0.1):
        order.append("never")
    with workspace_lease(tmp_path, 10.0, on_wait=lambda words: order.append("waited")):
        order.append("second")
    thread.join()
    assert order == ["waited", "first", "second"]


def test_a_killed_worker_is_said_and_leaves_the_stage_to_be_run_again(workspace: Path, state: Path) -> None:
    lines: list[str] = []
    variables = pipeline_environment(workspace, state)
    with Pipeline(workspace, lines.append, variables) as pipeline:
        assert pipeline.run("code").ran
        process = pipeline.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(UnavailableError, match="worker ended while it ran source"):
            pipeline.run("source")
    with Pipeline(workspace, lines.append, variables) as pipeline:
        assert pipeline.run("source").ran


@pytest.mark.parametrize("cut", ["", '{"write": {"x": {"pid": 12, "c'])
def test_what_a_killed_run_left_half_written_does_not_stop_the_next_one(workspace: Path, state: Path, cut: str) -> None:
    lines: list[str] = []
    variables = pipeline_environment(workspace, state)
    with Pipeline(workspace, lines.append, variables) as pipeline:
        assert pipeline.run("code").ran
    whole = (workspace / "dvc.lock").read_text()
    (workspace / ".dvc" / "tmp" / "rwlock").write_text(cut)
    (workspace / "dvc.lock").write_text(whole[: len(whole) // 2] if cut else "")
    with Pipeline(workspace, lines.append, variables) as pipeline:
        pipeline.run("code")
    assert (workspace / "dvc.lock").read_text() == whole
    assert any("register of locks" in line for line in lines)
    assert any("dvc.lock" in line for line in lines)


def test_a_lock_of_a_number_that_another_process_has_by_now_is_no_lock(workspace: Path, state: Path) -> None:
    variables = pipeline_environment(workspace, state)
    with Pipeline(workspace, lambda line: None, variables) as pipeline:
        assert pipeline.run("code").ran
    register = workspace / ".dvc" / "tmp" / "rwlock"
    held = {str(workspace / "lineage"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    register.write_text(json.dumps({"write": held, "read": {}}))
    with Pipeline(workspace, lambda line: None, variables) as pipeline, pytest.raises(TidegateError, match="busy"):
        pipeline.run("code", force=True)
    os.utime(register, (1.0, 1.0))  # written long before this process began
    with Pipeline(workspace, lambda line: None, variables) as pipeline:
        assert pipeline.run("code", force=True).ran
