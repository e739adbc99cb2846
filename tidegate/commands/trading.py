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
    steps_per_second: Annotated[
        float, typer.Option(help="At most so many on a practice broker in lockstep; 0: as fast as they go.", min=0.0)
    ] = 0.0,
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
            steps_per_second=steps_per_second,
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
    feed: Annotated[
        str, typer.Option(help="fixings or bars of a workspace, simulation, or live: another v20 server's quotes.")
    ] = "simulation",
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
    source_ready_file: Annotated[
        Path | None,
        typer.Option(
            help="Live feed: the ready file of another practice broker; else the OANDA settings.", show_default=False
        ),
    ] = None,
    instruments: Annotated[str | None, typer.Option(help="Comma-separated.", show_default=False)] = None,
    balance: Annotated[float | None, typer.Option(help="Opening balance.", show_default=False)] = None,
    speed: Annotated[
        float | None, typer.Option(help="Accelerated: market seconds a second.", show_default=False)
    ] = None,
    liquidity: Annotated[
        int | None, typer.Option(help="Units each side of a quote is good for.", show_default="10,000,000", min=1)
    ] = None,
    maintenance: Annotated[
        list[str] | None, typer.Option(help="Daily halt, New York time, like 16:59-17:05.", show_default=False)
    ] = None,
    hedging: Annotated[bool, typer.Option("--hedging", help="Both sides of an instrument may be open.")] = False,
    fifo: Annotated[bool, typer.Option("--fifo", help="The first-in-first-out rule of accounts in the US.")] = False,
    financing: Annotated[bool, typer.Option("--financing", help="Charge positions held at 17:00 New York.")] = False,
    weekend_halt: Annotated[bool, typer.Option("--weekend-halt", help="Close by the FX calendar.")] = False,
    requests_per_second: Annotated[
        float | None, typer.Option(help="429 above it.", show_default="no limit", min=0)
    ] = None,
    connections_per_second: Annotated[
        float | None, typer.Option(help="New ones; 429 above it.", show_default="no limit", min=0)
    ] = None,
    streams_per_account: Annotated[
        int | None, typer.Option(help="At once; 429 above it.", show_default="no limit", min=0)
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
        "--source-ready-file": source_ready_file,
        "--instruments": instruments,
        "--balance": balance,
        "--speed": speed,
        "--liquidity": liquidity,
        "--requests-per-second": requests_per_second,
        "--connections-per-second": connections_per_second,
        "--streams-per-account": streams_per_account,
    }
    flags = {"--hedging": hedging, "--fifo": fifo, "--financing": financing, "--weekend-halt": weekend_halt}
    arguments = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    arguments += [word for window in maintenance or () for word in ("--maintenance", window)]
    arguments += [option for option, wanted in flags.items() if wanted]
    config, start_ns = parse_config(arguments)
    run_practice_broker(config, start_ns or None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(trade)
    app.command("practice-broker")(practice_broker)
