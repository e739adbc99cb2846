"""``tidegate volume-profile``: estimate at which time of the week how much is traded; VWAP follows it."""

from typing import Annotated

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings


def volume_profile(
    session: Annotated[
        str | None,
        typer.Option(help="Estimate from the ticks this session recorded instead.", show_default=False),
    ] = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Estimate the tick-volume profile from the ingested bars and write it where params.yaml names it.

    A source without tick volume (fixings) is refused: nothing is made up.

    Example: tidegate volume-profile --workspace .
    """
    settings = load_settings(state, "volume-profile")
    from core.params import read_params, required
    from trading.execution.parameters import ExecutionParameters
    from trading.execution.profile_sources import profile_of_catalog, profile_of_session
    from trading.trader import JOURNAL

    folder = workspace.absolute()
    params = read_params(folder / "params.yaml")
    path = folder / ExecutionParameters.from_params(params).volume_profile
    if session is not None:
        profile = profile_of_session(settings.state / "sessions" / session / JOURNAL, session)
    else:
        names = required(params, "data")["instruments"]
        profile = profile_of_catalog(folder / "data" / "raw" / "catalog", names)
    profile.save(path)
    result = {
        "path": str(path),
        "source": profile.source,
        "bucket_seconds": profile.bucket_seconds,
        "days": dict(profile.days),
        "digest": profile.digest(),
    }
    days = min(profile.days.values())
    finish(result, json, f"profile of {len(profile.ticks)} instruments over at least {days} days written to {path}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("volume-profile")(volume_profile)
