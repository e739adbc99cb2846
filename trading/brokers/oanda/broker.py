"""The OANDA v20 account as the loop sees it: ``Broker`` over oandapyV20, never blocking the event loop."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, TypeVar, cast
from urllib.parse import quote

import msgspec
from oandapyV20.endpoints.accounts import AccountInstruments, AccountSummary
from oandapyV20.endpoints.orders import OrderCancel, OrderCreate, OrderDetails, OrderReplace, OrdersPending
from oandapyV20.endpoints.positions import OpenPositions, PositionClose
from oandapyV20.endpoints.trades import OpenTrades

from core.clock import Clock
from core.domain import (
    AccountState,
    Bar,
    BrokerEvent,
    Heartbeat,
    Instrument,
    OpenOrder,
    OrderFilled,
    OrderRejected,
    OrderRequest,
    Position,
    Quote,
    RejectReason,
)
from core.errors import BadInputError, ConfigurationError, OutcomeUnknownError, UnavailableError
from core.settings import OandaSettings
from trading.brokers.oanda.candles import read_candles
from trading.brokers.oanda.environment import select_environment
from trading.brokers.oanda.history import TransactionHistory
from trading.brokers.oanda.pacing import CircuitBreaker, TokenBucket
from trading.brokers.oanda.pricing import QuoteStream
from trading.brokers.oanda.rejects import reason_of_message, reject_reason
from trading.brokers.oanda.secrecy import clean, protect
from trading.brokers.oanda.session import Endpoint, Reply, RestClient
from trading.brokers.oanda.stream import LineStream, StreamHealth
from trading.brokers.oanda.transactions import EventStream
from trading.brokers.oanda.translate import Translator, account_state, instrument_of, open_order, position_of
from trading.brokers.oanda.wire import ATTACHED_TYPES, closeout_body, order_body, trade_order_body

Result = TypeVar("Result")

_READERS = 2  # threads for requests that change nothing; orders have a thread of their own
_REMEMBERED = 10_000  # orders whose fate may still be asked for without a transaction id
_JOIN_SECONDS = 2.0


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
        if settings.token is None or settings.account_id is None:
            missing = "TOKEN" if settings.token is None else "ACCOUNT_ID"
            raise ConfigurationError(f"TIDEGATE_OANDA__{missing} is not set: the account cannot be reached")
        self._settings = settings
        self._clock = clock
        self._currency = account_currency
        self._settle_seconds = settle_seconds
        self._token = settings.token.get_secret_value()
        self._account_id = settings.account_id.get_secret_value()
        if not self._token.isascii() or not self._token.isprintable() or "/" in self._account_id:
            raise ConfigurationError(
                "TIDEGATE_OANDA__TOKEN or …__ACCOUNT_ID has characters it cannot have: copy both again"
            )
        protect(self._token, self._account_id)
        self._environment = select_environment(settings, allow_live)
        self._breaker = CircuitBreaker()
        self._client = RestClient(
            self._environment,
            self._token,
            settings.request_timeout_seconds,
            TokenBucket(settings.requests_per_second),
            self._breaker,
        )
        self._translator = Translator()
        self._history = TransactionHistory(self._client, self._account_id, self._translator, self._saw_transaction)
        self._order_thread = ThreadPoolExecutor(1, "oanda-orders")
        self._readers = ThreadPoolExecutor(_READERS, "oanda-reads")
        self._instruments: dict[str, Instrument] = {}
        self._last_transaction = 0
        self._sent: OrderedDict[str, int] = OrderedDict()  # client order id -> last transaction before it was sent
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
        return self._breaker.open

    @property
    def last_transaction_id(self) -> int:
        """The highest transaction id the broker has mentioned so far."""
        return self._last_transaction

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
        await self._run(self._readers, self._learn_trades)
        # The order thread's own first request opens its connection before an order has to wait for it.
        await self._run(self._order_thread, lambda: self._client.read(AccountSummary(self._account_id), "account"))

    async def close(self) -> None:
        """Stop streams and threads and close connections."""
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
        body = await self._read(AccountInstruments(self._account_id), "instruments")
        instruments = [instrument_of(entry) for entry in _list(body, "instruments")]
        self._instruments = {instrument.name: instrument for instrument in instruments}
        return dict(self._instruments)

    async def account(self) -> AccountState:
        """Read balance, margin and the last transaction id."""
        body = await self._read(AccountSummary(self._account_id), "account summary")
        summary = body.get("account")
        if not isinstance(summary, dict):
            raise UnavailableError("account summary: the broker's answer has no account; try again")
        state = account_state(cast(dict[str, Any], summary), self._clock.time_ns())
        self._saw_transaction(state.last_transaction_id)
        return state

    async def positions(self) -> dict[str, Position]:
        """Read the open positions."""
        body = await self._read(OpenPositions(self._account_id), "open positions")
        positions = [position_of(entry) for entry in _list(body, "positions")]
        return {position.instrument: position for position in positions if position.units}

    async def open_orders(self) -> list[OpenOrder]:
        """Read the pending orders, oldest first."""
        body = await self._read(OrdersPending(self._account_id), "open orders")
        orders = _list(body, "orders")
        if any(order.get("tradeID") and self._translator.trade(str(order["tradeID"])) is None for order in orders):
            await self._run(self._readers, self._learn_trades)
        return sorted((open_order(order, self._translator) for order in orders), key=_age)

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        """Send one order, once."""
        body = {"order": order_body(order, self._instruments.get(order.instrument))}
        return await self._trade(
            OrderCreate(self._account_id, data=body), f"order {order.client_order_id}", order.client_order_id
        )

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        """Cancel an open order."""
        return await self._trade(
            OrderCancel(self._account_id, orderID=_specifier(client_order_id)),
            f"cancel of {client_order_id}",
            client_order_id,
        )

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        """Replace an open order; one attached to a trade by another of its kind."""
        instrument = self._instruments.get(replacement.instrument)
        if replacement.order_type in ATTACHED_TYPES:
            trade_id = await self._run(self._readers, lambda: self._trade_of(client_order_id))
            if not trade_id:
                return [self._refused(client_order_id, "ORDER_DOESNT_EXIST")]
            body = {"order": trade_order_body(replacement, trade_id, instrument)}
        else:
            body = {"order": order_body(replacement, instrument)}
        return await self._trade(
            OrderReplace(self._account_id, orderID=_specifier(client_order_id), data=body),
            f"replacement of {client_order_id}",
            replacement.client_order_id,
        )

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        """Reduce the position by ``units`` (unsigned); the broker refuses more than there is."""
        if units <= 0:
            raise BadInputError(f"closing {units} of {instrument}: give a positive number of units")
        position = (await self.positions()).get(instrument)
        if position is None:
            return [self._refused(client_order_id, "CLOSEOUT_POSITION_DOESNT_EXIST")]
        body = closeout_body(position.units, units, client_order_id, self._instruments.get(instrument))
        return await self._trade(
            PositionClose(self._account_id, instrument=quote(instrument, safe=""), data=body),
            f"closing order {client_order_id}",
            client_order_id,
        )

    async def resolve(self, client_order_id: str, since_transaction_id: int = 0) -> list[BrokerEvent]:
        """Ask the order and the transactions what became of an order."""
        for last_try in (False, True):
            events = await self._run(self._readers, lambda: self._find(client_order_id, since_transaction_id))
            if events or last_try:
                return events
            await asyncio.sleep(self._settle_seconds)  # real time: the request may still be on its way
        raise AssertionError("unreachable")

    async def transactions_since(self, transaction_id: int) -> list[BrokerEvent]:
        """Read everything after ``transaction_id``, in order."""
        return await self._run(self._readers, lambda: self._history.since(transaction_id))

    async def candles(self, instrument: str, granularity_seconds: int, start_ns: int, end_ns: int) -> list[Bar]:
        """Read complete bid and ask bars."""
        arrival_ns = self._clock.time_ns()
        return await self._run(
            self._readers,
            lambda: read_candles(self._client, instrument, granularity_seconds, start_ns, end_ns, arrival_ns),
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
            self._environment,
            self._token,
            self._account_id,
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
        """Yield the account's events from an id on, over all reconnects."""
        stream = EventStream(
            self._environment,
            self._token,
            self._account_id,
            since_transaction_id,
            self._settings.heartbeat_timeout_seconds,
            self._history,
            self._translator,
        )
        self._event_streams.append(stream)
        stream.stream.start()
        return stream.events

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except RuntimeError as error:
            if "shutdown" not in str(error):
                raise
        raise UnavailableError("the broker connection is closed: nothing was sent")

    async def _read(self, endpoint: Endpoint, what: str) -> dict[str, Any]:
        reply = await self._run(self._readers, lambda: self._client.read(endpoint, what))
        if not reply.accepted:
            raise ConfigurationError(f"{what}: the broker answers {reply.error}: check TIDEGATE_OANDA__ACCOUNT_ID")
        return reply.body

    async def _trade(self, endpoint: Endpoint, what: str, client_order_id: str) -> list[BrokerEvent]:
        self._sent[client_order_id] = self._last_transaction
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        reply = await self._run(self._order_thread, lambda: self._client.trade(endpoint, what))
        return self._events_of(reply, what, client_order_id)

    def _events_of(self, reply: Reply, what: str, client_order_id: str) -> list[BrokerEvent]:
        last = str(reply.body.get("lastTransactionID", ""))
        try:
            events = self._translator.reply_events(reply.body, client_order_id)
        except BadInputError as error:
            raise OutcomeUnknownError(f"{what}: the reply cannot be read ({error.message}); ask") from None
        if reply.accepted and not events:
            raise OutcomeUnknownError(f"{what}: accepted without a transaction; ask what became of it")
        if last.isdigit():
            self._saw_transaction(int(last))
        if not events:
            return [self._refused(client_order_id, reply.error, str(reply.body.get("errorMessage", "")))]
        return [
            msgspec.structs.replace(event, client_order_id=client_order_id)
            if isinstance(event, OrderRejected) and not event.client_order_id
            else event
            for event in events
        ]

    def _refused(self, client_order_id: str, broker_reason: str, message: str = "") -> OrderRejected:
        reason = reject_reason(broker_reason)
        if reason is RejectReason.BROKER_OTHER and message:
            reason = reason_of_message(clean(message))
        return OrderRejected(0, client_order_id, self._clock.time_ns(), reason, broker_reason)

    def _find(self, client_order_id: str, since_transaction_id: int) -> list[BrokerEvent]:
        start = since_transaction_id or self._sent.get(client_order_id, 0)
        if not start:
            reply = self._client.read(OrderDetails(self._account_id, _specifier(client_order_id)), "order by client id")
            order = cast(dict[str, Any], reply.body.get("order") or {})
            start = int(str(order.get("id", "1"))) - 1
        return [event for event in self._history.since(start) if _belongs_to(event, client_order_id)]

    def _trade_of(self, client_order_id: str) -> str:
        reply = self._client.read(OrderDetails(self._account_id, _specifier(client_order_id)), "order by client id")
        order = cast(dict[str, Any], reply.body.get("order") or {})
        return str(order.get("tradeID", "")) if order.get("state") == "PENDING" else ""

    def _learn_trades(self) -> None:
        reply = self._client.read(OpenTrades(self._account_id), "open trades")
        self._translator.learn_trades(_list(reply.body, "trades"))

    def _saw_transaction(self, number: int) -> None:
        self._last_transaction = max(self._last_transaction, number)

    def _price_streams(self) -> list[LineStream]:
        return [self._quotes.stream] if self._quotes is not None else []

    def _shut_down(self, streams: list[LineStream]) -> None:
        for stream in streams:
            stream.join(_JOIN_SECONDS)
        self._order_thread.shutdown(wait=True)
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._client.close()


def _specifier(client_order_id: str) -> str:
    """Return v20's ``@`` form of a client order id, safe inside a URL."""
    return "@" + quote(client_order_id, safe="")


def _belongs_to(event: BrokerEvent, client_order_id: str) -> bool:
    if isinstance(event, OrderFilled):
        return event.fill.client_order_id == client_order_id
    return getattr(event, "client_order_id", None) == client_order_id


def _age(order: OpenOrder) -> int:
    return int(order.broker_order_id) if order.broker_order_id.isdigit() else 0


def _list(body: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = body.get(key)
    if not isinstance(entries, list):
        raise UnavailableError(f"the broker's answer has no list of {key}; try again")
    return cast(list[dict[str, Any]], entries)


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more
