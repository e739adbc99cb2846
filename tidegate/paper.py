"""The paper account: real prices, an exchange in this process; no order reaches the broker the prices come from."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from core.clock import Clock
from core.domain import Heartbeat
from core.errors import BadInputError, RefusedError, TidegateError
from core.logging import get_logger
from core.settings import Settings

if TYPE_CHECKING:
    from trading.brokers.interface import Broker
    from trading.brokers.paper import PaperBroker
    from trading.config import TraderConfig

log = get_logger("tidegate")


@asynccontextmanager
async def paper_account(
    prices: "Broker", clock: Clock, config: "TraderConfig", params: dict[str, Any], settings: Settings
) -> "AsyncGenerator[PaperBroker]":
    """Yield the paper account of a session, fed with the quotes of ``prices``; it lives on in the session's folder.

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
    )
    pump = asyncio.create_task(_pump(prices, broker, config.instruments), name="paper prices")
    try:
        await broker.connect()
        yield broker
    finally:
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump
        await broker.close()


async def _pump(prices: "Broker", broker: "PaperBroker", instruments: tuple[str, ...]) -> None:
    """Hand every quote to the exchange. When the source ends, so does the account's stream: the session must notice."""
    try:
        async for item in prices.quotes(instruments):
            try:
                broker.on_heartbeat(item) if isinstance(item, Heartbeat) else broker.on_quote(item)
            except BadInputError as error:
                log.warning("quote not taken by the paper exchange", instrument=error.message)
    except TidegateError as error:
        log.error("the prices of the paper account ended", words=error.message)
    finally:
        await broker.close()
