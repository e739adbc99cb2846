"""The paper account: real prices, an exchange in this process; no order reaches the broker the prices come from."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.clock import Clock
from core.domain import BarKind
from core.errors import RefusedError
from core.settings import Settings

if TYPE_CHECKING:
    from trading.brokers.interface import Broker
    from trading.brokers.paper import PaperBroker
    from trading.config import TraderConfig
    from trading.feeds.interface import Feed


@asynccontextmanager
async def paper_account(
    prices: "Broker", clock: Clock, config: "TraderConfig", params: dict[str, Any], settings: Settings
) -> "AsyncGenerator[PaperBroker]":
    """Yield the paper account of a session at the instruments of ``prices``; it lives on in the session's folder.

    It trades at what the session's ``paper_feed`` shows it.

    Raises:
        RefusedError: the source does not quote an instrument of the session.
        ConfigurationError, IntegrityError: the account in the session's folder cannot go on.
    """
    from trading.brokers.paper import PaperBroker
    from trading.matching.book import AccountConfiguration

    offered = await prices.instruments()
    missing = [name for name in config.instruments if name not in offered]
    if missing:
        raise RefusedError(f"{prices.name} does not quote {', '.join(missing)}: trade others")
    broker = PaperBroker(
        {name: offered[name] for name in config.instruments},
        clock,
        AccountConfiguration(
            currency=settings.trading.account_currency,
            balance=Decimal(str(params.get("risk", {}).get("initial_balance", 100_000))),
            commission_per_million=Decimal(str(params.get("costs", {}).get("commission_per_million", 0))),
        ),
        folder=config.session_directory / "paper",
        candles=prices.candles,  # what happened while this process was away is in the source's history only
    )
    try:
        await broker.connect()
        yield broker
    finally:
        await broker.close()


def paper_feed(prices: "Feed", broker: "PaperBroker", config: "TraderConfig", clock: Clock) -> "Feed":
    """Return the session's feed: each quote is matched first, then seen; what is no price is never matched."""
    from trading.feeds.guard import QuoteGuard
    from trading.feeds.paper import PaperFeed

    guard = QuoteGuard(config.instruments, config.feed, config.market is not BarKind.FIXING)
    return PaperFeed(prices, broker, guard, clock)
