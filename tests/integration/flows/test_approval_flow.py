"""The approval flow on a real Prefect server: no process while it waits, and on it goes when a reviewer decided."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from review_room import ReviewRoom, register_version

from core.clock import LiveClock
from core.database import create_engine, migrate
from core.settings import MlflowSettings, Settings
from flows.resume import resume_decided
from serving.release.review_requests import RequestState, ReviewRequests
from serving.release.signing import ApprovalKeys
from tidegate.processes.memory import tree
from tidegate.processes.readiness import request_json
from tidegate.processes.supervisor import Supervisor
from tidegate.services.deployments import deployments_service
from tidegate.services.environment import platform_environment
from tidegate.services.prefect import prefect_service

pytestmark = pytest.mark.heavy
ROOT = Path(__file__).resolve().parents[3]
NAME = "tidegate-fixings"


def eventually(condition: Callable[[], bool], seconds: float = 180.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReviewRoom]:
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    engine = create_engine(f"sqlite:///{tmp_path}/platform.db")
    migrate(engine)
    register_version(client, NAME, tmp_path / "one")
    yield ReviewRoom(client, NAME, engine, ApprovalKeys(tmp_path / "keys"), LiveClock())
    engine.dispose()


def test_a_suspended_flow_holds_no_process_and_is_resumed_by_the_decision(room: ReviewRoom, tmp_path: Path) -> None:
    settings = Settings(state_directory=tmp_path, mlflow=MlflowSettings(tracking_uri=str(room.client.tracking_uri)))
    with Supervisor(tmp_path) as supervisor:
        prefect = prefect_service(tmp_path)
        supervisor.start(prefect)
        api = prefect.url
        environment = platform_environment(
            settings,
            database_url=f"sqlite:///{tmp_path}/platform.db",
            mlflow_uri=str(room.client.tracking_uri),
            prefect_api_url=api,
        )
        worker = deployments_service(api, ROOT, tmp_path, environment)
        supervisor.start(worker)
        assert worker.process is not None
        idle = len(tree(worker.process.guardian_pid))
        deployment = request_json("GET", f"{api}/deployments/name/approval/approval-fixings", timeout_seconds=20.0)
        body = {"parameters": {"name": NAME, "version": "1", "requested_by": "test"}, "state": {"type": "SCHEDULED"}}
        started = request_json("POST", f"{api}/deployments/{deployment['id']}/create_flow_run", body, 20.0)

        def run() -> Any:
            return request_json("GET", f"{api}/flow_runs/{started['id']}", timeout_seconds=20.0)

        assert eventually(lambda: run()["state_type"] in ("PAUSED", "FAILED", "CRASHED"))
        assert run()["state_name"] == "Suspended"
        assert eventually(lambda: len(tree(worker.process.guardian_pid)) <= idle)  # type: ignore[union-attr]
        requests = ReviewRequests(room.engine)
        (waiting,) = requests.waiting()
        assert (waiting.flow_run_id, waiting.requested_by) == (started["id"], "test")
        assert room.tags()["approval_status"].startswith("waiting for review")
        assert resume_decided(requests, api) == []  # nobody has decided

        room.tag(approval="approved", approval_reason="read")
        room.watch()
        assert [request.state for request in resume_decided(requests, api)] == [RequestState.APPROVED]
        assert resume_decided(requests, api) == [] and requests.untold() == []
        assert eventually(lambda: run()["state_type"] in ("COMPLETED", "FAILED", "CRASHED"))
        assert run()["state_type"] == "COMPLETED"
        artifacts = request_json("POST", f"{api}/artifacts/filter", {}, 20.0)
        (decision,) = [artifact for artifact in artifacts if artifact["key"] == "decision"]
        assert "approved by somebody in the MLflow UI: read (record 1)" in decision["data"]
