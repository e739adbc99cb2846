"""``tidegate kill-switch on | off | show``: stop trading from a command line, whether a trader runs or not."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate.commands.border import Json, State, finish, load_settings, say

Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the journal of every session.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for running traders.", min=0.0)]

application = typer.Typer(
    name="kill-switch",
    help="Stop all trading of this state directory: orders are cancelled, positions closed if asked.",
    no_args_is_help=True,
)


@application.command()
def on(
    reason: Reason,
    flatten: Annotated[bool, typer.Option("--flatten", help="Close all open positions too.")] = False,
    wait: Wait = 30.0,
    broker: Annotated[
        str | None,
        typer.Option(help="oanda: act on that account at once where its trader is dead.", show_default=False),
    ] = None,
    broker_ready_file: Annotated[
        Path | None, typer.Option(help="The same with a practice broker: its ready file.", show_default=False)
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(help="Which dead session of that account; the newest when not given.", show_default=False),
    ] = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Turn the switch on: no order leaves any trader of this state directory until somebody turns it off.

    Running traders cancel their open orders at once and say so here; with --flatten they close their positions.
    Protective stops stay as long as their position. Without a running trader the switch holds at its next start; name
    the account with --broker or --broker-ready-file to cancel and close right now. Exit code 4: not everything could
    be done; the traders go on trying.

    Example: tidegate kill-switch on --flatten --reason "fills far from the market"
    """
    settings = load_settings(state, "kill-switch")
    import asyncio

    from tidegate.kill_switch import TurnOn, report, turn_on

    wish = TurnOn(reason, flatten, wait, broker, broker_ready_file, session)
    outcome = asyncio.run(turn_on(settings, wish, say))
    finish(outcome.to_json(), json, report(outcome))
    if not outcome.done:
        raise typer.Exit(outcome.exit_code)


@application.command()
def off(
    reason: Reason,
    wait: Wait = 10.0,
    session: Annotated[
        str | None,
        typer.Option(
            help="Lift what this stopped session's trader set itself (drawdown, reconciliation) instead.",
            show_default=False,
        ),
    ] = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Turn the switch off; trading goes on with the next decision, and drawdown counts anew.

    Example: tidegate kill-switch off --reason "feed repaired, positions checked with the broker"
    """
    settings = load_settings(state, "kill-switch")
    import asyncio

    from tidegate.kill_switch import lift, report, turn_off

    if session is not None:
        before = lift(settings, session, reason)
        result = {"session": session, "was": before, "state": "ACTIVE", "reason": reason}
        finish(result, json, f"session {session} was {before} and is ACTIVE from its next start on")
        return
    outcome = asyncio.run(turn_off(settings, reason, wait))
    finish(outcome.to_json(), json, report(outcome))
    if not outcome.done:
        raise typer.Exit(outcome.exit_code)


@application.command()
def show(state: State = None, json: Json = False) -> None:
    """Show the switch, who set it and why, and what each session says about it.

    Example: tidegate kill-switch show --json
    """
    settings = load_settings(state, "kill-switch")
    from tidegate.kill_switch import look, report

    outcome = look(settings)
    finish(outcome.to_json(), json, report(outcome))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(application)
