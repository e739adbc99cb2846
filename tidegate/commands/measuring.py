"""``tidegate bench``, ``reconcile`` and ``bento``: measure, compare, package."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say
from tidegate.commands.release import Name, Version, model_of


def bench(
    name: Annotated[str, typer.Argument(help="features, serving, order-path, replay, backtest, retrain or journal.")],
    url: Annotated[
        str | None,
        typer.Option(help="serving: a running inference service; one of its own when not given.", show_default=False),
    ] = None,
    requests: Annotated[int, typer.Option(help="serving: single predictions asked of each server.", min=50)] = 2000,
    batches: Annotated[int, typer.Option(help="serving: batches of 1,024 rows asked of each server.", min=2)] = 50,
    without_peers: Annotated[
        bool, typer.Option("--without-peers", help="serving: without MLflow's and BentoML's servers beside it.")
    ] = False,
    orders: Annotated[int, typer.Option(help="order-path, journal: how many.", min=50)] = 1000,
    without_serving: Annotated[
        bool, typer.Option("--without-serving", help="order-path: predict in process, without Ray Serve.")
    ] = False,
    beside: Annotated[
        str | None,
        typer.Option(
            help="order-path: let a retraining of this priority, background or normal, run and stop in turn.",
            show_default=False,
        ),
    ] = None,
    ticks: Annotated[
        Path | None,
        typer.Option(help="replay: folder of LEAN ticks of EUR_USD; simulated when not given.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option(help="replay: at most so many ticks.", min=1000)] = 200_000,
    repeats: Annotated[int, typer.Option(help="replay, retrain: runs of each.", min=1)] = 3,
    peer_python: Annotated[
        Path | None, typer.Option(help="replay, backtest: Python of an environment with the peer.", show_default=False)
    ] = None,
    install_peer: Annotated[
        bool, typer.Option("--install-peer", help="replay, backtest: make that environment under <state>/cache.")
    ] = False,
    models: Annotated[str, typer.Option(help="retrain: which, with commas; there are gru and transformer too.")] = (
        "xgboost,random_forest,lstm"
    ),
    rows: Annotated[int, typer.Option(help="retrain: rows of the matrix of 60 features.", min=20_000)] = 1_000_000,
    bars: Annotated[int, typer.Option(help="backtest: bars of one run.", min=1000)] = 20_000,
    sets: Annotated[int, typer.Option(help="backtest: parameter sets.", min=16)] = 200,
    state: State = None,
    json: Json = False,
) -> None:
    """Measure a room on this machine, each figure beside its budget or its peer in the same run.

    `serving` asks the champion of the state directory (or a made model), beside `mlflow models serve` and
    `bentoml serve` with the same model. `order-path`: tick to bytes out to accepted, by hop.
    `replay`: ticks through the full loop, beside nautilus_trader where there is one. `retrain`: a million rows, beside
    the bare libraries' fits on the same rows.

    Example: tidegate bench replay --ticks ticks/eurusd --install-peer
    """
    settings = load_settings(state, "bench")
    from core.errors import UsageError

    text = ""

    if name == "features":
        from features import bench as features_bench
        from training.labels import bench as labels_bench

        result: dict[str, Any] = features_bench.run() | {"labels": labels_bench.run()}
    elif name == "serving":
        from tidegate.bench import serving as serving_bench

        _only_errors()
        result = serving_bench.run(url, requests, batches, not without_peers)
        text = serving_bench.table(result)
    elif name == "order-path":
        from core.scheduling import PRIORITIES
        from tidegate.bench import order_path

        if beside is not None and beside not in PRIORITIES:
            raise UsageError(f"no priority {beside!r}: choose one of {', '.join(PRIORITIES)}")
        _only_errors()
        result = order_path.run(orders, not without_serving, PRIORITIES[beside] if beside else None)
        text = order_path.table(result)
    elif name == "journal":
        from tidegate.bench import journal

        result = journal.run(orders, settings.state)
    elif name == "retrain":
        from tidegate.bench import retrain

        result = retrain.run(models.split(","), rows, 60, repeats)
        text = retrain.table(result)
    elif name == "replay":
        from tidegate.bench import replay

        _only_errors()
        if install_peer:
            say(f"installing {replay.PEER}")
            peer_python = replay.install_peer(settings.state / "cache" / "nautilus")
        result = replay.run(ticks, count, repeats, peer_python)
    elif name == "backtest":
        from tidegate.bench import backtest

        if install_peer:
            say(f"installing {backtest.PEER[0]}")
            peer_python = backtest.install_peer(settings.state / "cache" / "vectorbt")
        result = backtest.run(bars, sets, repeats, peer_python)
    else:
        raise UsageError(
            f"no benchmark {name!r}: there are features, serving, order-path, replay, backtest, retrain, journal"
        )
    finish(result, json, text or "\n".join(_lines(result)))


def _only_errors() -> None:
    """Keep what a session says about each step out of the measurement."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


