"""The MLflow server as a service: ready means the store answers; killed, it starts again on the same store."""

import os
import signal
import socket
from pathlib import Path

import pytest

from core.errors import BadInputError
from tidegate.processes.memory import proportional_set_size, tree
from tidegate.processes.readiness import request_json
from tidegate.processes.records import read_records
from tidegate.processes.supervisor import Supervisor
from tidegate.services.health import check_all
from tidegate.services.mlflow import mlflow_service

pytestmark = pytest.mark.heavy


def test_ready_kill_and_start_again_on_the_same_store(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        service = mlflow_service(tmp_path)
        supervisor.start(service)
        made = request_json("POST", f"{service.url}/api/2.0/mlflow/experiments/create", {"name": "kept"})
        assert service.process is not None
        # Ten job processes of 2.7 GB come with the default settings; ours are two.
        assert proportional_set_size(tree(service.process.guardian_pid)) < 1.0e9
        assert len(tree(service.process.guardian_pid)) <= 4
        os.kill(service.process.pid, signal.SIGKILL)
        supervisor.stop(["mlflow"])
        supervisor.start(service)
        found = request_json(
            "GET", f"{service.url}/api/2.0/mlflow/experiments/get?experiment_id={made['experiment_id']}"
        )
        assert found["experiment"]["name"] == "kept"
        assert found["experiment"]["artifact_location"].startswith("mlflow-artifacts:")
        (health,) = check_all(read_records(tmp_path))
        assert (health.name, health.answers, health.detail) == ("mlflow", True, "0 registered models")


def test_a_port_in_use_is_one_clear_line_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Supervisor(tmp_path) as supervisor:
            words = rf"port {port} for MLflow \(TIDEGATE_MLFLOW__PORT\) is in use"
            with pytest.raises(BadInputError, match=words):
                supervisor.start(mlflow_service(tmp_path, port))
    assert not (tmp_path / "mlflow").exists()
