"""What all parts of the broker contract share: the venue of a test, and skipping what a broker does not offer."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import pytest
import pytest_asyncio
from broker_venue import Capabilities, Venue

from trading.brokers.interface import Broker

OpenVenue = Callable[..., Awaitable[Venue]]


class ContractBase:
    """Override ``make_venue``, ``broker_name`` and, where the broker is not like v20, ``capabilities``."""

    broker_name: ClassVar[str]
    capabilities: ClassVar[Capabilities] = Capabilities()

    async def make_venue(self, folder: Path, *, hedging: bool = False, fifo: bool = False) -> Venue:
        """Return a venue with a connected adapter; ``folder`` is its own."""
        raise NotImplementedError

    @pytest_asyncio.fixture
    async def open_venue(self, tmp_path: Path) -> AsyncIterator[OpenVenue]:
        opened: list[Venue] = []

        async def make(**rules: bool) -> Venue:
            opened.append(await self.make_venue(tmp_path / f"venue-{len(opened)}", **rules))
            return opened[-1]

        yield make
        for venue in opened:
            await venue.close()

    @pytest_asyncio.fixture
    async def venue(self, open_venue: OpenVenue) -> Venue:
        return await open_venue()

    @pytest.fixture
    def broker(self, venue: Venue) -> Broker:
        return venue.broker

    def need(self, offered: bool, what: str) -> None:
        """Skip the test with a reason if the broker does not offer what it is about."""
        if not offered:
            pytest.skip(f"{self.broker_name} does not offer {what}")
