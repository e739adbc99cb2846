"""The OANDA v20 account as the loop sees it: ``Broker`` over oandapyV20, never blocking the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from typing import Any, cast

from oandapyV20.endpoints.accounts import AccountInstruments, AccountSummary
from oandapyV20.endpoints.orders import OrdersPending

from core.clock import Clock
from core.domain import (
    AccountState,
    Bar,
    BrokerEvent,
    Heartbeat,
    Instrument,
    OpenOrder,
    OrderRequest,
    Position,
    Quote,
)
from core.errors import BadInputError, ConfigurationError, UnavailableError
from core.settings import OandaSettings
from trading.brokers.oanda.candles import read_candles
from trading.brokers.oanda.connection import Connection, entries
from trading.brokers.oanda.orders import OrderEntry
from trading.brokers.oanda.pricing import QuoteStream
from trading.brokers.oanda.stream import LineStream, StreamHealth
from trading.brokers.oanda.transactions import EventStream
from trading.brokers.v20.translate import account_state, instrument_of, open_order

_JOIN_SECONDS = 2.0
_STREAMS = 20  # open at a time: OANDA's documented limit, one of them the prices


class OandaBroker:
    """One v20 account.

    Args:
        settings: hosts, token, account, limits.
        clock: stamps arrivals. Network waits follow real time, whatever this clock is.
        account_currency: what the account must be in.
        allow_live: the second key to real money, besides ``settings.environment``.
        settle_seconds: pause between the two questions of ``resolve``.

    Raises:
        ConfigurationError: token or account missing, live without ``allow_live``, or no usable hosts.
    """

    def __init__(
        self,
        settings: OandaSettings,
        clock: Clock,
        *,
        account_currency: str = "USD",
        allow_live: bool = False,
        settle_seconds: float = 1.0,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._currency = account_currency
        self._connection = Connection(settings, allow_live)
        self._orders = OrderEntry(self._connection, clock, settle_seconds)
        self._quotes: QuoteStream | None = None
        self._quotes_ready: asyncio.Event | None = None
        self._event_streams: list[EventStream] = []

    def __repr__(self) -> str:
        return f"OandaBroker({self._settings.environment})"

    @property
    def name(self) -> str:
        """``oanda``."""
        return "oanda"

    @property
    def circuit_open(self) -> bool:
        """Whether requests are refused at the moment because the broker did not answer the last ones."""
        return self._connection.breaker.open

    @property
    def request_written_ns(self) -> int:
        """``perf_counter_ns`` right after the last byte of the newest order request was in the socket."""
        return self._connection.orders.written_ns

    @property
    def last_transaction_id(self) -> int:
        """The highest transaction id the broker has mentioned so far."""
        return self._connection.last_transaction

    def stream_health(self) -> dict[str, StreamHealth]:
        """Return the state of the open streams by name (``price``, ``transaction``)."""
        health: dict[str, StreamHealth] = {}
        if self._quotes is not None:
            health["price"] = self._quotes.stream.health
        if self._event_streams:
            health["transaction"] = self._event_streams[-1].stream.health
        return health

    async def connect(self) -> None:
        """Open sessions, check credentials and currency, read instruments and open trades."""
        state = await self.account()
        if state.currency != self._currency:
            raise ConfigurationError(
                f"the account is in {state.currency}, the settings say {self._currency}: "
                "set TIDEGATE_TRADING__ACCOUNT_CURRENCY or use another account"
            )
        await self.instruments()
        await self._connection.reading(self._connection.learn_trades)
        await self._connection.warm_orders()

    async def close(self) -> None:
        """Stop streams and threads and close connections."""
        self._connection.refuse_orders()
        streams = [*(stream.stream for stream in self._event_streams), *self._price_streams()]
        for stream in streams:
            stream.stop()
        if self._quotes is not None:
            self._quotes.quotes.end()
        for events in self._event_streams:
            events.events.end()
        await asyncio.to_thread(self._shut_down, streams)

    async def instruments(self) -> dict[str, Instrument]:
        """Read the tradable instruments; their precisions are used for orders from then on."""
        body = await self._connection.read(AccountInstruments(self._connection.account_id), "instruments")
        instruments = [instrument_of(entry) for entry in entries(body, "instruments")]
        self._connection.instruments = {instrument.name: instrument for instrument in instruments}
        return dict(self._connection.instruments)

    async def account(self) -> AccountState:
        """Read balance, margin and the last transaction id."""
        body = await self._connection.read(AccountSummary(self._connection.account_id), "account summary")
        summary = body.get("account")
        if not isinstance(summary, dict):
            raise UnavailableError("account summary: the broker's answer has no account; try again")
        state = account_state(cast(dict[str, Any], summary), self._clock.time_ns())
        self._connection.saw_transaction(state.last_transaction_id)
        return state

    async def positions(self) -> dict[str, Position]:
        """Read the open positions."""
        return await self._orders.positions()

    async def open_orders(self) -> list[OpenOrder]:
        """Read the pending orders, oldest first."""
        body = await self._connection.read(OrdersPending(self._connection.account_id), "open orders")
        orders = entries(body, "orders")
        translator = self._connection.translator
        if any(order.get("tradeID") and translator.trade(str(order["tradeID"])) is None for order in orders):
            await self._connection.reading(self._connection.learn_trades)
        return sorted((open_order(order, translator) for order in orders), key=_age)

    def prepare(self, order: OrderRequest) -> None:
        """Write out an order's request ahead of ``submit``; nothing is sent."""
        self._orders.prepare(order)

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        """Send one order, once."""
        return await self._orders.submit(order)

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        """Cancel an open order."""
        return await self._orders.cancel(client_order_id)

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        """Replace an open order; one attached to a trade by another of its kind."""
        return await self._orders.amend(client_order_id, replacement)

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        """Reduce the position by ``units`` (unsigned); the broker refuses more than there is."""
        return await self._orders.close_position(instrument, units, client_order_id)

    async def resolve(self, client_order_id: str, since_transaction_id: int = 0) -> list[BrokerEvent]:
        """Ask the order and the transactions what became of an order."""
        return await self._orders.resolve(client_order_id, since_transaction_id)

    async def transactions_since(self, transaction_id: int) -> list[BrokerEvent]:
        """Read everything after ``transaction_id``, in order."""
        return await self._connection.reading(lambda: self._connection.history.since(transaction_id))

    async def candles(self, instrument: str, granularity_seconds: int, start_ns: int, end_ns: int) -> list[Bar]:
        """Read complete bid and ask bars."""
        arrival_ns = self._clock.time_ns()
        client = self._connection.client
        return await self._connection.reading(
            lambda: read_candles(client, instrument, granularity_seconds, start_ns, end_ns, arrival_ns)
        )

    def quotes(self, instruments: Sequence[str]) -> AsyncIterator[Quote | Heartbeat]:
        """Subscribe now and return the stream; ``quotes_ready`` tells when nothing is missed any more."""
        if not instruments:
            raise BadInputError("no instruments to subscribe to: give at least one")
        if self._quotes is not None:
            self._quotes.stream.stop()
            self._quotes.quotes.end()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        self._quotes_ready = ready
        self._quotes = QuoteStream(
            self._connection.environment,
            self._connection.token,
            self._connection.account_id,
            instruments,
            self._settings.heartbeat_timeout_seconds,
            self._clock,
            lambda: _call_soon(loop, ready.set),
        )
        self._quotes.stream.start()
        return self._quotes.quotes

    async def quotes_ready(self, timeout_seconds: float = 10.0) -> None:
        """Wait for the standing quotes of the last subscription."""
        if self._quotes is None or self._quotes_ready is None:
            raise UnavailableError("no price subscription: call quotes first")
        try:
            await asyncio.wait_for(self._quotes_ready.wait(), timeout_seconds)
        except TimeoutError:
            problem = self._quotes.stream.health.last_problem
            raise UnavailableError(
                f"price stream: no quote of {', '.join(self._quotes.awaited)} in {timeout_seconds:g} s"
                + (f" ({problem})" if problem else "")
            ) from None
        if self._quotes.failure is not None:
            raise self._quotes.failure

    def events(self, since_transaction_id: int) -> AsyncIterator[BrokerEvent]:
        """Yield the account's events from an id on, over all reconnects.

        Raises:
            UnavailableError: as many streams are open as the broker allows.
        """
        if len(self._event_streams) >= _STREAMS - 1:
            raise UnavailableError(f"{len(self._event_streams)} transaction streams are open: read one of them instead")
        stream = EventStream(
            self._connection.environment,
            self._connection.token,
            self._connection.account_id,
            since_transaction_id,
            self._settings.heartbeat_timeout_seconds,
            self._connection.history,
            self._connection.translator,
        )
        self._event_streams.append(stream)
        stream.stream.start()
        return stream.events

    def _price_streams(self) -> list[LineStream]:
        return [self._quotes.stream] if self._quotes is not None else []

    def _shut_down(self, streams: list[LineStream]) -> None:
        for stream in streams:
            stream.join(_JOIN_SECONDS)
        self._connection.shut_down()


def _age(order: OpenOrder) -> int:
    return int(order.broker_order_id) if order.broker_order_id.isdigit() else 0


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more
