"""The trader's wiring: broker, predictor, clock and feed of one session, from settings, workspace and model store.

Imports neither Ray nor a training library: the trader outlives all of them.
"""

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from core.clock import Clock, LiveClock, from_rfc3339
from core.digest import digest_bytes
from core.domain import Predictor
from core.errors import BadInputError, ConfigurationError, RefusedError, UnavailableError, UsageError
from core.files import read_json, write_json
from core.logging import get_logger
from core.params import read_params, required
from core.settings import OandaSettings, Settings
from tidegate.paper import paper_account, paper_feed

if TYPE_CHECKING:
    from features.publish import FeaturePublisher
    from serving.local import LocalPredictor
    from serving.store import Pointer
    from trading.brokers.interface import Broker
    from trading.config import TraderConfig
    from trading.feeds.interface import Feed
    from trading.summary import SessionSummary

log = get_logger("tidegate")


class BrokerName(StrEnum):
    """Where orders go."""

    PRACTICE = "practice"  # the practice broker of this machine, through the OANDA adapter
    OANDA = "oanda"  # an OANDA v20 account: practice, or live with both keys
    PAPER = "paper"  # an exchange in this process at the prices of a v20 account or a practice broker


@dataclass(frozen=True)
class TradeOptions:
    """What one session is asked for.

    Attributes:
        broker: where orders go.
        workspace: folder with ``params.yaml``, the catalog and the feature state.
        session: name of the session; the same name goes on with it.
        strategy: whose champion answers; None is that of the market in ``params.yaml``.
        broker_ready_file: of a practice broker, with its addresses and token; None takes the settings.
        serving_url: of the inference service; empty answers from the champion in this process alone.
        database_url: of the ledger; None keeps the journal only.
        redis_url: where live feature rows are published for the online store; empty publishes none.
        ready_file: written as ``{pid, status_url, session}`` when trading begins.
        summary_file: where the summary is written besides the session's folder.
        trade_real_money: the second key to a live account.
        status_port: of the status server; 0 takes a free one.
        steps_per_second: at most so many on a market in lockstep; 0: as fast as they go.
    """

    broker: BrokerName
    workspace: Path
    session: str | None = None
    strategy: str | None = None
    broker_ready_file: Path | None = None
    serving_url: str = ""
    database_url: str | None = None
    redis_url: str = ""
    ready_file: Path | None = None
    summary_file: Path | None = None
    trade_real_money: bool = False
    status_port: int = 0
    steps_per_second: float = 0.0


async def trade(options: TradeOptions, settings: Settings) -> "SessionSummary":
    """Run one session until its feed ends or it is told to stop.

    Raises:
        RefusedError: no verified model, a paper approval on a live account, or another trader on the account.
        ConfigurationError: token, account or hosts are missing, or live without the second key.
        UnavailableError: the broker, or on a new session the database, does not answer.
        BadInputError: the workspace has no feature state.
    """
    from serving.local import LocalPredictor
    from serving.scope import LiveScopeGuard
    from trading.brokers.oanda.broker import OandaBroker
    from trading.control.token import control_token
    from trading.trader import run_trader

    params = read_params(options.workspace / "params.yaml")
    strategy = options.strategy or f"tidegate-{required(params, 'market')}"
    oanda = account_settings(options, settings)
    async with AsyncExitStack() as stack:
        local = stack.enter_context(LocalPredictor(settings.state / "serving", settings.serving.poll_seconds))
        pointer = _champion(local, strategy, oanda.environment == "live" and options.broker is BrokerName.OANDA)
        venue = options.broker is BrokerName.PRACTICE or options.broker_ready_file is not None
        state = await _venue_state(oanda) if venue else {}
        pace = Pace.of(state)
        config = _session(options, params, settings, pointer, oanda, pace)
        clock, feed_maker = await stack.enter_async_context(_market(pace, oanda, config, options.steps_per_second))
        broker: Broker = OandaBroker(
            oanda,
            clock,
            account_currency=settings.trading.account_currency,
            allow_live=options.trade_real_money,
        )
        await broker.connect()
        stack.push_async_callback(broker.close)
        feed: Feed = await stack.enter_async_context(feed_maker(broker))
        if options.broker is BrokerName.PAPER:
            broker = paper = await stack.enter_async_context(paper_account(broker, clock, config, params, settings))
            feed = paper_feed(feed, paper, config, clock)
        predictor = await stack.enter_async_context(_predictor(options.serving_url, settings, local))
        if oanda.environment == "live":
            predictor = LiveScopeGuard(predictor, local)
        publisher = stack.enter_context(_publisher(options.redis_url, config))

        def started(_loop: Any, status: Any) -> None:
            if options.ready_file is not None:
                url = f"http://127.0.0.1:{status.port}" if status is not None else ""
                write_json(options.ready_file, {"pid": os.getpid(), "status_url": url, "session": config.session_id})

        summary = await run_trader(
            config,
            broker,
            predictor,
            clock,
            feed,
            options.database_url,
            started=started,
            publisher=publisher,
            control_token=control_token(settings.state, settings.trading.control_token),
        )
    if options.summary_file is not None:
        write_json(options.summary_file, summary.to_json())
    return summary


