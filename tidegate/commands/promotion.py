"""``tidegate models``, ``promote`` and ``release``: who serves what, and how a version comes to serve."""

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, table
from tidegate.commands.release import By, Name, Reason, Version, model_of

release = typer.Typer(help="Releases: what is on its way to champion, and how it got there.", no_args_is_help=True)


def models(name: Name = None, workspace: Workspace = HERE, state: State = None, json: Json = False) -> None:
    """Say who serves what, since when and why, and list the registered versions.

    Champion and challenger with their shares, the release under way, what a rollback does to open positions; then each
    version with the gate's verdict, its approval and its release. Says where registry, approvals and serving
    disagree, such as an alias that somebody moved without an approval.

    Example: tidegate models --json
    """
    settings = load_settings(state, "models")
    from core.params import read_params
    from tidegate.models import describe_models
    from tidegate.platform import platform

    chosen, params = name or model_of(workspace), read_params(workspace / "params.yaml")
    with platform(settings, database=True) as addresses:
        found = describe_models(addresses, chosen, params)
    columns = ["version", "model", "gate", "approval", "release", "since", "served", "digest"]
    shown: list[Any] = [{**row, "digest": row["model_digest"][:12]} for row in found["models"]]
    text = table(shown, columns) if shown else "no version is registered: `tidegate retrain`"
    alerts = [f"ALERT: {words}" for words in found["alerts"]]
    finish(found, json, "\n".join([*_serving_lines(found["serving"]), "", text, *alerts]))


