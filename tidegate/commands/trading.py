"""``tidegate serve``, ``trade`` and ``practice-broker``: the processes of the money path, in the foreground."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import ExitCode
from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say

ReadyFile = Annotated[
    Path | None, typer.Option("--ready-file", help="Written when it is ready (JSON).", show_default=False)
]


def serve(
    port: Annotated[
        int | None,
        typer.Option(help="TCP port; 0 takes a free one; TIDEGATE_SERVING__PORT when not given.", min=0, max=65535),
    ] = None,
    ready_file: ReadyFile = None,
    state: State = None,
) -> None:
    """Serve the approved models in the foreground, on a Ray of its own. Ctrl-C ends it.

    Example: tidegate serve --port 8000
    """
    import os

    if port is not None:
        os.environ["TIDEGATE_SERVING__PORT"] = str(port)
    settings = load_settings(state, "serve")
    from tidegate.services.environment import quiet_this_process

    quiet_this_process()
    from serving.server import serve_until_stopped

    serve_until_stopped(settings, ready_file)


def trade(
    broker: Annotated[str, typer.Option(help="practice, oanda or paper.")],
    session: Annotated[
        str | None, typer.Option(help="Name of the session; the same name goes on with it.", show_default=False)
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Whose champion answers; the market of params.yaml.", show_default=False)
    ] = None,
    broker_ready_file: Annotated[
        Path | None, typer.Option(help="Ready file of a practice broker.", show_default=False)
    ] = None,
    serving_url: Annotated[
        str | None,
        typer.Option(
            help="Inference service; that of `tidegate up` when not given, `none` for the local champion only."
        ),
    ] = None,
    ready_file: ReadyFile = None,
    summary_file: Annotated[
        Path | None, typer.Option(help="Where the summary is written too (JSON).", show_default=False)
    ] = None,
    without_ledger: Annotated[
        bool, typer.Option("--without-ledger", help="Keep the journal only; no database, no lease.")
    ] = False,
    i_trade_real_money: Annotated[
        bool, typer.Option("--i-trade-real-money", help="The second key to a live account.")
    ] = False,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Trade one session with the approved model until the feed ends or Ctrl-C.

    Started again under the same name it recovers: orders of unknown fate are settled with the broker, then trading
    goes on.

    Example: tidegate trade --broker practice --broker-ready-file var/run/practice-broker.json
    """
    settings = load_settings(state, "trade")
    import asyncio

    from core.errors import UsageError
    from tidegate.platform import platform, running
    from tidegate.trader import BrokerName, TradeOptions
    from tidegate.trader import trade as run_session

    if broker not in set(BrokerName):
        raise UsageError(f"no broker {broker!r}: choose one of {', '.join(BrokerName)}")
    alive = running(settings.state)
    if serving_url is None:
        serving_url = alive["serving"].url if "serving" in alive else ""
    redis = settings.redis.url.get_secret_value() if settings.redis.url else ""
    with platform(settings, database=not without_ledger, say=say) as addresses:
        options = TradeOptions(
            broker=BrokerName(broker),
            workspace=workspace.absolute(),
            session=session,
            strategy=strategy,
            broker_ready_file=broker_ready_file,
            serving_url="" if serving_url == "none" else serving_url,
            database_url=addresses.database_url or None,
            redis_url=redis or (alive["redis"].url if "redis" in alive else ""),
            ready_file=ready_file,
            summary_file=summary_file,
            trade_real_money=i_trade_real_money,
            status_port=settings.trading.port,
        )
        summary = asyncio.run(run_session(options, settings))
    text = (
        f"session {summary.session_id} ended ({summary.ended}): {summary.steps} steps, {summary.orders} orders, "
        f"{summary.fills} fills, equity {summary.equity:,.2f} {summary.account_currency}"
        f"{' (simulated prices)' if summary.simulated else ''}"
    )
    result = summary.to_json()
    reconciled = summary.reconciliation is not None and summary.reconciliation.reconciled
    finish(result, json, text if reconciled else f"{text}; NOT reconciled with the broker")
    if not reconciled:
        raise typer.Exit(ExitCode.REFUSED)


def practice_broker(
    feed: Annotated[str, typer.Option(help="fixings or bars of a workspace, or simulation.")] = "simulation",
    clock: Annotated[
        str | None, typer.Option(help="lockstep, accelerated or real.", show_default="real for a simulation")
    ] = None,
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one.", min=0, max=65535)] = 0,
    ready_file: ReadyFile = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps the account over restarts; in memory when not given.", show_default=False),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="First market time.", show_default=False)] = None,
    end: Annotated[str | None, typer.Option("--to", help="End of the market, exclusive.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Of the simulated ticks.", show_default=False)] = None,
    workspace: Annotated[
        Path | None,
        typer.Option("--workspace", "-w", help="Folder with params.yaml and the catalog.", show_default=False),
    ] = None,
) -> None:
    """Run an OANDA v20-compatible exchange simulator in the foreground. Ctrl-C ends it.

    Example: tidegate practice-broker --feed fixings --workspace . --ready-file var/run/practice-broker.json
    """
    load_settings(None, "practice-broker")
    from trading.practice.server import parse_config, run_practice_broker

    given = {
        "--feed": feed,
        "--clock": clock,
        "--port": port,
        "--ready-file": ready_file,
        "--state": keep,
        "--from": start,
        "--to": end,
        "--seed": seed,
        "--workspace": workspace.absolute() if workspace else None,
    }
    arguments = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    config, start_ns = parse_config(arguments)
    run_practice_broker(config, start_ns or None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(trade)
    app.command("practice-broker")(practice_broker)
