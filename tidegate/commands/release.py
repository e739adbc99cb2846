"""``tidegate approve``, ``reject`` and ``request-review``: who lets a version trade."""

import getpass
from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings

Version = Annotated[str, typer.Argument(help="Version number in the registry.")]
Name = Annotated[
    str | None,
    typer.Option("--model", help="Registered model; that of params.yaml when not given.", show_default=False),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.")]
By = Annotated[str | None, typer.Option("--by", help="Who decides; your user name when not given.", show_default=False)]


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
    """Approve a version and begin its release.

    The package is verified first. Without a champion the version is served from now on; beside one it goes into shadow
    and from there step by step (`tidegate release show`). A version that failed the gate can be approved for paper
    only; paper never trades on a live account.

    Example: tidegate approve 3 --scope paper --reason "watch it for a month"
    """
    settings = load_settings(state, "approve")
    from core.params import read_params
    from tidegate.platform import platform
    from tidegate.release import approve_version

    chosen, who, params = name or model_of(workspace), by or getpass.getuser(), read_params(workspace / "params.yaml")
    with platform(settings, database=True) as addresses:
        result = approve_version(addresses, chosen, version, scope=scope, by=who, reason=reason, params=params)
    finish(result, json, _approved(result))


def reject(
    version: Version,
    reason: Reason,
    by: By = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Reject a version: it will not be served; an approval it had no longer stands, and its release ends.

    Example: tidegate reject 3 --reason "loses in trending markets"
    """
    settings = load_settings(state, "reject")
    from core.params import read_params
    from tidegate.platform import platform
    from tidegate.release import reject_version

    chosen, who, params = name or model_of(workspace), by or getpass.getuser(), read_params(workspace / "params.yaml")
    with platform(settings, database=True) as addresses:
        result = reject_version(addresses, chosen, version, by=who, reason=reason, params=params)
    warning = "; it is still served: `tidegate rollback --reason …` takes it back" if result["served"] else ""
    finish(result, json, f"version {version} rejected{warning}")


def request_review(
    version: Version,
    days: Annotated[float, typer.Option(help="Without a decision in them the request expires.")] = 30.0,
    remind_days: Annotated[float, typer.Option(help="Between two reminders.")] = 3.0,
    by: By = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Ask for the review of a version: its page in MLflow says so, and it reminds until somebody decides.

    Example: tidegate request-review 3 --days 14
    """
    settings = load_settings(state, "request-review")
    from tidegate.platform import platform
    from tidegate.reviewing import ask_for_review

    chosen, who = name or model_of(workspace), by or getpass.getuser()
    with platform(settings, database=True) as addresses:
        result = ask_for_review(addresses, chosen, version, requested_by=who, days=days, remind_days=remind_days)
    finish(result, json, f"version {version} waits for a review until {result['due']}")


def model_of(workspace: Any) -> str:
    """The registered model of the market in a workspace's params.yaml."""
    from core.params import read_params, required

    path = workspace / "params.yaml"
    return f"tidegate-{required(read_params(path), 'market', path)}"


def _approved(result: dict[str, Any]) -> str:
    """Say what the approval came to and what to do next."""
    version = result["version"]
    words = f"version {version} approved for {result['scope']}"
    if result["decision"] != "approved":
        return (
            f"version {version}: the first of two approvals for {result['scope']}; another person must approve it, too"
        )
    if result["served"]:
        return f"{words} and served (revision {result['revision']})"
    beside = f" beside champion version {result['champion']}" if result["champion"] else ""
    return (
        f"{words}; release {result['release']} is in state {result['state']}{beside} (revision {result['revision']}). "
        f"`tidegate release show` says what it waits for; `tidegate promote {version} --now --reason …` does not wait"
    )


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("request-review")(request_review)  # typer's own name for it is not the function's
    for command in (approve, reject):
        app.command()(command)
