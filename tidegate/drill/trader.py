"""One life of the drilled trader: the real ``run_trader`` with the real adapter, journal, ledger and feature kernel."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from core.domain import BarKind, TimeInForce
from core.logging import configure_logging
from core.settings import LoggingSettings, OandaSettings
from tidegate.drill.clock import AcceleratedClock
from tidegate.drill.market import BAR_SECONDS, INSTRUMENTS, ChangeablePredictor
from tidegate.drill.processes import ACCOUNT, TOKEN, TimedFeed, TraderOrder
from trading.brokers.oanda.broker import OandaBroker
from trading.config import TraderConfig
from trading.execution.parameters import ChildStyle, ExecutionParameters, Remainder
from trading.execution.plan import Algorithm
from trading.feeds.guard import GuardParameters
from trading.feeds.live import LiveFeed
from trading.feeds.lockstep import LockstepClock, LockstepFeed
from trading.reconciliation.parameters import ReconciliationParameters
from trading.risk.limits import RiskParameters
from trading.strategy.sizing import SizingParameters
from trading.trader import run_trader

_STEPS_PER_YEAR = 260.0 * 24 * 60
_STRIDE_SECONDS = 6.0  # two ticks: plans work inside a step, and a broker a whole step ahead would refuse their parts
_STALE_SECONDS = 120.0  # twenty quotes a minute over three instruments leave one silent for half a minute now and then
# In accelerated time what the machine takes in a tenth of a second is minutes of the market; these are its seconds.
_LIVE_STALE = 1.0
_LIVE_FUTURE = 0.5
_LIVE_AGE = 3.0
_SIZING = {
    "": SizingParameters(steps_per_year=_STEPS_PER_YEAR, kelly_fraction=1.0, stop_loss_volatilities=0.0),
    "bracket": SizingParameters(
        steps_per_year=_STEPS_PER_YEAR,
        kelly_fraction=1.0,
        stop_loss_volatilities=2.0,
        take_profit_volatilities=1.5,
        trailing_stop_volatilities=3.0,
    ),
}
_PLAN = ExecutionParameters(
    algorithm=Algorithm.TWAP, duration_seconds=48.0, slices=3, time_in_force=TimeInForce.IOC, price_bound_pips=20.0
)
_EXECUTION = {
    "twap": _PLAN,
    "passive": msgspec.structs.replace(
        _PLAN, child_style=ChildStyle.PASSIVE, reprice_pips=0.1, remainder=Remainder.CROSS
    ),
}


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
        sizing=_SIZING["bracket" if order.style == "bracket" else ""],
        execution=_EXECUTION.get(order.style, ExecutionParameters()),
        risk=RiskParameters(stale_price_seconds=_STALE_SECONDS if not order.speed else _LIVE_STALE * order.speed),
        bar_seconds=BAR_SECONDS,
        **_live_parameters(order.speed),
        snapshot_steps=4,
        journal_segment_bytes=order.segment_bytes,
        kill_switch_path=Path(order.folder) / "kill-switch.json",
        status_port=None,
        follow_events=bool(order.speed),
        simulated=True,
    )


def _live_parameters(speed: float) -> dict[str, Any]:
    """Return what is measured against the market clock where that clock runs ``speed`` times as fast as the machine."""
    if not speed:
        return {}
    intervals = ReconciliationParameters(
        in_flight_seconds=0.2 * speed,
        in_flight_age_seconds=0.3 * speed,
        open_orders_seconds=0.5 * speed,
        positions_seconds=1.0 * speed,
        confirm_seconds=0.2 * speed,
    )
    return {
        "maximum_decision_age_seconds": _LIVE_AGE * speed,
        "feed": GuardParameters(future_seconds=_LIVE_FUTURE * speed),
        "reconciliation": intervals,
    }


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
            timed = TimedFeed(feed, trading, clock.observe if order.speed else None)
            await run_trader(
                session_config(order), broker, ChangeablePredictor(), clock, timed, order.database_url or None
            )
    finally:
        await broker.close()


@asynccontextmanager
async def _feed(order: TraderOrder, broker: OandaBroker, clock: Any) -> AsyncGenerator[Any]:
    if order.speed:
        yield LiveFeed(broker, clock, INSTRUMENTS, silence_seconds=0.1, grace_seconds=0.05 * order.speed)
        return
    stride = _STRIDE_SECONDS if order.style in _EXECUTION else None
    async with LockstepFeed(broker, clock, INSTRUMENTS, order.url, timeout_seconds=4.0, stride_seconds=stride) as feed:
        yield feed
