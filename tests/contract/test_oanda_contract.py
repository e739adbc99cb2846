"""The contract, by the OANDA adapter over real HTTP on a practice broker."""

from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import pytest
import pytest_asyncio
from broker_contract import RemoteBrokerContract
from practice_venue import PracticeContractVenue, PracticeServer


class TestOandaContract(RemoteBrokerContract):
    broker_name: ClassVar[str] = "oanda"

    @pytest.fixture
    def server(self) -> Iterator[PracticeServer]:
        server = PracticeServer()
        yield server
        server.close()

    @pytest_asyncio.fixture
    async def venue(self, server: PracticeServer) -> AsyncIterator[PracticeContractVenue]:
        venue = PracticeContractVenue(server)
        await venue.broker.connect()
        yield venue
        await venue.broker.close()