def account_settings(options: TradeOptions, settings: Settings) -> OandaSettings:
    """The settings of the account: those of the process, or those a practice broker wrote into its ready file."""
    if options.broker_ready_file is None:
        if options.broker is not BrokerName.PRACTICE:
            return settings.oanda
        if settings.oanda.rest_url is None or settings.oanda.environment == "live":
            raise ConfigurationError(
                "no practice broker is named: start one with `tidegate practice-broker --ready-file FILE` and give "
                "--broker-ready-file FILE, or set TIDEGATE_OANDA__REST_URL"
            )
        return settings.oanda
    try:
        ready: dict[str, Any] = read_json(options.broker_ready_file)
        update = {
            "environment": "practice",
            "rest_url": ready["rest_url"],
            "stream_url": ready["stream_url"],
            "token": SecretStr(ready["token"]),
            "account_id": SecretStr(ready["account_id"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInputError(
            f"{options.broker_ready_file} is no ready file of a practice broker: start the broker first"
        ) from None
    return settings.oanda.model_copy(update=update)


def _champion(local: "LocalPredictor", strategy: str, live: bool) -> "Pointer":
    """The verified champion and its approval; without one no session is begun."""
    pointer = local.pointer(strategy)
    if pointer is None:
        reason = local.failures.get(strategy, "nothing was approved and published")
        raise RefusedError(f"no verified model for strategy {strategy}: {reason}; `tidegate approve VERSION` first")
    if pointer.approval is None:
        raise RefusedError(
            f"strategy {strategy} is flat, no model answers: {pointer.flat}; `tidegate promote` one first"
        )
    if live and pointer.approval.scope != "live":
        raise RefusedError(
            f"version {pointer.version} of {strategy} is approved for {pointer.approval.scope} only: "
            "it never trades on a live account"
        )
    return pointer


@dataclass(frozen=True)
class Pace:
    """How time passes in a session.

    Attributes:
        lockstep: the market waits for the trader.
        start_ns: market time now, where it is not the machine's; 0 where it is.
        speed: market seconds in one of the machine's.
    """

    lockstep: bool = False
    start_ns: int = 0
    speed: float = 1.0

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Pace":
        """Read a practice broker's description; none is the machine's own time.

        Raises:
            BadInputError: the description has no usable time or speed.
        """
        if state.get("clock") != "accelerated":
            return cls(lockstep=state.get("clock") == "lockstep")
        try:
            return cls(False, from_rfc3339(str(state["time"])), float(state["speed"]))
        except (KeyError, ValueError, TypeError):
            raise BadInputError("the practice broker does not say its time and speed: is it of this version?") from None


def _session(
    options: TradeOptions,
    params: dict[str, Any],
    settings: Settings,
    pointer: "Pointer",
    oanda: OandaSettings,
    pace: Pace,
) -> "TraderConfig":
    from data.catalog import Catalog
    from data.granularity import parse_granularity
    from serving.store import ModelStore
    from trading.config import CostParameters, TraderConfig
    from trading.control.setting import switch_path
    from trading.execution.parameters import ExecutionParameters
    from trading.feeds.guard import GuardParameters
    from trading.reconciliation.parameters import ReconciliationParameters
    from trading.risk.limits import RiskParameters
    from trading.strategy.sizing import SizingParameters

    view = Catalog(options.workspace / "data" / "raw" / "catalog").manifest().view
    if view is None:
        raise BadInputError(f"{options.workspace} has no ingested market: `tidegate ingest` first")
    granularity = parse_granularity(view.granularity)
    package = ModelStore(settings.state / "serving").load(pointer)
    account_id = oanda.account_id.get_secret_value() if oanda.account_id else ""
    if options.broker is BrokerName.PAPER:
        account_id = str(settings.state)  # the account is this machine's own, whoever the prices come from
    session = options.session or f"{pointer.strategy}-{options.broker}"
    costs = params.get("costs", {})
    return TraderConfig(
        session_id=session,
        session_directory=settings.state / "sessions" / session,
        account_key=f"{options.broker}:{digest_bytes(account_id.encode())[:12]}",
        market=granularity.kind,
        instruments=tuple(sorted(params["data"]["instruments"])),
        feature_set=package.manifest.feature_set,
        state_path=options.workspace / "data" / "processed" / "features" / "state.npz",
        lookback=package.manifest.lookback,
        strategy=pointer.strategy,
        volatility_feature=str(params["strategy"]["volatility_feature"]),
        sizing=SizingParameters.from_params(params),
        costs=CostParameters(
            slippage_pips=float(costs.get("slippage_pips", 0.0)),
            commission_per_million=float(costs.get("commission_per_million", 0.0)),
        ),
        risk=RiskParameters.from_params(params),
        execution=ExecutionParameters.from_params(params, options.workspace),
        feed=GuardParameters.from_params(params).at_speed(pace.speed),
        bar_seconds=max(granularity.length_ns // 1_000_000_000, 1),
        account_currency=settings.trading.account_currency,
        status_port=options.status_port,
        follow_events=not pace.lockstep,
        kill_switch_path=switch_path(settings.state),
        reconciliation=ReconciliationParameters().at_speed(pace.speed),
        prediction_service=bool(options.serving_url),
        simulated=options.broker is BrokerName.PRACTICE or options.broker_ready_file is not None,
    )


async def _venue_state(oanda: OandaSettings) -> dict[str, Any]:
    """Ask a practice broker where it stands; its clock decides how time passes in the session."""
    import aiohttp

    url = f"{str(oanda.rest_url).rstrip('/')}/admin/state"
    token = oanda.token.get_secret_value() if oanda.token else ""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
            session.get(url, headers={"Authorization": f"Bearer {token}"}) as reply,
        ):
            if reply.status != 200:
                raise UnavailableError(f"{url} answered {reply.status}: is this a practice broker?")
            return await reply.json()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnavailableError(f"the practice broker at {oanda.rest_url} does not answer: {error}") from None


@asynccontextmanager
async def _market(
    pace: Pace, oanda: OandaSettings, config: "TraderConfig", steps_per_second: float
) -> AsyncGenerator[tuple[Clock, Any]]:
    """Yield the session's clock and a context that makes its feed from the connected broker."""
    from trading.feeds.accelerated import AcceleratedClock
    from trading.feeds.live import GRACE_SECONDS, LiveFeed
    from trading.feeds.lockstep import LockstepClock, LockstepFeed

    if steps_per_second and not pace.lockstep:
        raise UsageError("--steps-per-second needs a market in lockstep: this one has a clock of its own")
    if pace.lockstep:
        stepped, pause = LockstepClock(), 1.0 / steps_per_second if steps_per_second else 0.0

        def stepwise(broker: "Broker") -> Any:
            return LockstepFeed(broker, stepped, config.instruments, str(oanda.rest_url), pause_seconds=pause)

        yield stepped, stepwise
        return
    clock = AcceleratedClock(pace.start_ns, pace.speed) if pace.start_ns else LiveClock()

    @asynccontextmanager
    async def live(broker: "Broker") -> "AsyncGenerator[Feed]":
        yield LiveFeed(broker, clock, config.instruments, grace_seconds=GRACE_SECONDS * pace.speed)

    yield clock, live


@contextmanager
def _publisher(redis_url: str, config: "TraderConfig") -> "Generator[FeaturePublisher | None]":
    """What hands the live feature rows to the pusher; it never keeps the loop waiting, also when Redis is away."""
    if not redis_url:
        yield None
        return
    from features.publish import FeaturePublisher
    from features.sets import feature_set

    publisher = FeaturePublisher(redis_url, feature_set(config.feature_set))
    try:
        yield publisher
    finally:
        publisher.close()


@asynccontextmanager
async def _predictor(serving_url: str, settings: Settings, local: "LocalPredictor") -> AsyncGenerator[Predictor]:
    """The Serve client with the local champion behind it; without a service the local champion alone."""
    from serving.client import ServeClient
    from serving.fallback import FallbackPredictor

    if not serving_url:
        log.warning("no inference service is named: the champion in this process answers")
        yield local
        return
    async with ServeClient(serving_url, settings.serving.timeout_seconds, settings.serving.token) as client:
        yield FallbackPredictor(client, local)
