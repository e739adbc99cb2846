"""The Ray Serve application as a service: ``python -m serving.server``."""

from collections.abc import Mapping
from pathlib import Path

from tidegate.processes.ports import HOST, choose_port
from tidegate.processes.readiness import read_ready_file, request
from tidegate.processes.service import CommandService, Launch, python
from tidegate.services.environment import QUIET

SERVING = "serving"


def serving_service(
    state: Path, environment: Mapping[str, str], port: int = 0, any_port_if_taken: bool = False
) -> CommandService:
    """The inference service over the verified models of ``<state>/serving``; ready without one, then it says so."""
    chosen: list[int] = []
    ready_file = state / "run" / "serving.ready"

    def launch() -> Launch:
        if not chosen:
            chosen.append(choose_port(port, "the inference service (TIDEGATE_SERVING__PORT)", any_port_if_taken))
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        ready_file.unlink(missing_ok=True)
        url = f"http://{HOST}:{chosen[0]}"
        variables = {
            **QUIET,
            **environment,
            "TIDEGATE_STATE_DIRECTORY": str(state),
            "TIDEGATE_SERVING__PORT": str(chosen[0]),
            "TIDEGATE_SERVING__HOST": HOST,
        }

        def ready() -> bool:
            return read_ready_file(ready_file) is not None and replica_answers(url)

        return Launch(python("-m", "serving.server", "--ready-file", str(ready_file)), ready, url, variables, state)

    return CommandService(SERVING, launch, timeout_seconds=150.0, grace_seconds=10.0)


def replica_answers(url: str) -> bool:
    """Whether the replica itself says how it is; HAProxy alone answers 404 or 500. Without a model it is up too."""
    try:
        status, answer = request("GET", f"{url}/readyz")
    except OSError:
        return False
    return status == 200 or (status == 503 and isinstance(answer, dict) and "models" in answer)
