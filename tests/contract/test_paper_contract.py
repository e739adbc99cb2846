"""The contract, by the paper broker in process, and what is its own: the book that survives a restart."""

from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest
from broker_contract import BrokerContract
from broker_venue import Capabilities, Venue, fills, limit, market

from core.clock import SimulatedClock, from_rfc3339
from core.domain import Heartbeat, Quote, default_instrument
from core.errors import BadInputError, ConfigurationError, IntegrityError, UnavailableError
from trading.brokers.paper import PaperBroker
from trading.matching.book import AccountConfiguration

START_NS = from_rfc3339("2024-03-05T10:00:00Z")
SECOND = 1_000_000_000
INSTRUMENTS = {name: default_instrument(name) for name in ("EUR_USD", "USD_JPY")}


class PaperVenue(Venue):
    def __init__(self, folder: Path, **rules: bool) -> None:
        self.folder = folder
        self.clock = SimulatedClock(START_NS)
        self._configuration = AccountConfiguration(**rules)
        self.paper = PaperBroker(INSTRUMENTS, self.clock, self._configuration, folder)
        self.broker = self.paper
        if self.paper.exchange.last_transaction_id == 2:
            self.tick("EUR_USD", 1.1, 1.1001)
            self.tick("USD_JPY", 150.0, 150.01)

    def tick(self, instrument: str, bid: float, ask: float) -> None:
        self.clock.advance_to(self.clock.time_ns() + SECOND)
        now = self.clock.time_ns()
        self.paper.on_quote(Quote(instrument, now, now, bid, ask, simulated=True))

    async def quote(self, instrument: str, bid: str, ask: str) -> None:
        self.tick(instrument, float(bid), float(ask))

    @property
    def time_ns(self) -> int:
        return self.clock.time_ns()

    async def halt(self, instrument: str) -> None:
        self.paper.halt(instrument)

    async def bound_liquidity(self, units: int | None) -> None:
        self.paper.bound_liquidity(None if units is None else Decimal(units))

    async def pass_time(self, seconds: int) -> None:
        now = self.clock.time_ns() + seconds * SECOND
        self.clock.advance_to(now)
        self.paper.on_heartbeat(Heartbeat(now, now))

    async def restart_adapter(self) -> None:
        # No close: the process is killed, and its files are as the last command left them.
        self.paper = PaperBroker(INSTRUMENTS, self.clock, self._configuration, self.folder)
        self.broker = self.paper
        await self.paper.connect()

    async def close(self) -> None:
        await self.paper.close()


class TestPaperContract(BrokerContract):
    broker_name: ClassVar[str] = "paper"

    capabilities: ClassVar[Capabilities] = Capabilities(network=False, broker_restart=False)

    async def make_venue(self, folder: Path, **rules: bool) -> PaperVenue:
        venue = PaperVenue(folder, **rules)
        await venue.broker.connect()
        return venue

    async def test_the_book_survives_a_restart(self, venue: PaperVenue) -> None:
        await venue.broker.submit(market("kept-1", 1000, stop_loss_price=Decimal("1.09")))
        await venue.broker.submit(market("kept-2", 500))
        await venue.broker.submit(limit("kept-3", 700, "1.05"))
        venue.tick("EUR_USD", 1.102, 1.1021)
        before = (
            (await venue.broker.account()).balance,
            await venue.broker.positions(),
            await venue.broker.open_orders(),
            await venue.broker.transactions_since(0),
        )
        # No close: the process is killed.
        again = PaperBroker(INSTRUMENTS, venue.clock, folder=venue.folder)
        assert before == (
            (await again.account()).balance,
            await again.positions(),
            await again.open_orders(),
            await again.transactions_since(0),
        )
        assert again.exchange.snapshot() == venue.paper.exchange.snapshot()
        again.on_quote(Quote("EUR_USD", START_NS + 60 * SECOND, START_NS + 60 * SECOND, 1.08, 1.0801))
        reasons = [event.fill.reason for event in fills(await again.transactions_since(len(before[3])))]
        assert reasons == ["STOP_LOSS_ORDER"]
        await again.close()

    async def test_quotes_that_matter_to_nobody_are_still_there_after_the_next_command(self, venue: PaperVenue) -> None:
        venue.tick("USD_JPY", 151.0, 151.01)
        venue.tick("EUR_USD", 1.2, 1.2001)
        await venue.broker.submit(market("late-quote", 100))
        again = PaperBroker(INSTRUMENTS, venue.clock, folder=venue.folder)
        assert again.exchange.snapshot() == venue.paper.exchange.snapshot()
        await again.close()

    async def test_damaged_or_foreign_files_are_refused(self, venue: PaperVenue) -> None:
        assert venue.folder is not None
        await venue.broker.close()
        with pytest.raises(ConfigurationError):
            PaperBroker(INSTRUMENTS, venue.clock, AccountConfiguration(currency="EUR"), venue.folder)
        (venue.folder / "snapshot.json").write_bytes(b"{}")
        with pytest.raises(IntegrityError):
            PaperBroker(INSTRUMENTS, venue.clock, folder=venue.folder)

    async def test_what_is_no_quote_is_refused(self, venue: PaperVenue) -> None:
        for quote in (Quote("EUR_USD", START_NS, START_NS, 1.2, 1.1), Quote("GBP_USD", START_NS, START_NS, 1.2, 1.3)):
            with pytest.raises(BadInputError):
                venue.paper.on_quote(quote)

    async def test_missing_quotes_are_reported(self) -> None:
        broker = PaperBroker(INSTRUMENTS, SimulatedClock(START_NS))
        with pytest.raises(UnavailableError):
            await broker.quotes_ready(0.05)
        broker.quotes(["EUR_USD"])
        with pytest.raises(UnavailableError, match="EUR_USD"):
            await broker.quotes_ready(0.05)
