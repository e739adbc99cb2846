"""``tidegate ingest``, ``retrain``, ``materialize`` and ``drift``: the flows, run now and waited for."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say

Force = Annotated[bool, typer.Option("--force", help="Run every stage, changed or not.")]


def ingest(
    source: Annotated[
        str | None,
        typer.Option(
            help="ecb, lean, histdata, dukascopy, metatrader, nautilus, truefx, oanda; params.yaml when not given."
        ),
    ] = None,
    path: Annotated[str | None, typer.Option(help="File or folder of the source.", show_default=False)] = None,
    instruments: Annotated[
        list[str] | None, typer.Option("--instruments", "-i", help="A pair; repeat for more.", show_default=False)
    ] = None,
    since: Annotated[str | None, typer.Option(help="First day, such as 2020-01-31 (UTC).", show_default=False)] = None,
    until: Annotated[
        str | None, typer.Option(help="Last day, or the moment before which rows count (UTC).", show_default=False)
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Clock of the file where the format fixes none.", show_default=False)
    ] = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Bring market data through the quality gate into the catalog.

    Without options it runs the pipeline's ingest stage on what params.yaml says, as a flow. With `--source` it loads
    that source into the same catalog, beside what is there.

    Example: tidegate ingest --source histdata --path DAT_ASCII_EURUSD_M1_2023.zip -i EUR_USD
    """
    settings = load_settings(state, "ingest")
    if source is None:
        from core.errors import UsageError

        if any((path, instruments, since, until, timezone)):
            raise UsageError("these options need --source; without it params.yaml decides what is ingested")
        outcome = _run("ingest", {"workspace": str(workspace.absolute())}, workspace, settings)
        finish(outcome, json, f"{'ingested' if outcome['ran'] else 'nothing changed'}; report: {outcome['report']}")
        return
    import msgspec

    from data.ingest import ingest as load
    from data.stages import data_section, minimum_quality
    from flows.lease import workspace_lease

    quality = minimum_quality(data_section(workspace / "params.yaml"))
    with workspace_lease(workspace.absolute(), on_wait=say):
        result = load(
            workspace.absolute(),
            source,
            path,
            tuple(instruments or ()),
            since,
            until,
            timezone=timezone,
            minimum_quality=quality,
        )
    text = (
        f"{result.rows_kept} of {result.rows_in} rows kept, {result.rows_quarantined} in quarantine, "
        f"{result.added} new, {result.corrected} corrected; quality {result.score:.3f}; report: {result.report}"
    )
    finish(msgspec.to_builtins(result, enc_hook=str), json, text)


def retrain(
    force: Force = False,
    if_needed: Annotated[
        bool, typer.Option("--if-needed", help="Only if a trigger of params.yaml (retraining) asks for a new model.")
    ] = False,
    why: Annotated[bool, typer.Option("--why", help="Say what asks for a new model, and make none.")] = False,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Bring the whole pipeline up to date: from the market's source to a registered model version.

    Only what changed is run again. What the gate said is part of the result; the version is registered either way.

    Example: tidegate retrain --workspace var/demo/fixings
    """
    settings = load_settings(state, "retrain")
    if if_needed or why:
        if force:
            from core.errors import UsageError

            raise UsageError("--force runs every stage; --if-needed and --why ask the triggers: give one of them")
        parameters = {"workspace": str(workspace.absolute()), "dry_run": why}
        outcome = _run("retraining", parameters, workspace, settings)
        text = outcome["words"]
        finish(outcome, json, text if not why or not outcome["asking"] else f"{text}; `tidegate retrain --if-needed`")
        return
    parameters = {"workspace": str(workspace.absolute()), "force": force}
    outcome = _run("retrain", parameters, workspace, settings)
    ran = [name for name, stage in outcome["stages"].items() if stage["ran"]]
    text = (
        f"{outcome['name']} version {outcome['version']} ({outcome['model']}), gate {outcome['verdict']}; "
        f"{len(ran)} of {len(outcome['stages'])} stages ran"
    )
    finish(outcome, json, text)


def materialize(workspace: Workspace = HERE, state: State = None, json: Json = False) -> None:
    """Write what arrived since the last time into the online feature store.

    Example: tidegate materialize
    """
    settings = load_settings(state, "materialize")
    outcome = _run("materialize", {"workspace": str(workspace.absolute())}, workspace, settings, redis=True)
    finish(outcome, json, ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in outcome.items()))


def drift(
    live: Annotated[
        Path | None,
        typer.Option(help="Parquet file with feature rows; the newest session's when not given.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the reports; reports/drift when not given.", show_default=False)
    ] = None,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Compare the training window with what the trader saw and write the drift report.

    Example: tidegate drift --workspace var/demo/fixings
    """
    settings = load_settings(state, "drift")
    parameters = {
        "workspace": str(workspace.absolute()),
        "live": str(live.absolute()) if live else None,
        "output": str(output.absolute()) if output else None,
    }
    outcome = _run("drift", parameters, workspace, settings)
    finish(outcome, json, f"report: {outcome['html']}")


def _run(name: str, parameters: dict[str, Any], workspace: Path, settings: Any, redis: bool = False) -> dict[str, Any]:
    """Run a flow against the standing Prefect server, or one started for it, and tell its stages to stderr."""
    from flows.pipeline import workspace_folder
    from flows.run import run_flow
    from tidegate.platform import platform
    from tidegate.workspace import pipeline_environment

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "stage" and event["state"] != "running":
            say(f"{event['stage']:<20} {event['state']} ({event['seconds']:.1f} s)")
        elif event["event"] == "line":
            say(f"    {event['text']}")

    workspace_folder(str(workspace))  # refused before a server is started for nothing
    log = settings.state / "logs" / f"flow-{name}.log"
    with platform(settings, prefect=True, redis=redis, say=say) as addresses:
        environment = addresses.environment() | pipeline_environment(workspace.absolute(), settings.state)
        return run_flow(name, parameters, environment=environment, on_event=tell, log_file=log)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (ingest, retrain, materialize, drift):
        app.command()(command)
