"""``mlflow server --app-name tidegate``: MLflow's basic authentication, our roles, and a log of who changed what.

What only some may change is checked here, after MLflow knows the account and before it changes anything; the attempt
is in the log first. Requests are read by MLflow's own parser: what is judged is what will be done.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.logging import configure_logging, get_logger
from core.settings import get_settings
from serving.release.access import AccessLog
from tidegate.mlflow_app.guard import Change, guarded, refusal
from tidegate.mlflow_app.roles import WORKSPACE, ensure_roles

_log = get_logger("mlflow")
_ASSISTANT = "/mlflow/assistant"
_Reader = Callable[[Any], list[Change]]


def create_app() -> Any:
    """Return the server's application; MLflow calls this in every worker."""
    from flask import request
    from mlflow.server import app as flask_app
    from mlflow.server import auth
    from mlflow.server.handlers import catch_mlflow_exception

    settings = get_settings()
    configure_logging(settings.logging, "mlflow")
    log, routes = AccessLog.of(settings), _routes()

    def asked() -> "_Asked | None":
        """Who asks for which guarded changes; None where there are none, or nobody is signed in."""
        read = routes.get((request.path, request.method))
        if read is None:
            return None
        username = str(getattr(auth.authenticate_request(), "username", "") or "")
        changes = [change for change in read(request) if guarded(change)] if username else []
        if not changes:
            return None
        account = auth.store.get_user(username)
        roles = tuple(sorted(r.name for r in auth.store.list_user_roles_for_workspace(account.id, WORKSPACE)))
        return _Asked(username, roles, username == settings.mlflow.username, changes)

    @catch_mlflow_exception
    def refuse() -> Any:
        attempt = asked()
        if attempt is None:
            return None
        found = [(change, refusal(change, attempt.roles, platform=attempt.platform)) for change in attempt.changes]
        refused = [(change, why) for change, why in found if why]
        if not refused:
            return None
        for change, why in refused:
            attempt.write(log, change, why)
            _log.warning("refused", user=attempt.user, action=change.action, model=change.model_name, words=why)
        response = auth.make_forbidden_response()
        response.set_data(refused[0][1])
        return response

    @catch_mlflow_exception
    def note() -> Any:
        attempt = asked()
        if attempt is not None:
            for change in attempt.changes:
                # What the platform says of its own work is in its own ledgers.
                if not (attempt.platform and change.action == "set_tag"):
                    attempt.write(log, change)

    # MLflow's check lies between the two: a refusal of ours is logged whatever MLflow would say, and what is noted as
    # allowed was allowed by both.
    flask_app.before_request(refuse)
    application = auth.create_app(flask_app)
    flask_app.before_request(note)
    ensure_roles(auth.store)
    return _without_assistant(application)


def _without_assistant(application: Any) -> Any:
    """Close MLflow's assistant: it runs shell commands of whoever is signed in, as the account that holds the keys."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and _ASSISTANT in scope["path"]:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"the assistant is switched off on this server"})
            return
        await application(scope, receive, send)

    return serve


@dataclass(frozen=True)
class _Asked:
    """A request that would change what only some may change."""

    user: str
    roles: tuple[str, ...]
    platform: bool
    changes: list[Change]

    def write(self, log: AccessLog, change: Change, refused: str = "") -> None:
        log.write(
            user=self.user,
            roles=self.roles,
            action=change.action,
            model_name=change.model_name,
            version=change.version,
            key=change.key,
            value=change.value,
            allowed=not refused,
            words=refused,
        )


def _routes() -> dict[tuple[str, str], _Reader]:
    """Return for each route that can change the registry how its request reads."""
    from mlflow.protos import model_registry_pb2 as messages
    from mlflow.server.handlers import _get_request_message as parse  # pyright: ignore[reportPrivateUsage]
    from mlflow.server.handlers import get_endpoints

    def reader(message: Any, read: Callable[[Any], list[Change]]) -> _Reader:
        return lambda request: read(parse(message(), request))

    readers: dict[Any, _Reader] = {
        messages.SetModelVersionTag: reader(
            messages.SetModelVersionTag, lambda m: [Change("set_tag", m.name, version(m.version), m.key, m.value)]
        ),
        messages.DeleteModelVersionTag: reader(
            messages.DeleteModelVersionTag, lambda m: [Change("delete_tag", m.name, version(m.version), m.key)]
        ),
        messages.SetRegisteredModelTag: reader(
            messages.SetRegisteredModelTag, lambda m: [Change("set_tag", m.name, "", m.key, m.value)]
        ),
        messages.DeleteRegisteredModelTag: reader(
            messages.DeleteRegisteredModelTag, lambda m: [Change("delete_tag", m.name, "", m.key)]
        ),
        messages.SetRegisteredModelAlias: reader(
            messages.SetRegisteredModelAlias,
            lambda m: [Change("set_alias", m.name, version(m.version), m.alias, version(m.version))],
        ),
        messages.DeleteRegisteredModelAlias: reader(
            messages.DeleteRegisteredModelAlias, lambda m: [Change("delete_alias", m.name, "", m.alias)]
        ),
        messages.CreateModelVersion: reader(
            messages.CreateModelVersion, lambda m: [Change("set_tag", m.name, "new", t.key, t.value) for t in m.tags]
        ),
        messages.CreateRegisteredModel: reader(
            messages.CreateRegisteredModel, lambda m: [Change("set_tag", m.name, "", t.key, t.value) for t in m.tags]
        ),
        messages.DeleteModelVersion: reader(
            messages.DeleteModelVersion, lambda m: [Change("delete_version", m.name, version(m.version))]
        ),
        messages.DeleteRegisteredModel: reader(
            messages.DeleteRegisteredModel, lambda m: [Change("delete_model", m.name)]
        ),
        messages.RenameRegisteredModel: reader(
            messages.RenameRegisteredModel, lambda m: [Change("rename_model", m.name, "", "", m.new_name)]
        ),
    }
    found = get_endpoints(lambda message: readers.get(message))
    return {
        (path, method): handler for path, handler, methods in found for method in methods if handler in readers.values()
    }


def version(text: str) -> str:
    """Return a version as the registry keeps it: ``01`` and ``1`` are one."""
    return str(int(text)) if text.isdecimal() and len(text) < sys.int_info.str_digits_check_threshold else text
