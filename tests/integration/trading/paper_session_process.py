"""A paper session in a process of its own, for tests that kill it: folder of the session, URL of the price source."""

import asyncio
import sys
from pathlib import Path

from trading_session import MomentumPredictor, make_config, practice_settings

from core.domain import BarKind
from core.settings import get_settings
from tidegate.paper import paper_account, paper_feed
from trading.brokers.oanda import OandaBroker
from trading.feeds.lockstep import LockstepClock, LockstepFeed
from trading.trader import run_trader

PARAMS = {"risk": {"initial_balance": 50_000}, "costs": {"commission_per_million": 35}}


async def trade(folder: Path, url: str) -> None:
    config = make_config(folder, BarKind.FIXING, account_key="paper:test")
    clock = LockstepClock()
    prices = OandaBroker(practice_settings(url), clock, settle_seconds=0.05)
    await prices.connect()
    try:
        async with paper_account(prices, clock, config, PARAMS, get_settings()) as broker:
            async with LockstepFeed(prices, clock, config.instruments, url) as feed:
                summary = await run_trader(
                    config,
                    broker,
                    MomentumPredictor(config.feature_set),
                    clock,
                    paper_feed(feed, broker, config, clock),
                    None,
                )
    finally:
        await prices.close()
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled, summary.reconciliation.differences
    # A kill between our record and the exchange leaves an order that is certainly not there: it is counted by itself.
    print(summary.steps, summary.orders - summary.orders_not_sent, summary.balance)


if __name__ == "__main__":
    asyncio.run(trade(Path(sys.argv[1]), sys.argv[2]))
