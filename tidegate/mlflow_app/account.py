"""The platform's own account at the MLflow server: its password in a file of 0600, and how clients sign in with it."""

import os
import secrets
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from core.errors import ConfigurationError
from core.settings import Settings, get_settings
from serving.release.signing import check_private, secret_file

PASSWORD_FILE = "mlflow-platform.password"
PROVIDER = "tidegate"


def password_file(settings: Settings) -> Path:
    """Return where the password is."""
    return settings.mlflow.password_file or settings.state / "keys" / PASSWORD_FILE


def platform_password(settings: Settings) -> str:
    """Return the password of the platform's account; for our own server it is made once.

    Raises:
        ConfigurationError: the file that the settings name is not there, or others can read it.
    """
    path = password_file(settings)
    if settings.mlflow.password_file is not None or settings.mlflow.tracking_uri is not None:
        if not path.exists():
            raise ConfigurationError(
                f"MLflow asks for an account and {path} is not there: put the password of {settings.mlflow.username} "
                "into it (TIDEGATE_MLFLOW__PASSWORD_FILE)"
            )
        check_private(path)
        return path.read_text().strip()
    return secret_file(path, secrets.token_urlsafe(32).encode()).decode()


def sign_in(settings: Settings) -> dict[str, str]:
    """Return the variables under which MLflow's clients sign in; none where nobody has to.

    They name our provider, which reads the file at each request: no password is in any environment.

    Raises:
        ConfigurationError: the installation does not know our provider.
    """
    if settings.mlflow.authentication == "none":
        return {}
    require_installed()
    return {"MLFLOW_TRACKING_AUTH": PROVIDER, "TIDEGATE_MLFLOW__AUTHENTICATION": "basic"}


def sign_in_this_process(settings: Settings) -> None:
    """Let MLflow's clients in this process and its children sign in."""
    os.environ.update(sign_in(settings))


def require_installed() -> None:
    """Make sure that MLflow finds our plug-ins: without them its clients would just not sign in.

    Raises:
        ConfigurationError: the installed package is older than its code.
    """
    for group in ("mlflow.app", "mlflow.request_auth_provider"):
        if not any(point.name == PROVIDER for point in entry_points(group=group)):
            raise ConfigurationError(
                f"MLflow finds no plug-in `{PROVIDER}` of the group {group}: the installation is older than the code, "
                "run `make install` again"
            )


def authorization(settings: Settings) -> dict[str, str]:
    """Return the HTTP header that signs in, for requests without MLflow's client."""
    if settings.mlflow.authentication == "none":
        return {}
    import base64

    text = f"{settings.mlflow.username}:{platform_password(settings)}"
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


class PlatformAuthentication:
    """MLflow's plug-in for requests (entry point group ``mlflow.request_auth_provider``)."""

    def get_name(self) -> str:
        """The value of MLFLOW_TRACKING_AUTH that chooses it."""
        return PROVIDER

    def get_auth(self) -> Any:
        """Return what signs a request of the ``requests`` library in."""
        from requests.auth import HTTPBasicAuth

        settings = get_settings()
        return HTTPBasicAuth(settings.mlflow.username, platform_password(settings))
