"""``tidegate drill``: prove on this machine that nothing is lost and nothing is sent twice."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate.commands.border import Json, finish, load_settings, say

drill = typer.Typer(help="Drills: kill, disturb and restart the trader, and check what is left.", no_args_is_help=True)


@drill.command()
def kill(
    seeds: Annotated[int, typer.Option(help="How many sessions to run.", min=1)] = 50,
    seed_from: Annotated[int, typer.Option(help="The first seed.", min=0)] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Sessions at a time; the number of cores when not given.", min=1)
    ] = None,
    keep_failures: Annotated[Path, typer.Option(help="Folder that gets what a failing seed left behind.")] = Path(
        "drill-failures"
    ),
    json: Json = False,
) -> None:
    """Kill the trader at named and random places, with broker faults, and compare ledger and broker afterwards.

    Each seed is one session against a practice broker on loopback (simulated market). Exit code 3 when a seed fails.

    Example: tidegate drill kill --seeds 1000
    """
    import os
    import sys

    load_settings(None, "drill")
    from core.errors import ExitCode
    from tidegate.drill.report import failure_line, figures, table
    from tidegate.drill.run import run_kill_drill
    from tidegate.drill.session import SeedResult

    count = workers or len(os.sched_getaffinity(0))
    terminal = sys.stderr.isatty()

    def progress(result: SeedResult, done: int, failed: int) -> None:
        if result.problems:
            say(failure_line(result, str(keep_failures)))
        if terminal or done % 25 == 0 or done == seeds:
            line = f"{done}/{seeds} seeds, {failed} failed"
            sys.stderr.write(
                f"\r{line}" if terminal and done < seeds else f"{line}\n" if not terminal else f"\r{line}\n"
            )
            sys.stderr.flush()

    result = run_kill_drill(range(seed_from, seed_from + seeds), count, keep_failures, progress)
    found = figures(result)
    finish(found, json, table(found))
    if result.failures:
        raise typer.Exit(ExitCode.REFUSED)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(drill, name="drill")
