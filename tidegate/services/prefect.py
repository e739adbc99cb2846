"""The Prefect server.

The server keeps its state in SQLite: the PostgreSQL of the embedded wheel has no ``pg_trgm``, which Prefect's schema
needs. With a managed PostgreSQL, set ``PREFECT_API_DATABASE_CONNECTION_URL``; it is passed on.
"""

import os
from pathlib import Path

from tidegate.processes.ports import HOST, choose_port
from tidegate.processes.readiness import answers
from tidegate.processes.service import CommandService, Launch, python
from tidegate.services.environment import QUIET

PREFECT = "prefect"


def prefect_service(state: Path, port: int = 0, any_port_if_taken: bool = False) -> CommandService:
    """The Prefect server on ``<state>/prefect``; ``url`` is its API (``…/api``), the page is one level up."""
    chosen: list[int] = []

    def launch() -> Launch:
        if not chosen:
            chosen.append(choose_port(port, "Prefect (TIDEGATE_PREFECT__PORT)", any_port_if_taken))
        folder = state / "prefect"
        folder.mkdir(parents=True, exist_ok=True)
        api = f"http://{HOST}:{chosen[0]}/api"
        database = os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{folder / 'prefect.db'}")
        environment = {
            **QUIET,
            "PREFECT_HOME": str(folder),
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_API_URL": api,
            "PREFECT_UI_API_URL": api,
            "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        }
        command = python("-m", "prefect", "server", "start", "--host", HOST, "--port", str(chosen[0]))
        # /health answers without the database; a count asks it.
        ready = answers("POST", f"{api}/flows/count", {}, accept=lambda answer: isinstance(answer, int))
        return Launch(command, ready, api, environment, folder)

    # Time to drain: events of the last flow runs are still being written.
    return CommandService(PREFECT, launch, timeout_seconds=120.0, grace_seconds=8.0)
