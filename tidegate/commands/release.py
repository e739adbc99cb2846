"""``tidegate models``, ``approve`` and ``reject``: versions of the registry and who let them trade."""

import getpass
from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, table

Version = Annotated[str, typer.Argument(help="Version number in the registry.")]
Name = Annotated[
    str | None,
    typer.Option("--model", help="Registered model; that of params.yaml when not given.", show_default=False),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides; your user name when not given.", show_default=False)]


def models(name: Name = None, workspace: Workspace = HERE, state: State = None, json: Json = False) -> None:
    """List the registered versions with the gate's verdict, their approvals and which one is served.

    Says where registry, approvals and serving disagree, such as an alias that somebody moved without an approval.

    Example: tidegate models --json
    """
    settings = load_settings(state, "models")
    from tidegate.platform import platform
    from tidegate.release import list_versions, release_alerts

    with platform(settings, database=True) as addresses:
        rows = list_versions(addresses, name or model_of(workspace))
        alerts = [alert.words for alert in release_alerts(addresses, name or model_of(workspace))] if rows else []
    columns = ["version", "model", "gate", "approval", "served", "created", "digest"]
    shown: list[Any] = [{**row, "digest": row["model_digest"][:12]} for row in rows]
    text = table(shown, columns) if rows else "no version is registered: `tidegate retrain`"
    finish({"models": rows, "alerts": alerts}, json, "\n".join([text, *(f"ALERT: {words}" for words in alerts)]))


def approve(
    version: Version,
    reason: Reason,
    scope: Annotated[str, typer.Option(help="paper or live.")] = "paper",
    by: By = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Approve a version and serve it from now on.

    The package is verified first. A version that failed the gate can be approved for paper only; paper never trades on
    a live account.

    Example: tidegate approve 3 --scope paper --reason "watch it for a month"
    """
    settings = load_settings(state, "approve")
    from tidegate.platform import platform
    from tidegate.release import approve_version

    with platform(settings, database=True) as addresses:
        result = approve_version(
            addresses, name or model_of(workspace), version, scope=scope, by=by or getpass.getuser(), reason=reason
        )
    finish(result, json, f"version {version} approved for {result['scope']} and served (revision {result['revision']})")


def reject(
    version: Version,
    reason: Reason,
    by: By = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Reject a version: it will not be published; an approval it had no longer stands.

    Example: tidegate reject 3 --reason "loses in trending markets"
    """
    settings = load_settings(state, "reject")
    from tidegate.platform import platform
    from tidegate.release import reject_version

    with platform(settings, database=True) as addresses:
        result = reject_version(
            addresses, name or model_of(workspace), version, by=by or getpass.getuser(), reason=reason
        )
    warning = "; it is still served: approve another version to replace it" if result["served"] else ""
    finish(result, json, f"version {version} rejected{warning}")


def model_of(workspace: Any) -> str:
    """The registered model of the market in a workspace's params.yaml."""
    from core.params import read_params, required

    path = workspace / "params.yaml"
    return f"tidegate-{required(read_params(path), 'market', path)}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (models, approve, reject):
        app.command()(command)
