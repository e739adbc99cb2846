"""Accounts of the registry: who has one, which roles they have, and how they get their passwords."""

import secrets
from pathlib import Path
from typing import Any

from core.errors import BadInputError, ConfigurationError, UnavailableError
from serving.release.signing import secret_file
from tidegate.mlflow_app.account import authorization
from tidegate.mlflow_app.roles import WORKSPACE, Role
from tidegate.platform import Addresses
from tidegate.processes.readiness import request

_LEAST_LETTERS = 12
_PATIENCE_SECONDS = 30.0
_USERS, _CREATE = "/api/2.0/mlflow/users/list", "/api/2.0/mlflow/users/create"
_ROLES, _ASSIGN = "/api/3.0/mlflow/roles/list", "/api/3.0/mlflow/roles/assign"


def add_account(
    addresses: Addresses, name: str, roles: list[str], password: str | None, folder: Path
) -> dict[str, Any]:
    """Make an account or give one that is there further roles; return what was done.

    Args:
        addresses: of the platform; its registry must ask who one is.
        name: of the account.
        roles: that it gets.
        password: of a new account; None: one is drawn, and kept in a file of 0600 in ``folder``.
        folder: for drawn passwords.

    Raises:
        BadInputError: a role that does not exist, a name that cannot be one, a password that is too short.
        ConfigurationError: the registry has no accounts.
        UnavailableError: it does not answer.
    """
    wanted = _roles(roles)
    if not name.isidentifier():
        raise BadInputError(f"{name!r} cannot be an account: use letters, digits and underscores")
    if password is not None and len(password) < _LEAST_LETTERS:
        raise BadInputError(f"the password has {len(password)} letters: use {_LEAST_LETTERS} or more")
    if name == addresses.settings.mlflow.username:
        raise BadInputError(f"{name} is the platform's own account, which decides nothing: choose another name")
    path: Path | None = None
    present = {str(user["username"]): user for user in _users(addresses)}
    if name not in present:
        if password is None:
            path = folder / f"{name}.password"
            # One that is there already is of an account that a kill kept from being made.
            password = secret_file(path, secrets.token_urlsafe(18).encode()).decode()
        _ask(addresses, "POST", _CREATE, {"username": name, "password": password})
    elif password is not None:
        raise BadInputError(f"there is an account {name} already: change its password in MLflow, and give roles only")
    known = {role["name"]: role["id"] for role in _ask(addresses, "GET", f"{_ROLES}?workspace={WORKSPACE}")["roles"]}
    held = {str(role["name"]) for role in present[name]["roles"]} if name in present else set[str]()
    for role in wanted:
        if role not in held:
            _ask(addresses, "POST", _ASSIGN, {"username": name, "role_id": known[role]})
    return {
        "name": name,
        "roles": sorted({*held, *wanted} & set(Role)),
        "made": name not in present,
        "password_file": None if path is None else str(path),
    }


def list_accounts(addresses: Addresses) -> list[dict[str, Any]]:
    """Return the accounts with their roles.

    Raises:
        ConfigurationError, UnavailableError: as ``add_account``.
    """
    found: list[dict[str, Any]] = []
    for user in sorted(_users(addresses), key=lambda entry: str(entry["username"])):
        name = str(user["username"])
        roles = {str(role["name"]) for role in user["roles"]} & set(Role)
        own = ["platform"] if name == addresses.settings.mlflow.username else []
        found.append({"name": name, "roles": own + sorted(roles)})
    return found


def _roles(roles: list[str]) -> list[Role]:
    unknown = sorted(set(roles) - set(Role))
    if unknown or not roles:
        raise BadInputError(f"no role {unknown[0]!r}: choose of {', '.join(Role)}" if unknown else "name a --role")
    return [Role(role) for role in dict.fromkeys(roles)]


def _users(addresses: Addresses) -> list[dict[str, Any]]:
    return _ask(addresses, "GET", _USERS)["users"]


def _ask(addresses: Addresses, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the registry as the platform; over HTTP, because MLflow's client of the accounts loads its whole server."""
    if addresses.settings.mlflow.authentication == "none":
        raise ConfigurationError(
            "the registry asks nobody who they are: set TIDEGATE_MLFLOW__AUTHENTICATION=basic and start the services "
            "again"
        )
    if not addresses.mlflow_uri.startswith("http"):
        raise UnavailableError("no MLflow server runs here: `tidegate up`, or set TIDEGATE_MLFLOW__TRACKING_URI")
    header = authorization(addresses.settings)
    try:
        status, answer = request(method, f"{addresses.mlflow_uri}{path}", body, _PATIENCE_SECONDS, header)
    except OSError as error:
        raise UnavailableError(f"the registry's accounts cannot be read or changed: {error}") from error
    if status != 200:
        why = answer.get("message", answer) if isinstance(answer, dict) else answer
        raise UnavailableError(f"the registry refused {method} {path.partition('?')[0]} with {status}: {why}")
    return answer
