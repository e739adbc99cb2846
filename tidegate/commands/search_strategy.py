"""``tidegate search strategy``: islands of NSGA-II over the parameters of a rule, walk-forward, every trial counted."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say, table
from tidegate.commands.searching import run_search_flow


def strategy(
    rule: Annotated[
        str | None, typer.Option("--rule", help="Rule to search; params.yaml when not given.", show_default=False)
    ] = None,
    generations: Annotated[
        int | None, typer.Option("--generations", help="Budget in generations.", show_default=False)
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Budget in backtested parameter sets.", show_default=False)
    ] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Budget in minutes.", show_default=False)] = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Search the parameters of a rule; killed, it goes on where it stood when it is run again.

    Each fold's choice is made on its training window and scored on the next one; the hall of fame is validated once on
    days that the search never saw. Refused by its own verdict, the command still ends well: a search that finds
    nothing has done its work.

    Example: tidegate search strategy --rule channel_breakout --generations 15
    """
    settings = load_settings(state, "search strategy")
    from flows.pipeline import workspace_folder
    from training.search.strategy.study import check

    folder = workspace_folder(str(workspace))
    check(folder, rule, generations, trials, minutes)  # refused before a server is started for nothing
    from tidegate.platform import platform
    from tidegate.workspace import pipeline_environment

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "line":
            say(str(event["text"]))

    parameters = {
        "workspace": str(folder),
        "rule": rule,
        "generations": generations,
        "trials": trials,
        "minutes": minutes,
    }
    log = settings.state / "logs" / "flow-search-strategy.log"
    with platform(settings, prefect=True, say=say) as addresses:
        environment = addresses.environment() | pipeline_environment(folder, settings.state)
        outcome = run_search_flow("search_strategy", parameters, environment, tell, log)
    finish(outcome, json, _text(outcome))


def _text(outcome: dict[str, Any]) -> str:
    rows: list[Mapping[str, Any]] = [
        {"rule": rule["rule"], "result": "passed" if rule["passed"] else "failed", "in words": rule["words"]}
        for rule in outcome["verdict"]["rules"]
    ]
    return f"{outcome['words']}\n\n{table(rows, ['rule', 'result', 'in words'])}\n\nreport: {outcome['report']}"


def register(group: typer.Typer) -> None:
    """Add the command to the group ``search``."""
    group.command("strategy")(strategy)
