"""The paper broker: the practice broker's exchange in this process, without a network.

Whoever has prices gives them to ``on_quote``: a live stream, a recording, a simulation. Orders are written, checked and
matched as the practice broker does it, and its transactions are read by the OANDA adapter's own translator, so that
paper and practice give the same events for the same market.

With a folder the account survives the process. Every command is journalled before it is applied. A quote is journalled
before it is matched while something is open or pending; otherwise it can change nothing, and it is written with the
next command.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

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
)
from core.errors import BadInputError, ConfigurationError, UnavailableError
from trading.brokers.subscription import Subscription
from trading.brokers.v20.rejects import reject_reason
from trading.brokers.v20.translate import Translator, account_state, open_order, position_of
from trading.brokers.v20.wire import ATTACHED_TYPES, closeout_body, order_body, order_specifier, trade_order_body
from trading.matching.book import AccountConfiguration
from trading.matching.commands import (
    AnyCommand,
    Cancel,
    ClosePosition,
    Halt,
    OrderSpecification,
    Replace,
    SetLiquidity,
    Submit,
    Ticks,
)
from trading.matching.exchange import Exchange
from trading.matching.transactions import AnyTransaction, ClientExtensions, OrderCancelReject
from trading.matching.triggers import Window
from trading.practice import views
from trading.practice.candles import SECONDS, TickStore, make_candles
from trading.practice.persistence import Store

CandleSource = Callable[[str, int, int, int], Awaitable[list[Bar]]]

_GRANULARITIES = {seconds: name for name, seconds in SECONDS.items() if seconds}


class PaperBroker:
    """One account at an exchange of its own.

    Args:
        instruments: what can be traded.
        clock: stamps orders.
        configuration: the account to open; an account found in ``folder`` goes on instead.
        folder: where the account lives between processes; None: nowhere.
        start_ns: when a new account is opened; None: now.
        candles: ``Broker.candles`` of where the prices come from; None: bars of the quotes this process has seen.

    Raises:
        ConfigurationError: the account in ``folder`` is in another currency, or trades what is not listed any more.
        IntegrityError: the files in ``folder`` are damaged.
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        configuration: AccountConfiguration | None = None,
        folder: Path | None = None,
        start_ns: int | None = None,
        candles: CandleSource | None = None,
    ) -> None:
        configuration = configuration or AccountConfiguration()
        self._clock = clock
        self._store = Store(folder)
        self._translator = Translator()
        self._events: list[BrokerEvent] = []
        self._event_streams: list[Subscription[BrokerEvent]] = []
        self._quote_stream: Subscription[Quote | Heartbeat] | None = None
        self._subscribed: frozenset[str] = frozenset()
        self._ready = asyncio.Event()  # every subscribed instrument has a quote
        self._unwritten: dict[str, Quote] = {}  # standing quotes that are not in the journal yet
        self._ticks = {name: TickStore() for name in instruments}
        self._candles = candles
        self._closed = False
        try:
            recovered = self._store.recover(dict(instruments))
        except BadInputError as error:
            raise ConfigurationError(
                f"the paper account in {folder} cannot go on with these instruments: {error.message}"
            ) from None
        if recovered is None:
            self._exchange = Exchange(instruments, configuration, clock.time_ns() if start_ns is None else start_ns)
            self._store.begin(self._exchange)
        else:
            self._exchange = recovered[0]
            found = self._exchange.book.configuration.currency
            if found != configuration.currency:
                raise ConfigurationError(
                    f"the paper account in {folder} is in {found}, the settings say {configuration.currency}: "
                    "use another folder"
                )
            gone = sorted(
                (self._exchange.log.open_trades.keys() | self._exchange.log.pending.keys()) - set(instruments)
            )
            if gone:
                raise ConfigurationError(
                    f"the paper account in {folder} has positions or orders in {', '.join(gone)}, which the session "
                    "does not trade: trade them too, or use another folder"
                )
        self._kept = self._store.keeps
        self._translate(self._exchange.transactions)

    @property
    def name(self) -> str:
        """``paper``."""
        return "paper"

    @property
    def keeps(self) -> bool:
        """Whether the account outlives this process."""
        return self._kept

    @property
    def transactions_so_far(self) -> int:
        """The id of the newest transaction that ``transactions_since`` would return."""
        return len(self._events)

    @property
    def exchange(self) -> Exchange:
        """The exchange, to look at."""
        return self._exchange

    # -- the market ----------------------------------------------------------------------------------------------

    def on_quote(self, quote: Quote) -> list[BrokerEvent]:
        """Match a quote, then publish it, then what it caused; returns the events.

        One that the exchange has had already (a feed that starts again behind it after a restart) or that is older
        than the standing one changes nothing: it must not fill an order that came after it.

        Raises:
            BadInputError: crossed, empty, or of an instrument that is not listed.
        """
        exchange, name = self._exchange, quote.instrument
        standing = exchange.book.quotes.get(name)
        if standing is not None and quote.time_ns <= standing.time_ns and _is_past(quote, standing):
            self._ticks[name].add(quote)
            return []
        kept = self._kept
        matters = kept and bool(exchange.log.open_trades or name in exchange.log.pending)
        if matters:
            self._write(Ticks(time_ns=quote.time_ns, quotes=(*self._take_unwritten(name), quote)))
        transactions = exchange.on_quote(quote)
        if kept and not matters:
            self._unwritten[name] = quote
        self._ticks[name].add(quote)
        if self._quote_stream is not None:
            self._note_ready()
            if name in self._subscribed:
                halted = name in exchange.book.halted
                self._quote_stream.put(msgspec.structs.replace(quote, tradeable=False) if halted else quote)
        events = self._publish(transactions) if transactions else []
        if kept:
            self._store.compact(exchange, (0, 0))
        return events

    def quiet_until(self) -> int | None:
        """Return up to when a quote within ``quiet_bounds`` is only to stand; None: not the next one either.

        An account that is kept writes its quotes, and a subscriber hears each one.
        """
        return None if self._kept or self._quote_stream is not None else self._exchange.quiet_until()

    def quiet_bounds(self, name: str) -> Window | None:
        """Return bid above and below, ask above and below, inside which nothing happens; None: anything may."""
        return self._exchange.quiet_bounds(name)

    def standing(self, name: str) -> Quote | None:
        """Return the standing quote."""
        return self._exchange.book.quotes.get(name)

    def pass_over(
        self, quote: Quote, times: NDArray[np.int64], bids: NDArray[np.float64], asks: NDArray[np.float64]
    ) -> None:
        """Take in quotes of an instrument that stayed within its bounds; ``quote`` is the last of them."""
        self._exchange.pass_over(quote)
        self._ticks[quote.instrument].extend(times, bids, asks)

    def on_heartbeat(self, heartbeat: Heartbeat) -> list[BrokerEvent]:
        """Move time, so that orders expire, and pass the heartbeat on."""
        command = Ticks(time_ns=heartbeat.time_ns)
        if self._exchange.log.expiries:
            self._write(command)
        events = self._publish(self._exchange.apply(command))
        if self._quote_stream is not None:
            self._quote_stream.put(heartbeat)
        return events

    def halt(self, instrument: str, halted: bool = True) -> None:
        """Stop or resume trading in an instrument."""
        self._apply(Halt(time_ns=self._clock.time_ns(), instrument=instrument, halted=halted))

    def bound_liquidity(self, units: Decimal | None) -> None:
        """Bound what each side of the coming quotes is good for; None: as the account was configured."""
        self._apply(SetLiquidity(time_ns=self._clock.time_ns(), units=units))

    # -- Broker --------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Nothing to open: the account is here."""

    async def close(self) -> None:
        """End the streams and close the journal. Open orders and positions stay as they are."""
        self._closed = True
        for stream in self._event_streams:
            stream.end()
        if self._quote_stream is not None:
            self._quote_stream.end()
        self._store.close()

    async def instruments(self) -> dict[str, Instrument]:
        """The listed instruments."""
        return dict(self._exchange.instruments)

    async def account(self) -> AccountState:
        """The account at the standing quotes."""
        return account_state(views.summary(self._exchange), self._clock.time_ns())

    async def positions(self) -> dict[str, Position]:
        """Open positions."""
        names = sorted(self._exchange.log.open_trades)
        return {name: position_of(views.position(self._exchange, name)) for name in names}

    async def open_orders(self) -> list[OpenOrder]:
        """Pending orders, oldest first."""
        orders = reversed(views.pending_orders(self._exchange))
        return [open_order(_json(order), self._translator) for order in orders]

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        """Take one order.

        Raises:
            BadInputError: the request cannot be written as an order.
        """
        body = order_body(order, self._exchange.instruments.get(order.instrument))
        return self._request(Submit(time_ns=self._clock.time_ns(), order=_specification(body)), order.client_order_id)

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        """Cancel a pending order."""
        return self._request(
            Cancel(time_ns=self._clock.time_ns(), order=order_specifier(client_order_id)), client_order_id
        )

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        """Replace a pending order; one attached to a trade by another of its kind."""
        instrument = self._exchange.instruments.get(replacement.instrument)
        if replacement.order_type in ATTACHED_TYPES:
            old = self._exchange.log.find_order(order_specifier(client_order_id))
            trade_id = old.trade_id if old is not None and old.state == "PENDING" else None
            if trade_id is None:
                return [self._refused(client_order_id, "ORDER_DOESNT_EXIST")]
            body = trade_order_body(replacement, trade_id, instrument)
        else:
            body = order_body(replacement, instrument)
        command = Replace(
            time_ns=self._clock.time_ns(), order=order_specifier(client_order_id), replacement=_specification(body)
        )
        return self._request(command, client_order_id)

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        """Reduce the position by ``units`` (unsigned); more than there is is refused.

        Raises:
            BadInputError: ``units`` is not positive.
        """
        if units <= 0:
            raise BadInputError(f"closing {units} of {instrument}: give a positive number of units")
        position = (await self.positions()).get(instrument)
        if position is None:
            return [self._refused(client_order_id, "CLOSEOUT_POSITION_DOESNT_EXIST")]
        body = closeout_body(position.units, units, client_order_id, self._exchange.instruments[instrument])
        extensions = ClientExtensions(id=client_order_id)
        long = position.units > 0
        command = ClosePosition(
            time_ns=self._clock.time_ns(),
            instrument=instrument,
            long_units=cast(str, body["longUnits"]),
            short_units=cast(str, body["shortUnits"]),
            long_client_extensions=extensions if long else None,
            short_client_extensions=None if long else extensions,
        )
        return self._request(command, client_order_id)

    async def resolve(self, client_order_id: str, since_transaction_id: int = 0) -> list[BrokerEvent]:
        """All events of an order; nothing is ever under way here, so one look is enough."""
        return [event for event in self._events[since_transaction_id:] if _belongs_to(event, client_order_id)]

    async def transactions_since(self, transaction_id: int) -> list[BrokerEvent]:
        """Everything after ``transaction_id``."""
        return self._events[transaction_id:]

    async def candles(self, instrument: str, granularity_seconds: int, start_ns: int, end_ns: int) -> list[Bar]:
        """Complete bars: those of the price source, or made of the quotes seen by this process.

        Raises:
            BadInputError: no such granularity or instrument.
            UnavailableError: the price source does not answer.
        """
        if self._candles is not None:
            return await self._candles(instrument, granularity_seconds, start_ns, end_ns)
        granularity = _GRANULARITIES.get(granularity_seconds)
        if granularity is None or instrument not in self._ticks:
            raise BadInputError(f"no candles of {granularity_seconds} s in {instrument}: choose what is listed")
        now = max(self._clock.time_ns(), self._exchange.book.time_ns)
        made = make_candles(self._ticks[instrument], granularity, start_ns, end_ns, len(self._ticks[instrument].times))
        quote = self._exchange.book.quotes.get(instrument)
        return [
            Bar(
                instrument,
                candle.open_ns,
                candle.close_ns,
                *candle.bid,
                *candle.ask,
                tick_volume=float(candle.volume),
                arrival_ns=candle.close_ns,
                simulated=quote is not None and quote.simulated,
            )
            for candle in made
            if candle.close_ns <= now
        ]

    def quotes(self, instruments: Sequence[str]) -> AsyncIterator[Quote | Heartbeat]:
        """Subscribe; the standing quotes come first.

        Raises:
            BadInputError: no instruments.
        """
        if not instruments:
            raise BadInputError("no instruments to subscribe to: give at least one")
        if self._quote_stream is not None:
            self._quote_stream.end()
        stream: Subscription[Quote | Heartbeat] = Subscription()
        self._quote_stream = stream
        self._subscribed = frozenset(instruments)
        self._ready = asyncio.Event()
        for name in instruments:
            if name in self._exchange.book.quotes:
                stream.put(self._exchange.book.quotes[name])
        return stream

    async def quotes_ready(self, timeout_seconds: float = 10.0) -> None:
        """Wait until every subscribed instrument has had a quote."""
        if self._quote_stream is None:
            raise UnavailableError("no price subscription: call quotes first")
        self._note_ready()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ready.wait()
        except TimeoutError:
            names = ", ".join(sorted(self._subscribed - self._exchange.book.quotes.keys()))
            raise UnavailableError(
                f"paper broker: no quote of {names} in {timeout_seconds:g} s: is its feed up?"
            ) from None

    def events(self, since_transaction_id: int) -> AsyncIterator[BrokerEvent]:
        """Yield what happened after an id, then what happens."""
        stream: Subscription[BrokerEvent] = Subscription()
        for event in self._events[since_transaction_id:]:
            stream.put(event)
        self._event_streams.append(stream)
        return stream

    # -- inside --------------------------------------------------------------------------------------------------

    def _request(self, command: AnyCommand, client_order_id: str) -> list[BrokerEvent]:
        """Carry out a request and return its events as the reply: a refused cancel answers as a rejection."""
        if self._closed:
            raise UnavailableError("the paper broker is closed: nothing was sent")
        made = self._apply(command)
        reply: list[BrokerEvent] = []
        for transaction in made:
            event = self._events[transaction.number - 1]
            if isinstance(transaction, OrderCancelReject):
                event = msgspec.structs.replace(
                    self._refused(client_order_id, transaction.reject_reason), transaction_id=transaction.number
                )
            elif isinstance(event, OrderRejected) and not event.client_order_id:
                event = msgspec.structs.replace(event, client_order_id=client_order_id)
            reply.append(event)
        return reply

    def _apply(self, command: AnyCommand) -> list[AnyTransaction]:
        waiting = self._take_unwritten("")
        if waiting:
            self._write(Ticks(time_ns=self._exchange.book.time_ns, quotes=waiting))
        self._write(command)
        transactions = self._exchange.apply(command)
        self._publish(transactions)
        return transactions

    def _note_ready(self) -> None:
        if not self._ready.is_set() and self._subscribed <= self._exchange.book.quotes.keys():
            self._ready.set()

    def _take_unwritten(self, but: str) -> tuple[Quote, ...]:
        """Return the standing quotes that the journal lacks, without that of instrument ``but``."""
        waiting = tuple(quote for name, quote in self._unwritten.items() if name != but)
        self._unwritten.clear()
        return waiting

    def _write(self, command: AnyCommand) -> None:
        self._store.append(command)

    def _publish(self, transactions: list[AnyTransaction]) -> list[BrokerEvent]:
        first = len(self._events)
        self._translate(transactions)
        events = self._events[first:]
        for stream in self._event_streams:
            for event in events:
                stream.put(event)
        return events

    def _translate(self, transactions: Sequence[AnyTransaction]) -> None:
        self._events += [self._translator.event(_json(transaction)) for transaction in transactions]

    def _refused(self, client_order_id: str, broker_reason: str) -> OrderRejected:
        return OrderRejected(0, client_order_id, self._clock.time_ns(), reject_reason(broker_reason), broker_reason)


def _json(value: msgspec.Struct) -> dict[str, Any]:
    """Return a struct as the protocol's JSON would be read."""
    return cast(dict[str, Any], msgspec.to_builtins(value))


def _specification(body: dict[str, Any]) -> OrderSpecification:
    return msgspec.convert(body, OrderSpecification, strict=False)


def _is_past(quote: Quote, standing: Quote) -> bool:
    """Whether a quote that is not newer than the standing one changes nothing."""
    if not 0 < quote.bid <= quote.ask:
        return False
    same = (quote.bid, quote.ask, quote.tradeable) == (standing.bid, standing.ask, standing.tradeable)
    return quote.time_ns < standing.time_ns or same


def _belongs_to(event: BrokerEvent, client_order_id: str) -> bool:
    if isinstance(event, OrderFilled):
        return event.fill.client_order_id == client_order_id
    return getattr(event, "client_order_id", None) == client_order_id