def promote(
    version: Version,
    now: Annotated[bool, typer.Option("--now", help="Make it the champion at once, whatever the tests say.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept for ever. Needed with --now.")] = "",
    by: By = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Take an approved version one step on: begin its release, or leave a step whose tests hold.

    Exit code 3 when the version has no approval, another one is being released, or a test does not hold yet; nothing
    is changed then. `--now` passes over what is left of the tests and is recorded as what you did.

    Example: tidegate promote 4
    """
    settings = load_settings(state, "promote")
    from core.params import read_params
    from tidegate.platform import platform
    from tidegate.promotion import promote as promote_version

    chosen, params = name or model_of(workspace), read_params(workspace / "params.yaml")
    with platform(settings, database=True) as addresses:
        found = promote_version(addresses, chosen, version, params, now=now, by=by or getpass.getuser(), reason=reason)
    finish(found, json, f"version {version}: {' → '.join(found['reached'])}\n{_release_text(found)}")


@release.command()
def show(
    release_id: Annotated[
        str | None, typer.Argument(help="Release; the one under way, else the champion's.", show_default=False)
    ] = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Show a release: state, timeline, what the online tests found, and what it waits for.

    Example: tidegate release show tidegate-fixings.4.1
    """
    settings = load_settings(state, "release")
    from core.params import read_params
    from tidegate.platform import platform
    from tidegate.promotion import show_release

    chosen, params = name or model_of(workspace), read_params(workspace / "params.yaml")
    with platform(settings, database=True) as addresses:
        found = show_release(addresses, chosen, release_id, params)
    finish(found, json, _release_text(found))


@release.command()
def report(
    release_id: Annotated[
        str | None, typer.Argument(help="Release; the one under way, else the newest.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File to write; <state>/reports/releases/… when not given.", show_default=False)
    ] = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Write the page of a release: timeline, money of both versions, e-values, bounds, figures of each step.

    Example: tidegate release report tidegate-fixings.4.1
    """
    settings = load_settings(state, "release")
    from core.params import read_params
    from tidegate.platform import platform
    from tidegate.release_page import write_release_page

    chosen, params = name or model_of(workspace), read_params(workspace / "params.yaml")
    with platform(settings, database=True) as addresses:
        found = write_release_page(addresses, chosen, release_id, params, output)
    finish(found, json, f"release {found['release']} is {found['state']}: {found['page']}")


@release.command("list")
def list_all(name: Name = None, workspace: Workspace = HERE, state: State = None, json: Json = False) -> None:
    """List every release of a strategy, oldest first, and the approvals that wait for one to end.

    Example: tidegate release list
    """
    settings = load_settings(state, "release")
    from tidegate.platform import platform
    from tidegate.promotion import list_releases

    with platform(settings, database=True) as addresses:
        found = list_releases(addresses, name or model_of(workspace))
    text = table(found["releases"], ["release", "state", "since", "by", "reason"])
    waiting = [f"version {row['version']} waits: approved {row['approved']} by {row['by']}" for row in found["waiting"]]
    finish(found, json, "\n".join([text if found["releases"] else "nothing was ever released", *waiting]))


@release.command()
def alerts(
    open_only: Annotated[bool, typer.Option("--open", help="Only what still stands.")] = False,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """List what the watch over registry, approvals and artifacts has raised, and when it went away.

    Example: tidegate release alerts --open
    """
    settings = load_settings(state, "release")
    from tidegate.platform import platform
    from tidegate.reviewing import list_alerts

    with platform(settings, database=True) as addresses:
        found = list_alerts(addresses, name or model_of(workspace), open_only=open_only)
    text = table(list(found), ["time", "event", "problem", "version", "words"]) if found else "no alerts"
    finish({"alerts": found}, json, text)


@release.command()
def abandon(
    reason: Reason,
    by: By = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Give up the release that is under way: its version gets no more traffic, its approval stands.

    Example: tidegate release abandon --reason "version 5 replaces it"
    """
    settings = load_settings(state, "release")
    from core.params import read_params
    from tidegate.platform import platform
    from tidegate.promotion import abandon_release

    chosen, params = name or model_of(workspace), read_params(workspace / "params.yaml")
    with platform(settings, database=True) as addresses:
        found = abandon_release(addresses, chosen, params, by=by or getpass.getuser(), reason=reason)
    finish(found, json, f"release {found['release']} given up; version {found['version']} gets no more traffic")


def _serving_lines(serving: Mapping[str, Any]) -> list[str]:
    """Say in lines who answers for a strategy."""
    if serving["champion"] is None:
        lines = [f"{serving['strategy']}: nobody answers ({serving['flat']})"]
    else:
        lines = [f"{serving['strategy']}: policy revision {serving['revision']}, mode {serving['mode']}"]
    for role in (serving["champion"], serving["challenger"]):
        if role is not None:
            lines.append(
                f"  {role['arm']:<11}version {role['version']} ({role['model']}) since {role['since']}, "
                f"{role['share']:.0%} of the decisions, {role['scope']}; approved by {role['approved_by']}: "
                f"{role['why']}"
            )
    if serving["release"] is not None:
        standing = serving["release"]
        lines.append(f"  release    {standing['release']} is {standing['state']} since {standing['since']}")
    return [*lines, f"  on rollback open positions: {serving['positions_on_rollback']}"]


def _release_text(found: Mapping[str, Any]) -> str:
    """Say in lines where a release stands and how it came there."""
    lines = [f"release {found['release']}: version {found['version']} is {found['state']} since {found['since']}"]
    if not found["applied"]:
        lines.append("  its effects are not done yet: the next `tidegate promote` or the release service carries on")
    lines += [f"  waits for {words}" for words in found["waits_for"]]
    for test in found.get("findings", {}).get("tests", ()):
        reached = f"largest {test['largest_e_value']:.3g}, limit {test['threshold']:.3g}"
        lines.append(f"  test for {test['name']:<12}e-value {test['e_value']:.3g} ({reached})")
    for arm in found.get("findings", {}).get("arms", ()):
        lines.append(
            f"  {arm['arm']:<11}net return {arm['net_return']:+.3%} over {arm['decisions']:,} decisions, cost "
            f"{arm['cost']:.3%}"
        )
    lines += [
        f"  {line['time']}  {line['from'] or 'new':<10} → {line['to']:<14} by {line['by']} ({line['cause']}): "
        f"{line['reason']}"
        for line in found["timeline"]
    ]
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (models, promote):
        app.command()(command)
    app.add_typer(release, name="release")
