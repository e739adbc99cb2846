"""``tidegate traffic``: who answers which decision, and experiments beside the champion."""

from typing import Annotated, Any

import typer

from serving.traffic.policy import Mode, Weighting
from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say, table
from tidegate.commands.release import Name, Version, model_of

traffic = typer.Typer(help="Who answers which decision; experiments beside the champion.", no_args_is_help=True)


@traffic.command()
def show(
    revisions: Annotated[int, typer.Option(help="Newest policies to list.", min=1)] = 10,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Show the traffic policy in force and the ones before it. Needs no server.

    Example: tidegate traffic show --revisions 3
    """
    settings = load_settings(state, "traffic")
    from serving.store import ModelStore
    from tidegate.traffic import describe_traffic

    found = describe_traffic(ModelStore(settings.state / "serving"), name or model_of(workspace), revisions)
    finish(found, json, _policies(found["revisions"]))


@traffic.command()
def experiment(
    version: Version,
    mode: Annotated[Mode, typer.Option(help="ab, blend or shadow.")] = Mode.AB,
    share: Annotated[float, typer.Option(help="ab: part of the decisions that the version gets.")] = 0.5,
    block_seconds: Annotated[int, typer.Option(help="ab: how long an instrument keeps its arm.")] = 3600,
    weight: Annotated[float, typer.Option(help="blend: weight of the version.")] = 0.5,
    weighting: Annotated[Weighting, typer.Option(help="blend: what the weight follows.")] = Weighting.FIXED,
    label: Annotated[str, typer.Option(help="Name of the experiment: another one hits other cells.")] = "experiment",
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Let an approved version share the decisions with the champion until you end it.

    No release moves an experiment. Exit code 3, and nothing changed, while a release is under way, without a champion,
    or when the version has no standing approval.

    Example: tidegate traffic experiment 4 --share 0.5 --label spring
    """
    settings = load_settings(state, "traffic")
    from core.clock import LiveClock
    from tidegate.platform import platform
    from tidegate.release import release_room
    from tidegate.traffic import begin_experiment, experiment_traffic

    chosen = name or model_of(workspace)
    asked = experiment_traffic(mode, share, block_seconds, label, weight, weighting, LiveClock().time_ns())
    with platform(settings, database=True) as addresses, release_room(addresses) as room:
        found = begin_experiment(room, chosen, version, asked)
    finish(found, json, _policies([found]))


@traffic.command()
def end(name: Name = None, workspace: Workspace = HERE, state: State = None, json: Json = False) -> None:
    """End an experiment: the champion answers everything again.

    Example: tidegate traffic end
    """
    settings = load_settings(state, "traffic")
    from tidegate.platform import platform
    from tidegate.release import release_room
    from tidegate.traffic import end_experiment

    chosen = name or model_of(workspace)
    with platform(settings, database=True) as addresses, release_room(addresses) as room:
        found = end_experiment(room, chosen)
    finish(found, json, _policies([found]))


@traffic.command()
def arm(
    instrument: Annotated[str, typer.Argument(help="Instrument, such as EUR_USD.")],
    time: Annotated[str, typer.Argument(help="Decision time, RFC 3339 or UTC nanoseconds.")],
    revision: Annotated[
        int | None, typer.Option(help="Policy; the one in force when not given.", show_default=False)
    ] = None,
    name: Name = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Say whose a decision is under a policy. Computed from the policy alone; needs no server.

    Example: tidegate traffic arm EUR_USD 2026-03-02T14:00:00Z --revision 7
    """
    settings = load_settings(state, "traffic")
    from core.clock import from_rfc3339
    from core.errors import BadInputError
    from serving.store import ModelStore
    from tidegate.traffic import describe_arm

    try:
        time_ns = int(time) if time.isdecimal() else from_rfc3339(time)
    except ValueError:
        raise BadInputError(f"time {time!r}: write 2026-03-02T14:00:00Z or UTC nanoseconds") from None
    found = describe_arm(
        ModelStore(settings.state / "serving"), name or model_of(workspace), instrument, time_ns, revision
    )
    if found["flat"]:
        say(f"policy {found['revision']} is flat, nobody answers: {found['flat']}")
    versions = "+".join(found["versions"]) or "none"
    finish(found, json, f"{found['arm']} (version {versions}) by policy {found['revision']}, block {found['block']}")


def _policies(rows: list[Any]) -> str:
    return table(rows, ["revision", "mode", "champion", "challenger", "share", "salt", "flat"])


def register(application: typer.Typer) -> None:
    """Add the commands."""
    application.add_typer(traffic, name="traffic")
