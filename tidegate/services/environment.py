"""What every process of the platform finds in its environment, and where the platform's addresses come from."""

import os
from collections.abc import Mapping
from pathlib import Path

from core.settings import Settings
from tidegate.mlflow_app.account import sign_in

# Nothing reports home, and nothing starts a server of its own accord.
QUIET: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # bars are for terminals, not for logs
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 2 processes instead of 10, 0.5 GB instead of 2.7
    "BENTOML_DO_NOT_TRACK": "True",
    "DVC_NO_ANALYTICS": "1",
    "FEAST_USAGE": "False",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # a missing address fails at once instead of after 20 s
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "GIT_PYTHON_REFRESH": "quiet",
    "MPLBACKEND": "Agg",
}


def platform_environment(
    settings: Settings,
    *,
    state: Path | None = None,
    database_url: str | None = None,
    redis_url: str | None = None,
    mlflow_uri: str | None = None,
    prefect_api_url: str | None = None,
) -> dict[str, str]:
    """Return the variables a process of the platform needs to reach the others; the rest is inherited.

    Settings of this process reach its children through their own variables; what is given here replaces them.
    """
    state = (state or settings.state).absolute()
    environment = {
        **QUIET,
        **sign_in(settings),
        "TIDEGATE_STATE_DIRECTORY": str(state),
        "TIDEGATE_LOGGING__FORMAT": settings.logging.format,
        "TIDEGATE_LOGGING__LEVEL": settings.logging.level,
        "PREFECT_HOME": str(state / "prefect"),
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",  # a log of a killed process must hold its last words
    }
    for name, value in (
        ("TIDEGATE_DATABASE__URL", database_url),
        ("TIDEGATE_REDIS__URL", redis_url),
        ("TIDEGATE_MLFLOW__TRACKING_URI", mlflow_uri),
        ("PREFECT_API_URL", prefect_api_url),
        ("TIDEGATE_PREFECT__API_URL", prefect_api_url),
    ):
        if value:
            environment[name] = value
    return environment


def quiet_this_process() -> None:
    """Apply the same to this process, before it imports a library that would report home."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
