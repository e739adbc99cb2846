"""``tidegate drill``: prove on this machine that nothing is lost, sent twice, or answered by the wrong model."""

from pathlib import Path
from typing import Annotated

import typer

from tidegate.commands.border import Json, State, finish, load_settings, say

drill = typer.Typer(
    help="Drills: kill, disturb and restart the trader and the service, and check what is left.", no_args_is_help=True
)


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


@drill.command()
def day(
    hours: Annotated[float, typer.Option(help="Hours of market.", min=0.1)] = 24.0,
    speed: Annotated[float, typer.Option(help="Seconds of market in one of the machine's.", min=1.0)] = 360.0,
    style: Annotated[str, typer.Option(help="How orders are worked: market, bracket, twap or passive.")] = "passive",
    seed: Annotated[int, typer.Option(help="Of market, faults and kills.", min=0)] = 1,
    kills_per_hour: Annotated[float, typer.Option(help="Kills of the trader in an hour of market.", min=0.0)] = 2.0,
    keep_failures: Annotated[Path, typer.Option(help="Folder that gets what a failing day left behind.")] = Path(
        "drill-failures"
    ),
    json: Json = False,
) -> None:
    """Trade a day on an accelerated clock with every fault on, kill trader and broker at random, and compare.

    Real price and transaction streams on loopback, simulated market. Exit code 3 when something was lost or doubled.

    Example: tidegate drill day --hours 24 --speed 360
    """
    load_settings(None, "drill")
    from core.errors import ExitCode, UsageError
    from tidegate.drill.day import DayOrder
    from tidegate.drill.plan import Style
    from tidegate.drill.report import day_figures, day_table
    from tidegate.drill.run import run_day_drill

    if style not in tuple(Style):
        raise UsageError(f"no style {style!r}: there are {', '.join(Style)}")
    if not kills_per_hour > 0:
        raise UsageError("--kills-per-hour must be above 0: a day without kills drills nothing")
    say(f"{hours:g} hours of market at {speed:g} times its pace: about {hours * 3600 / speed / 60:.1f} minutes")
    order = DayOrder(seed=seed, hours=hours, speed=speed, style=style, kills_per_hour=kills_per_hour)
    found = day_figures(run_day_drill(order, keep_failures))
    finish(found, json, day_table(found))
    if not found["passed"]:
        raise typer.Exit(ExitCode.REFUSED)


@drill.command()
def release(state: State = None, json: Json = False) -> None:
    """Release a better and a worse model beside a trading champion, and see what becomes of them.

    A simulated market with a planted momentum: three versions are trained, two are approved by their tags in MLflow,
    and the platform does the rest. Takes some minutes; pages and ledgers stay in the state directory. Exit code 3 when
    the better one does not become the champion, or the worse one is not taken back in the canary.

    Example: tidegate drill release --state /tmp/release
    """
    settings = load_settings(state, "drill")
    from core.errors import ExitCode
    from tidegate.drill.release import run_release_drill

    story = run_release_drill(settings, say)
    lines = [
        f"{name}: version {found.get('version', '?')} is {found.get('state', 'not released')} after "
        f"{story.seconds.get(name, 0):.0f} s"
        for name, found in (("better", story.better), ("worse", story.worse))
    ]
    lines += [f"page: {page}" for page in story.pages]
    lines += [f"PROBLEM: {problem}" for problem in story.problems]
    finish({**vars(story), "passed": not story.problems}, json, "\n".join(lines))
    if story.problems:
        raise typer.Exit(ExitCode.REFUSED)


@drill.command()
def serving(
    rate: Annotated[float, typer.Option(help="Predictions a second.", min=1.0)] = 500.0,
    seconds: Annotated[float, typer.Option(help="Of each phase.", min=0.5)] = 10.0,
    swaps: Annotated[int, typer.Option(help="Champion swaps.", min=1)] = 10,
    replicas: Annotated[int, typer.Option(help="Ray Serve replicas.", min=1)] = 2,
    trees: Annotated[int, typer.Option(help="Of each class in the models: more make slower ones.", min=1)] = 100,
    without_restart: Annotated[
        bool, typer.Option("--without-restart", help="Leave out the end and restart of Ray.")
    ] = False,
    json: Json = False,
) -> None:
    """Change and kill the inference service under a steady load, and judge every answer.

    A Ray Serve of its own with two made models: champion swaps, shadow, canary steps, A/B, blend and back, SIGKILL of
    a replica, end and restart of Ray. Exit code 3 when an answer was not the policy's, a request failed while policies
    changed, or a trader's decision was missed.

    Example: tidegate drill serving --rate 500
    """
    load_settings(None, "drill")
    import structlog

    from core.errors import ExitCode
    from tidegate.drill.serving import ServingOrder, run_serving_drill
    from tidegate.drill.serving_report import serving_figures, serving_table

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # each fallback would be a line
    order = ServingOrder(
        per_second=rate,
        seconds=seconds,
        swaps=swaps,
        replicas=replicas,
        rounds=trees,
        restart_ray=not without_restart,
    )
    found = serving_figures(run_serving_drill(order, say))
    finish(found, json, serving_table(found))
    if not found["passed"]:
        raise typer.Exit(ExitCode.REFUSED)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(drill, name="drill")
