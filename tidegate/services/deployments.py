"""The process that runs our flows on their schedules and on request: ``python -m flows.deployments``."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.processes.readiness import answers
from tidegate.processes.service import CommandService, Launch, python
from tidegate.workspace import pipeline_environment

DEPLOYMENTS = "deployments"
PRIORITY = "TIDEGATE_TRAINING__PRIORITY"


def deployments_service(
    api_url: str, workspace: Path, state: Path, environment: Mapping[str, str], depends_on: Sequence[str] = ()
) -> CommandService:
    """The flows of a workspace, served to the Prefect server at ``api_url``."""

    def launch() -> Launch:
        variables = {
            PRIORITY: os.environ.get(PRIORITY, "background"),  # beside a trader unless somebody says otherwise
            **environment,
            **pipeline_environment(workspace, state),
            "PREFECT_API_URL": api_url,
        }
        ready = answers("POST", f"{api_url}/deployments/filter", {"limit": 50}, accept=_all_ready)
        return Launch(python("-m", "flows.deployments", str(workspace)), ready, api_url, variables, workspace)

    return CommandService(DEPLOYMENTS, launch, depends_on=depends_on, timeout_seconds=90.0, grace_seconds=6.0)


def _all_ready(answer: Any) -> bool:
    return isinstance(answer, list) and bool(answer) and all(item.get("status") == "READY" for item in answer)
