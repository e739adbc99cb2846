"""One life of the drilled trader: the real ``run_trader`` with the real adapter, journal, ledger and feature kernel."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.domain import BarKind
from core.logging import configure_logging
from core.settings import LoggingSettings, OandaSettings
from tidegate.drill.clock import AcceleratedClock
from tidegate.drill.market import BAR_SECONDS, INSTRUMENTS, ChangeablePredictor
from tidegate.drill.processes import ACCOUNT, TOKEN, TimedFeed, TraderOrder
from trading.brokers.oanda.broker import OandaBroker
from trading.config import TraderConfig
from trading.feeds.live import LiveFeed
from trading.feeds.lockstep import LockstepClock, LockstepFeed
from trading.strategy.sizing import SizingParameters
from trading.trader import run_trader

_STEPS_PER_YEAR = 260.0 * 24 * 60


def session_config(order: TraderOrder) -> TraderConfig:
    """Return the session every life of a seed goes on with."""
    return TraderConfig(
        session_id=order.session_id,
        session_directory=Path(order.folder) / "session",
        account_key=f"practice:{order.session_id}",
        market=BarKind.BAR,
        instruments=INSTRUMENTS,
        feature_set="bars",
        state_path=Path(order.state_path),
        lookback=2,
        strategy="drill",
        sizing=SizingParameters(
            steps_per_year=_STEPS_PER_YEAR, stop_loss_volatilities=order.stop_loss_volatilities, kelly_fraction=1.0
        ),
        bar_seconds=BAR_SECONDS,
        snapshot_steps=4,
        status_port=None,
        follow_events=bool(order.speed),
        simulated=True,
    )


async def trade_life(order: TraderOrder, trading: Callable[[], None]) -> None:
    """Trade until the market ends; ``trading`` is called once the trader trades (again)."""
    configure_logging(LoggingSettings(format="json", level="warning"), "drill")
    settings = OandaSettings(
        rest_url=order.url,
        stream_url=order.url,
        token=SecretStr(TOKEN),
        account_id=SecretStr(ACCOUNT),
        request_timeout_seconds=0.5,
        requests_per_second=1000.0,
    )
    clock: Any = LockstepClock() if not order.speed else await AcceleratedClock.of(order.url, TOKEN, order.speed)
    broker = OandaBroker(settings, clock, settle_seconds=0.02)
    await broker.connect()
    try:
        async with _feed(order, broker, clock) as feed:
            timed = TimedFeed(feed, trading)
            await run_trader(
                session_config(order), broker, ChangeablePredictor(), clock, timed, order.database_url or None
            )
    finally:
        await broker.close()


@asynccontextmanager
async def _feed(order: TraderOrder, broker: OandaBroker, clock: Any) -> AsyncGenerator[Any]:
    if order.speed:
        yield LiveFeed(broker, clock, INSTRUMENTS)
        return
    async with LockstepFeed(broker, clock, INSTRUMENTS, order.url, timeout_seconds=4.0) as feed:
        yield feed