def reconcile(
    session: Annotated[str, typer.Argument(help="Name of the session.")],
    broker_ready_file: Annotated[
        Path | None,
        typer.Option(help="Ready file of a practice broker; the account of the settings when not given."),
    ] = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Compare the ledger of a session with the broker's own account, to the unit and to the cent.

    Asks the broker over plain HTTP, not through our adapter. Exit code 3 when they differ.

    Example: tidegate reconcile demo-fixings --broker-ready-file var/run/practice-broker.json
    """
    settings = load_settings(state, "reconcile")
    import msgspec

    from core.errors import ConfigurationError, ExitCode
    from tidegate.broker_view import BrokerView, reconcile_ledger
    from tidegate.platform import platform
    from tidegate.trader import BrokerName, TradeOptions, account_settings

    which = BrokerName.PRACTICE if broker_ready_file else BrokerName.OANDA
    account = account_settings(TradeOptions(which, HERE, broker_ready_file=broker_ready_file), settings)
    if not account.rest_url or account.token is None or account.account_id is None:
        raise ConfigurationError(
            "no account to compare with: give --broker-ready-file, or set TIDEGATE_OANDA__REST_URL, __TOKEN and "
            "__ACCOUNT_ID"
        )
    view = BrokerView(account.rest_url, account.token.get_secret_value(), account.account_id.get_secret_value())
    with platform(settings, database=True) as addresses:
        _require_session(addresses.database_url, session)
        rows = reconcile_ledger(addresses.database_url, session, view)
    equal = all(row.equal for row in rows)
    lines = [f"{'=' if row.equal else '≠'} {row.item}: {row.ours} | {row.broker}" for row in rows]
    finish({"session": session, "equal": equal, "rows": msgspec.to_builtins(rows)}, json, "\n".join(lines))
    if not equal:
        raise typer.Exit(ExitCode.REFUSED)


def _require_session(database_url: str, session: str) -> None:
    """Refuse a name the ledger does not know.

    Raises:
        BadInputError: there is no such session.
    """
    import sqlalchemy as sa

    from core.database import create_engine, migrate
    from core.errors import BadInputError
    from trading.ledger import tables

    engine = create_engine(database_url)
    try:
        migrate(engine)
        with engine.connect() as connection:
            names = list(connection.execute(sa.select(tables.sessions.c.session_id)).scalars())
    finally:
        engine.dispose()
    if session not in names:
        known = ", ".join(sorted(names)[-5:]) or "none yet"
        raise BadInputError(f"the ledger knows no session {session!r}; the newest are: {known}")


def bento(
    version: Version, name: Name = None, workspace: Workspace = HERE, state: State = None, json: Json = False
) -> None:
    """Build a Bento from a registered version: model, evidence and the code that answers.

    Example: tidegate bento 3
    """
    settings = load_settings(state, "bento")
    from tempfile import TemporaryDirectory

    from tidegate.platform import platform
    from tidegate.release import registry_settings

    model = name or model_of(workspace)
    with platform(settings) as addresses, TemporaryDirectory(prefix="tidegate-package-") as folder:
        from serving.bento import build_bento
        from serving.release.publish import fetch_package, registry_client

        package = fetch_package(registry_client(registry_settings(addresses)), model, version, Path(folder))
        home = addresses.state / "bentoml"
        tag = build_bento(package, model, home)
    text = f"{tag}; serve it with BENTOML_HOME={home} bentoml serve {tag}"
    finish({"tag": tag, "home": str(home), "model": model, "version": version}, json, text)


def _lines(result: dict[str, Any], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += _lines(value, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}: {f'{value:,.4g}' if isinstance(value, float) else value}")
    return lines


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (reconcile, bento, bench):
        app.command()(command)
