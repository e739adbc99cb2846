"""A market that runs faster than the machine: the trader keeps its time, and the clock watch believes it."""

import asyncio
from pathlib import Path

import aiohttp
from practice_fixtures import PracticeProcess, practice_broker
from rule_session import PAIRS, Alternating, process_settings, rule_config

from core.clock import from_rfc3339
from tidegate.trader import Pace
from trading.brokers.oanda import OandaBroker
from trading.feeds.accelerated import AcceleratedClock
from trading.feeds.guard import GuardParameters
from trading.feeds.live import GRACE_SECONDS, LiveFeed
from trading.loop import TradingLoop
from trading.reconciliation.parameters import ReconciliationParameters
from trading.risk.limits import RiskParameters
from trading.trader import run_trader

SPEED = 60.0
ARGUMENTS = (
    "--clock", "accelerated", "--speed", str(SPEED), "--from", "2024-03-05T10:00:00Z", "--seed", "4",
    "--instruments", ",".join(PAIRS), "--ticks-per-second", "1",
)  # fmt: skip


async def venue_state(server: PracticeProcess) -> dict[str, object]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.rest_url}/admin/state", headers={"Authorization": f"Bearer {server.token}"}) as reply,
    ):
        return await reply.json()


async def test_an_accelerated_market_is_traded_in_its_own_time(tmp_path: Path) -> None:
    with practice_broker(tmp_path / "broker", *ARGUMENTS) as server:
        pace = Pace.of(await venue_state(server))
        assert (pace.lockstep, pace.speed) == (False, SPEED)
        assert pace.start_ns >= from_rfc3339("2024-03-05T10:00:00Z")
        clock = AcceleratedClock(pace.start_ns, pace.speed)
        config = rule_config(
            tmp_path,
            bar_seconds=60,
            step_timeout_seconds=20.0,
            feed=GuardParameters().at_speed(SPEED),
            reconciliation=ReconciliationParameters().at_speed(SPEED),
            risk=RiskParameters(stale_price_seconds=60.0),
            status_port=None,
        )
        broker = OandaBroker(process_settings(server), clock, settle_seconds=0.05)
        await broker.connect()
        strategy = Alternating("rules", goal=5)
        loops: list[TradingLoop] = []
        try:
            feed = LiveFeed(broker, clock, config.instruments, grace_seconds=GRACE_SECONDS * SPEED)
            trader = asyncio.create_task(
                run_trader(
                    config,
                    broker,
                    None,
                    clock,
                    feed,
                    handle_signals=False,
                    started=lambda loop, _: loops.append(loop),
                    strategy=lambda _desk, _degradation: strategy,
                )
            )
            reached = asyncio.create_task(strategy.reached.wait())
            await asyncio.wait({trader, reached}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
            if loops:
                loops[0].stop()
            summary = await trader
        finally:
            await broker.close()
    assert summary.fills >= 2
    assert "clock" not in summary.degraded
    assert summary.last_step_ns - summary.first_step_ns >= 3 * 60 * 10**9
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled, summary.reconciliation.differences
