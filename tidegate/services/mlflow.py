"""The MLflow server: tracking, registry and the reviewers' page, over the SQLite store of the settings."""

from pathlib import Path
from typing import Any

from tidegate.processes.ports import HOST, choose_port
from tidegate.processes.readiness import answers
from tidegate.processes.service import CommandService, Launch, python
from tidegate.services.environment import QUIET

MLFLOW = "mlflow"


def mlflow_service(state: Path, port: int = 0, any_port_if_taken: bool = False) -> CommandService:
    """MLflow on ``<state>/mlflow``: one worker, artifacts served from ``<state>/mlflow/artifacts``."""
    chosen: list[int] = []

    def launch() -> Launch:
        if not chosen:
            chosen.append(choose_port(port, "MLflow (TIDEGATE_MLFLOW__PORT)", any_port_if_taken))
        folder = state / "mlflow"
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        url = f"http://{HOST}:{chosen[0]}"
        command = python(
            *("-m", "mlflow", "server", "--host", HOST, "--port", str(chosen[0]), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")),
        )
        # /health answers before the store does; a search proves the store as well.
        ready = answers("GET", f"{url}/api/2.0/mlflow/experiments/search?max_results=1", accept=_holds_experiments)
        return Launch(command, ready, url, QUIET, folder)

    return CommandService(MLFLOW, launch, timeout_seconds=120.0, grace_seconds=8.0)


def _holds_experiments(answer: Any) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("experiments"), list)
