"""``tidegate search hyperparameters`` and ``tidegate search strategy``: searches that count every trial."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tidegate.commands import search_strategy
from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say, table
from tidegate.commands.searching import run_search_flow

application = typer.Typer(
    name="search", help="Search parameters; every trial is a row of the trial ledger.", no_args_is_help=True
)


@application.command()
def hyperparameters(
    model: Annotated[
        str | None, typer.Option("--model", help="Whose parameters; params.yaml when not given.", show_default=False)
    ] = None,
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            help="skill, log_loss, sharpe, net_return, drawdown, turnover, latency or size; repeat for several.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Budget in trials, over all runs of the study.", show_default=False)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Budget in minutes, over all runs.", show_default=False)
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Trials at a time.", show_default=False)] = None,
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            help="Name; made of what the search depends on when not given: the same search goes on.",
            show_default=False,
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write what was chosen into params.yaml.")] = False,
    choose: Annotated[
        int | None,
        typer.Option("--choose", help="Take this trial, not the best by the first objective.", show_default=False),
    ] = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Search the hyper-parameters of one model walk-forward, from the space in params.yaml.

    Killed, it goes on where it stopped when it is run again: no trial is lost, none is counted twice.

    Example: tidegate search hyperparameters --model xgboost --trials 60 --workspace var/demo/fixings
    """
    settings = load_settings(state, "search hyperparameters")
    from flows.pipeline import workspace_folder
    from training.search.hyperparameters.search import prepare

    folder = workspace_folder(str(workspace))
    given = {"model": model, "objectives": objectives, "trials": trials, "minutes": minutes, "workers": workers}
    options = {name: value for name, value in given.items() if value is not None}
    prepare(folder, study, **options)  # refused before a server is started for nothing
    from tidegate.platform import platform
    from tidegate.workspace import pipeline_environment

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "search":
            say(str(event["words"]))

    parameters = {"workspace": str(folder), "study": study, "apply": apply, "choose": choose, "options": options}
    log = settings.state / "logs" / "flow-search-hyperparameters.log"
    with platform(settings, prefect=True, say=say) as addresses:
        environment = addresses.environment() | pipeline_environment(folder, settings.state)
        outcome = run_search_flow("search_hyperparameters", parameters, environment, tell, log)
    finish(outcome, json, _text(outcome))


def _text(outcome: dict[str, Any]) -> str:
    from training.search.hyperparameters.objectives import OBJECTIVES

    names = [objective["name"] for objective in outcome["objectives"]]
    rows: list[Mapping[str, Any]] = [
        {
            "trial": entry["number"],
            **{name: OBJECTIVES[name].shown(entry["values"][name]) for name in names},
            "parameters": ", ".join(f"{name} {value}" for name, value in entry["parameters"].items()),
            "row": entry["row"],
        }
        for entry in outcome["front"]
    ]
    if outcome["applied"]:
        done = "params.yaml has the chosen values: `tidegate retrain` makes the version and its evidence"
    elif "patch" in outcome:
        done = f"patch: {outcome['patch']} (the same command with --apply writes the values into params.yaml)"
    else:
        done = "nothing to apply"
    found = f"\n\n{table(rows, ['trial', *names, 'parameters', 'row'])}" if rows else ""
    return f"{outcome['words']}{found}\n\n{done}\nreport: {outcome['report']}"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    search_strategy.register(application)
    app.add_typer(application)
