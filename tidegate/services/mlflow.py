"""The MLflow server: tracking, registry and the reviewers' page, over the SQLite store of the settings.

With ``TIDEGATE_MLFLOW__AUTHENTICATION=basic`` everybody signs in, and our app says who may decide.
"""

import base64
import os
import secrets
from pathlib import Path
from typing import Any

from core.files import write_bytes
from core.settings import Settings, get_settings
from serving.release.signing import secret_file
from tidegate.mlflow_app.account import PROVIDER, authorization, platform_password, require_installed
from tidegate.processes.ports import HOST, choose_port
from tidegate.processes.readiness import answers
from tidegate.processes.service import CommandService, Launch, python
from tidegate.services.environment import QUIET

MLFLOW = "mlflow"


def mlflow_service(
    state: Path, port: int = 0, any_port_if_taken: bool = False, settings: Settings | None = None
) -> CommandService:
    """MLflow on ``<state>/mlflow``: one worker, artifacts served from ``<state>/mlflow/artifacts``.

    Args:
        state: the state directory.
        port: where it listens on loopback; 0: any.
        any_port_if_taken: take another port rather than fail.
        settings: who may do what; those of this process when not given.
    """
    chosen: list[int] = []
    asked = settings or get_settings()
    mine = asked.model_copy(
        update={"state_directory": state, "mlflow": asked.mlflow.model_copy(update={"tracking_uri": None})}
    )

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
        environment = {**QUIET, **_webhook_variables(mine)}
        if mine.mlflow.authentication == "basic":
            command += ["--app-name", PROVIDER]
            environment |= _account_variables(mine, folder)
        # /health answers before the store does; a search proves the store as well.
        search = f"{url}/api/2.0/mlflow/experiments/search?max_results=1"
        ready = answers("GET", search, accept=_holds_experiments, headers=authorization(mine))
        return Launch(command, ready, url, environment, folder)

    return CommandService(MLFLOW, launch, timeout_seconds=120.0, grace_seconds=8.0)


def _account_variables(settings: Settings, folder: Path) -> dict[str, str]:
    """What the app needs: the accounts' database, the platform's account (made at the first start), a session key."""
    require_installed()
    configuration = folder / "basic_auth.ini"
    lines = (
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = sqlite:///{folder / 'basic_auth.db'}",
        f"admin_username = {settings.mlflow.username}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        # A password is hashed anew for each request otherwise: a page of the registry asks some twenty times.
        "auth_cache_ttl_seconds = 30",
    )
    write_bytes(configuration, ("\n".join(lines) + "\n").encode())
    session = secret_file(settings.state / "keys" / "mlflow-session.key", secrets.token_hex(32).encode())
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": session.decode(),
        "MLFLOW_AUTH_ADMIN_USERNAME": settings.mlflow.username,
        "MLFLOW_AUTH_ADMIN_PASSWORD": platform_password(settings),
        "TIDEGATE_STATE_DIRECTORY": str(settings.state),
        "TIDEGATE_MLFLOW__AUTHENTICATION": "basic",
        "TIDEGATE_MLFLOW__USERNAME": settings.mlflow.username,
    }


def _webhook_variables(settings: Settings) -> dict[str, str]:
    """Let MLflow tell the platform of new tags: at its own loopback address, and with secrets encrypted at rest."""
    if settings.mlflow.webhook_url is None:
        return {}
    key = secret_file(settings.state / "keys" / "mlflow-webhooks.key", base64.urlsafe_b64encode(os.urandom(32)))
    return {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": key.decode(),
    }


def _holds_experiments(answer: Any) -> bool:
    return isinstance(answer, dict) and isinstance(answer.get("experiments"), list)
