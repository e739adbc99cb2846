"""``tidegate demo``: the main job end to end."""

from typing import Annotated

import typer

from core.errors import ExitCode
from tidegate.commands.border import Json, State, finish, load_settings


def demo(
    market: Annotated[str, typer.Option(help="fixings, or another market of tidegate/demo/markets.")] = "fixings",
    keep_up: Annotated[bool, typer.Option("--keep-up", help="Leave the services running.")] = False,
    state: State = None,
    json: Json = False,
) -> None:
    """Do the whole job on real data: ingest, learn, gate, serve, trade unseen data, reconcile, report.

    Started again after an interruption it goes on; a second run repeats the first to the last digit.

    Example: tidegate demo --keep-up
    """
    settings = load_settings(state, "demo")
    from tidegate.demo.run import DemoOptions, run_demo

    options = DemoOptions(market=market, keep_up=keep_up, state=settings.state, json=json)
    result, text = run_demo(options)
    finish(result, json, text)
    if not (result["replay"]["equal"] and all(row["equal"] for row in result["reconciliation"])):
        raise typer.Exit(ExitCode.REFUSED)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)
