"""A desk over a paper account, with a network between them that can lose, delay and refuse; and its restart."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from core.clock import SimulatedClock, from_rfc3339
from core.domain import BrokerEvent, OpenOrder, OrderRequest, OrderType, Quote, TimeInForce, default_instrument
from core.errors import ConfigurationError, OutcomeUnknownError, UnavailableError
from core.journal import Journal, read_entries
from trading import records
from trading.brokers.paper import PaperBroker
from trading.desk import Desk
from trading.latency import LatencyRecorder
from trading.matching.book import AccountConfiguration
from trading.metrics import TraderMetrics
from trading.risk.limits import RiskParameters
from trading.state import SessionState

Result = TypeVar("Result")
START_NS = from_rfc3339("2024-03-05T10:00:00Z")
SECOND = 1_000_000_000
INSTRUMENTS = {name: default_instrument(name) for name in ("EUR_USD", "USD_JPY")}
LIMITS = RiskParameters(
    maximum_order_units=1e9, maximum_orders_per_minute=10**6, stale_price_seconds=1e6, maximum_spread_pips=1e6
)


class Network:
    """What happens to the next request: nothing, or one of the faults; each is used up by one request."""

    FAULTS = ("reply lost", "request lost", "no connection")

    def __init__(self) -> None:
        self.next: deque[str] = deque()
        self.sent: list[tuple[str, str]] = []  # what kind of request with which id reached the broker

    async def carry(
        self, kind: str, key: str, request: Callable[[], Awaitable[list[BrokerEvent]]]
    ) -> list[BrokerEvent]:
        fault = self.next.popleft() if self.next else ""
        if fault == "no connection":
            raise UnavailableError(f"{kind} {key}: no connection")
        if fault == "request lost":
            raise OutcomeUnknownError(f"{kind} {key}: no reply")
        self.sent.append((kind, key))
        events = await request()
        if fault == "reply lost":
            raise OutcomeUnknownError(f"{kind} {key}: no reply")
        return events


class DistantPaper(PaperBroker):
    """The paper broker behind a network; ``away`` makes its questions fail too."""

    network: Network
    away = False
    mute = False  # no answer to what is open
    forbids = False  # refuses the token

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        return await self.network.carry(
            "submit", order.client_order_id, lambda: super(DistantPaper, self).submit(order)
        )

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        return await self.network.carry(
            "cancel", client_order_id, lambda: super(DistantPaper, self).cancel(client_order_id)
        )

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        return await self.network.carry(
            "amend",
            replacement.client_order_id,
            lambda: super(DistantPaper, self).amend(client_order_id, replacement),
        )

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        return await self.network.carry(
            "close",
            client_order_id,
            lambda: super(DistantPaper, self).close_position(instrument, units, client_order_id),
        )

    async def transactions_since(self, transaction_id: int) -> list[BrokerEvent]:
        if self.away:
            raise UnavailableError("the broker does not answer")
        if self.forbids:
            raise ConfigurationError("transactions: the broker refuses the token (401)")
        return await super().transactions_since(transaction_id)

    async def open_orders(self) -> list[OpenOrder]:
        if self.mute:
            raise UnavailableError("the broker does not list its orders")
        return await super().open_orders()


class Room:
    """One session: broker, journal, desk. ``restart`` forgets everything but the broker and the journal."""

    def __init__(self, folder: Path, configuration: AccountConfiguration | None = None) -> None:
        self.folder = folder
        self.clock = SimulatedClock(START_NS)
        self.broker = DistantPaper(INSTRUMENTS, self.clock, configuration)
        self.network = self.broker.network = Network()
        self.delivered = 0  # transactions that the stream has brought
        self.runner = asyncio.Runner()
        self.journal = Journal(folder)
        self.tick("EUR_USD", 1.1, 1.1001)
        self.tick("USD_JPY", 150.0, 150.01)
        self._open(SessionState(), resumed=False)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def tick(self, instrument: str, bid: float, ask: float) -> None:
        self.clock.advance_to(self.clock.time_ns() + SECOND)
        now = self.clock.time_ns()
        quote = Quote(instrument, now, now, bid, ask, simulated=True)
        self.broker.on_quote(quote)
        if hasattr(self, "desk"):
            self.desk.quotes[instrument] = quote

    def begin_elsewhere(self, folder: Path) -> None:
        """Begin a first session on the account as it stands."""
        self.journal.close()
        self.folder, self.journal = folder, Journal(folder)
        self._open(SessionState(), resumed=False)

    def _open(self, state: SessionState, resumed: bool) -> None:
        self.desk = Desk(
            self.broker,
            self.journal,
            self.clock,
            state,
            INSTRUMENTS,
            LIMITS,
            "USD",
            LatencyRecorder(),
            TraderMetrics(),
        )
        self.desk.quotes.update(self.broker.exchange.book.quotes)
        account = self.run(self.broker.account())
        positions = tuple(self.run(self.broker.positions()).values())
        self.desk.commit(
            records.SessionOpened(
                "s", "c", "test", "paper", "a", tuple(INSTRUMENTS), account, positions, resumed, simulated=True
            )
        )

    def folded(self) -> SessionState:
        """The state that a restart would have: a fold of the journal's bytes."""
        self.journal.flush()
        state = SessionState()
        for entry in read_entries(self.folder):
            state.apply(records.decode(entry))
        return state

    def restart(self) -> None:
        self.journal.close()
        self.journal = Journal(self.folder)
        self._open(self.folded(), resumed=True)

    def stream(self, count: int, lost: int = 0) -> None:
        """Let the transaction stream leave out ``lost`` events and bring the next ``count``."""
        events = self.run(PaperBroker.transactions_since(self.broker, self.delivered))[: lost + count]
        for event in events[lost:]:
            self.run(self.desk.take_streamed(event))
        self.delivered += len(events)

    def send(self, order: OrderRequest) -> bool:
        rates = self.desk.rates()
        return self.run(self.desk.send(order, rates, self.desk.equity(rates), 0))

    def amend(self, key: str, replacement: OrderRequest) -> bool:
        rates = self.desk.rates()
        return self.run(self.desk.amend(key, replacement, rates, self.desk.equity(rates)))

    def written(self, kind: type[Any]) -> list[Any]:
        """Records of one kind in the journal."""
        self.journal.flush()
        return [r for r in map(records.decode, read_entries(self.folder)) if isinstance(r, kind)]

    def close(self) -> None:
        self.journal.close()
        self.run(self.broker.close())
        self.runner.close()


def market(key: str, units: int, **fields: Any) -> OrderRequest:
    return OrderRequest(key, "EUR_USD", Decimal(units), **fields)


def limit(key: str, units: int, price: str, **fields: Any) -> OrderRequest:
    return OrderRequest(
        key, "EUR_USD", Decimal(units), OrderType.LIMIT, TimeInForce.GTC, price=Decimal(price), **fields
    )
