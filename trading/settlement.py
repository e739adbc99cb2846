"""What became of a request: replies taken as they come, and the broker asked where one was lost."""

from collections.abc import Awaitable, Mapping

import msgspec

from core.clock import Clock
from core.crash_points import reach
from core.domain import BrokerEvent, Instrument, OrderState
from core.errors import (
    BadInputError,
    ConfigurationError,
    OutcomeUnknownError,
    RefusedError,
    TidegateError,
    UnavailableError,
)
from core.journal import Appender
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.intake import Intake
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.oms.order import Order
from trading.state import SessionState

_log = get_logger("trading")


class Answers(msgspec.Struct, frozen=True):
    """What the broker said about orders of unknown fate; nothing of it is applied yet.

    Attributes:
        orders: asked about, as the book held them.
        found: events of those that may not have arrived, by client order id.
        listed: the broker's ids of the open orders.
        events: every transaction since the last one known to be complete, read after all the rest.
    """

    orders: list[Order]
    found: dict[str, list[BrokerEvent]]
    listed: frozenset[str]
    events: list[BrokerEvent]


class NotSentError(TidegateError):
    """A request that certainly changed nothing at the broker."""


class Settlement(Intake):
    """Awaits replies and settles orders of unknown fate: by asking the broker, never by guessing."""

    def __init__(
        self,
        broker: Broker,
        journal: Appender,
        clock: Clock,
        state: SessionState,
        instruments: Mapping[str, Instrument],
        account_currency: str,
        latency: LatencyRecorder,
        metrics: TraderMetrics,
    ) -> None:
        super().__init__(broker, journal, clock, state, instruments, account_currency, latency, metrics)
        self._sent_since: set[str] = set()  # orders with a request of later than the newest ``ask_uncertain``
        self._awaited: set[str] = set()  # orders whose reply this process still waits for: asking would be too early

    # -- what is unknown -----------------------------------------------------------------------------------------

    async def resolve_uncertain(self) -> None:
        """Ask the broker about every order whose fate is unknown: new, being changed, or gone before it was done.

        What shows up in the transactions is settled by them. A new order of which the broker has no trace never
        arrived. A change that left no trace changed nothing, if the order is still among the open ones. While the
        broker does not answer everything stays as it is.
        """
        try:
            await self.catch_up()
            for order in self._to_ask():
                if self._is_at_large(order.key):
                    await self._resolve(order)
            left = self._to_ask()
            if left:
                await self._compare_with_open(left)
        except (UnavailableError, OutcomeUnknownError) as error:
            _log.warning("broker does not answer: orders stay unknown", words=error.message)

    async def ask_uncertain(self) -> Answers:
        """Ask what ``resolve_uncertain`` asks and change nothing: for a task beside the loop.

        Raises:
            UnavailableError, OutcomeUnknownError: the broker does not answer. Where it forbids to ask, trading is
                halted.
        """
        self._sent_since.clear()
        orders, since = self._to_ask(), self.state.caught_up
        found: dict[str, list[BrokerEvent]] = {}
        for order in orders:
            if self._is_at_large(order.key):
                found[order.key] = await self.read(self._broker.resolve(order.key, order.sent_after))
        listed = await self.read(self._broker.open_orders())
        events = await self.read(self._broker.transactions_since(since))
        return Answers(orders, found, frozenset(order.broker_order_id for order in listed), events)

    def settle_uncertain(self, answers: Answers) -> None:
        """Settle orders by what ``ask_uncertain`` returned, between two events of the loop.

        An order that was settled meanwhile is left as it is, and so is one that another request went out for.
        """
        self.take_history(answers.events)
        busy, known = self._awaited | self._sent_since, self.state.book.orders
        orders = [order for order in answers.orders if order.key not in busy and known.get(order.key) is order]
        for order in orders:
            if self._is_at_large(order.key) and order.key in answers.found:
                self._conclude(order, answers.found[order.key])
        self._compare(orders, answers.listed)

    def _to_ask(self) -> list[Order]:
        return [o for o in self.state.book.uncertain() if o.key not in self._awaited]

    async def _resolve(self, order: Order) -> None:
        events = await self.read(self._broker.resolve(order.key, order.sent_after))
        if events:
            await self.catch_up()  # what was found may have been booked after the first catching up
        self._conclude(order, events)

    def _conclude(self, order: Order, events: list[BrokerEvent]) -> None:
        """Settle an order that may not have arrived by all events there are of it."""
        for event in events:
            self.take(event, "resolved")
        if not self._is_at_large(order.key):
            return
        if events:
            words = "the broker knows refusals of this id only"
            self.commit(records.OrderResolved(order.key, OrderState.REJECTED, self._clock.time_ns(), words))
        else:
            self._not_sent(order.key, "the broker has no trace of it")

    async def _compare_with_open(self, left: list[Order]) -> None:
        """Settle orders that the broker must have by looking whether they are among its open ones."""
        listed = await self.read(self._broker.open_orders())
        await self.catch_up()  # what ended between the two questions is no guess
        self._compare(left, frozenset(order.broker_order_id for order in listed))

    def _compare(self, orders: list[Order], known: frozenset[str]) -> None:
        for order in orders:
            if not order.unsettled or self._is_at_large(order.key) or order.key in self._awaited:
                continue
            if order.broker_order_id not in known:
                self.commit(
                    records.OrderResolved(
                        order.key, OrderState.CANCELLED, self._clock.time_ns(), "the broker no longer holds it"
                    )
                )
            elif order.state is OrderState.PENDING_CANCEL:
                what = "amend" if order.replacement else "cancel"
                self._failed(order, what, "the broker still holds the order")

    # -- replies -------------------------------------------------------------------------------------------------

    async def _asked(self, request: Awaitable[list[BrokerEvent]], *keys: str) -> list[BrokerEvent]:
        """Await a reply; while it is awaited nobody else asks about these orders.

        Raises:
            NotSentError: the request certainly changed nothing. Where the broker forbids trading, trading is halted.
            OutcomeUnknownError: the reply was lost.
        """
        self._awaited.update(keys)
        self._sent_since.update(keys)
        try:
            return await request
        except (UnavailableError, BadInputError) as error:
            raise NotSentError(error.message) from error
        except (ConfigurationError, RefusedError) as error:
            self.forbidden(error.message)
            raise NotSentError(error.message) from error
        finally:
            self._awaited.difference_update(keys)

    async def _apply_reply(self, key: str, events: list[BrokerEvent]) -> None:
        try:
            await self.take_reply(events)
        except UnavailableError as error:
            # What happened before the reply is missing: it all comes with the next catching up.
            if self._is_at_large(key):
                self.commit(records.OrderUnresolved(key, self._clock.time_ns(), error.message))
            _log.warning("reply put off until the transactions before it are here", order=key, words=error.message)

    async def _reply_lost(self, key: str, words: str) -> None:
        if self._is_at_large(key):
            self.commit(records.OrderUnresolved(key, self._clock.time_ns(), words))
        reach("order.unknown")
        _log.warning("order outcome unknown: asking the broker", order=key, words=words)
        await self.resolve_uncertain()

    def _not_sent(self, key: str, words: str) -> None:
        if self._is_at_large(key):
            self.commit(records.OrderNotSent(key, self._clock.time_ns(), words))
            _log.warning("order not sent", order=key, words=words)

    def _failed(self, order: Order, what: str, words: str) -> None:
        self.commit(records.RequestFailed(order.key, self._clock.time_ns(), what, words))
        _log.warning("change of an order failed", order=order.key, what=what, words=words, state=order.state.value)

    def _is_at_large(self, key: str) -> bool:
        order = self.state.book.orders.get(key)
        return order is not None and order.state in (OrderState.PENDING_NEW, OrderState.UNKNOWN)
