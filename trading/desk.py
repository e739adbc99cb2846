"""Between a decision and the broker: risk, the durable journal, sending, and finding out what became of it.

One rule for every request that can move money: it is durable in the journal before a byte leaves, it leaves once, and
when its reply is lost the broker is asked what became of it (``resolve_uncertain``). Nothing is sent again by
assumption, in this process or the next.
"""

import itertools
import time
from collections.abc import Awaitable, Mapping
from decimal import Decimal
from typing import Protocol, runtime_checkable

import msgspec

from core.clock import Clock
from core.crash_points import reach
from core.domain import (
    BrokerEvent,
    Instrument,
    OrderRejected,
    OrderRequest,
    OrderState,
    PositionFill,
    RejectReason,
)
from core.errors import OutcomeUnknownError
from core.journal import Appender
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.oms.identity import flattening_order_id
from trading.oms.order import Order
from trading.oms.validation import Refusal, amendment_refusal, refusal, rounded
from trading.risk.parameters import RiskParameters
from trading.risk.pre_trade import PreTrade
from trading.settlement import NotSentError, Settlement
from trading.state import SessionState

_log = get_logger("trading")


@runtime_checkable
class Wire(Protocol):
    """A broker behind a wire: writes a request out ahead, and says when (``perf_counter_ns``) the newest had left."""

    @property
    def request_written_ns(self) -> int: ...

    def prepare(self, order: OrderRequest) -> None: ...


class Desk(Settlement):
    """Sends orders, changes and closes them. Nothing else talks to the broker about orders."""

    def __init__(
        self,
        broker: Broker,
        journal: Appender,
        clock: Clock,
        state: SessionState,
        instruments: Mapping[str, Instrument],
        limits: RiskParameters,
        account_currency: str,
        latency: LatencyRecorder,
        metrics: TraderMetrics,
    ) -> None:
        super().__init__(broker, journal, clock, state, instruments, account_currency, latency, metrics)
        self.risk = PreTrade(limits, instruments)
        self._wire = broker if isinstance(broker, Wire) else None
        self.observe(lambda record, _: self.risk.observe(record), (records.StepClosed,))

    # -- new orders ----------------------------------------------------------------------------------------------

    async def send(self, order: OrderRequest, rates: Mapping[str, float], equity: float, received: int) -> bool:
        """Pass an order through validation and risk, write it and submit it.

        Args:
            order: what the decision asks for, of any type but those that belong to a trade.
            rates: conversion to the account currency.
            equity: at the decision.
            received: ``perf_counter_ns`` of the feed event that led to the decision.

        Returns:
            Whether it left the process.
        """
        started = time.perf_counter_ns()
        order = self._prepared(order)
        refused = self._refusal(order) or self._check(order, rates, equity)
        checked = time.perf_counter_ns()
        if refused is not None:
            self._measure("risk", checked - started)
            self._block(order, refused)
            return False
        if self._wire is not None:
            self._wire.prepare(order)  # not behind the wait for the disk, which leaves the processor's caches cold
        reach("order.checked")
        quote = self.quotes.get(order.instrument)
        bid, ask = (quote.bid, quote.ask) if quote is not None else (0.0, 0.0)
        self.commit(records.OrderSubmitted(order, self._clock.time_ns(), bid, ask))
        reach("order.written")
        written = time.perf_counter_ns()
        await self._submit(order.client_order_id, self._broker.submit(order))
        self._measure("broker", time.perf_counter_ns() - written)
        # What is known of the way there is counted now: before, it would have kept the order waiting.
        self._measure("risk", checked - started)
        self._measure("journal", written - checked)
        self._measure("risk_and_journal", written - started)
        if received:
            self._measure("tick_to_order", written - received)
        if self._wire is not None and (left := self._wire.request_written_ns) > written:
            self._measure("decision_to_bytes", left - started)
        return True

    def _prepared(self, order: OrderRequest) -> OrderRequest:
        """Round prices, and say outright how a hedging account is to fill: our decisions are about net positions."""
        instrument = self.instruments.get(order.instrument)
        if instrument is not None:
            order = rounded(order, instrument)
        if self.state.hedging and order.position_fill is PositionFill.DEFAULT and not order.reduce_only:
            order = msgspec.structs.replace(order, position_fill=PositionFill.REDUCE_FIRST)
        return order

    def _refusal(self, order: OrderRequest) -> Refusal | None:
        instrument = self.instruments.get(order.instrument)
        if instrument is None:
            return RejectReason.UNKNOWN_INSTRUMENT, f"the broker has no {order.instrument}"
        return refusal(order, instrument, self.quotes.get(order.instrument), self._clock.time_ns())

    def _block(self, order: OrderRequest, refused: Refusal) -> None:
        reason, words = refused
        self.commit(
            records.OrderBlocked(
                order.client_order_id,
                order.decision_id,
                order.instrument,
                order.units,
                self._clock.time_ns(),
                reason,
                words,
            )
        )
        self._metrics.rejects.labels(reason.value).inc()
        _log.warning("order blocked", order=order.client_order_id, reason=reason.value, words=words)

    async def _submit(self, key: str, request: Awaitable[list[BrokerEvent]]) -> None:
        """Await the reply to a new order, which is written already."""
        self._metrics.orders.inc()
        try:
            events = await self._asked(request, key)
        except NotSentError as error:
            self._not_sent(key, error.message)
            return
        except OutcomeUnknownError as error:
            await self._reply_lost(key, error.message)
            return
        reach("order.replied")
        await self._apply_reply(key, events)
        reach("order.applied")
        if self.state.book.orders[key].unsettled:
            # Its id was taken, the events before it are away, or an order for an instant left a rest.
            await self.resolve_uncertain()

    # -- changing and closing ------------------------------------------------------------------------------------

    async def cancel(self, client_order_id: str, reason: str) -> bool:
        """Cancel an open order, one of ours or a stop or target of a trade, by its id.

        Returns:
            Whether it is cancelled now. Otherwise it stands, was filled, or (its state says so) nobody knows yet.
        """
        order = await self._settled(client_order_id)
        if order is None or not order.working:
            return order is not None and order.state is OrderState.CANCELLED
        self.commit(records.CancelRequested(client_order_id, self._clock.time_ns(), reason))
        reach("cancel.written")
        try:
            events = await self._asked(self._broker.cancel(client_order_id), client_order_id)
        except NotSentError as error:
            self._failed(order, "cancel", error.message)
            return False
        except OutcomeUnknownError as error:
            _log.warning("cancel outcome unknown: asking the broker", order=client_order_id, words=error.message)
            await self.resolve_uncertain()
            return order.state is OrderState.CANCELLED
        reach("cancel.replied")
        await self._apply_reply(client_order_id, events)
        await self._explain(order, "cancel", events)
        return order.state is OrderState.CANCELLED

    async def amend(
        self, client_order_id: str, replacement: OrderRequest, rates: Mapping[str, float], equity: float
    ) -> bool:
        """Put another order in the place of an open one, at once; the replacement passes risk like any order.

        Args:
            client_order_id: the open order, which may be a stop or target of a trade.
            replacement: with an id of its own (``amended_order_id``). For a stop or target only its type, its price
                or distance and its end count.
            rates: conversion to the account currency.
            equity: now.

        Returns:
            Whether it took the place. Otherwise the old order stands or ended before, or nobody knows yet.
        """
        old = await self._settled(client_order_id)
        if old is None or not old.working:
            return False
        if old.protective:
            replacement = msgspec.structs.replace(replacement, units=old.units, reduce_only=True)
        replacement = self._prepared(replacement)
        refused = self._amendment_refusal(old, replacement) or self._check(replacement, rates, equity, old)
        if refused is not None:
            self._block(replacement, refused)
            return False
        key = replacement.client_order_id
        self.commit(records.AmendRequested(client_order_id, replacement, self._clock.time_ns()))
        reach("amend.written")
        try:
            events = await self._asked(self._broker.amend(client_order_id, replacement), client_order_id, key)
        except NotSentError as error:
            self._failed(old, "amend", error.message)
            return False
        except OutcomeUnknownError as error:
            await self._reply_lost(key, error.message)
            return self._took_place(old, key)
        reach("amend.replied")
        await self._apply_reply(key, events)
        await self._explain(old, "amend", events)
        return self._took_place(old, key)

    async def cancel_all(self, reason: str, protective: bool = False) -> int:
        """Cancel every working entry order, and with ``protective`` the stops and targets of open trades too.

        Somebody else's are among them as far as the book knows them: see ``list_orders``. Orders of unknown outcome
        are asked about first; what stays unknown is left, for the next call.

        Returns:
            How many orders this call found working and are cancelled now.
        """
        if self.state.book.uncertain():
            await self.resolve_uncertain()
        done = 0
        for order in self.state.book.open():
            if order.working and (protective or not order.protective):
                done += await self.cancel(order.key, reason)
        return done

    async def list_orders(self) -> None:
        """Enter the account's open orders that no transaction told us of: they stood before the session began.

        Raises:
            UnavailableError: the broker does not answer.
        """
        listed = await self.read(self._broker.open_orders())
        unknown = tuple(order for order in listed if self.state.book.lacks(order))
        self.commit(records.OrdersListed(self._clock.time_ns(), unknown))

    async def flatten(self, reason_key: str, reason: str) -> int:
        """Close every open position of the account with orders that can only reduce; in every risk state.

        The id of a closing order is a pure function of ``reason_key``, the instrument and how often such an order has
        ended before: repeating the call after a crash asks what became of the first one before anything is sent.

        Returns:
            How many closing orders were executed by this call.

        Raises:
            UnavailableError: the broker does not say what is open; call again.
        """
        await self.catch_up()
        if self.state.book.uncertain():
            await self.resolve_uncertain()
        done = 0
        positions = await self.read(self._broker.positions())
        for name in sorted(positions):
            position = positions[name]
            if position.long_units and position.short_units:
                # A hedging account with both sides: each is reduced by an order of its own.
                for side, units in (("long", position.long_units), ("short", position.short_units)):
                    done += await self._close(reason_key, f"{name}:{side}", name, units, reason, both_sides=True)
            else:
                done += await self._close(reason_key, name, name, position.units, reason)
        return done

    async def _close(
        self, reason_key: str, subject: str, instrument: str, units: Decimal, reason: str, both_sides: bool = False
    ) -> bool:
        key = self._closing_id(reason_key, subject)
        if key is None or not units:
            return False
        order = OrderRequest(key, instrument, -units, reduce_only=True, comment=reason)
        quote = self.quotes.get(instrument)
        bid, ask = (quote.bid, quote.ask) if quote is not None else (0.0, 0.0)
        self.commit(records.OrderSubmitted(order, self._clock.time_ns(), bid, ask))
        reach("order.written")
        if both_sides:
            await self._submit(key, self._broker.submit(order))
        else:
            await self._submit(key, self._broker.close_position(instrument, abs(units), key))
        return self.state.book.orders[key].filled_units != 0

    def _closing_id(self, reason_key: str, subject: str) -> str | None:
        """Return the id of the next closing order; None while the fate of one is unknown."""
        for attempt in itertools.count():
            key = flattening_order_id(reason_key, subject, attempt)
            order = self.state.book.orders.get(key)
            if order is None or order.never_sent:
                return key
            if not order.state.terminal:
                return None
        raise AssertionError("unreachable")

    async def _settled(self, key: str) -> Order | None:
        """Return an order, asked about if its state is unknown."""
        order = self.state.book.orders.get(key)
        if order is not None and order.unsettled and key not in self._awaited:
            await self.resolve_uncertain()
        return order

    async def _explain(self, order: Order, what: str, events: list[BrokerEvent]) -> None:
        """After a reply: what was refused leaves a record, and what is not clear is asked."""
        refused = next((event for event in events if isinstance(event, OrderRejected)), None)
        if refused is None and order.state is not OrderState.PENDING_CANCEL:
            return
        taken = refused is not None and refused.reject_reason is RejectReason.BROKER_DUPLICATE_ID
        if refused is not None and not taken and self._is_at_large(order.replacement):
            # The old order was refused the change, so the new one was not made.
            self._not_sent(order.replacement, refused.broker_reason)
        if order.state is OrderState.PENDING_CANCEL:
            await self.resolve_uncertain()  # it may have been filled a moment ago: then it must not stand again
        elif refused is not None:
            self._failed(order, what, refused.broker_reason)

    def _took_place(self, old: Order, key: str) -> bool:
        order = self.state.book.orders[key]
        return (
            old.state is OrderState.CANCELLED
            and order.state is not OrderState.REJECTED
            and not self._is_at_large(order.key)
        )

    # -- risk ----------------------------------------------------------------------------------------------------

    def _amendment_refusal(self, old: Order, replacement: OrderRequest) -> Refusal | None:
        instrument = self.instruments.get(old.instrument)
        if instrument is None:
            return RejectReason.UNKNOWN_INSTRUMENT, f"the broker has no {old.instrument}"
        quote = self.quotes.get(old.instrument)
        return amendment_refusal(old, replacement, instrument, quote, self._clock.time_ns())

    def _check(
        self, order: OrderRequest, rates: Mapping[str, float], equity: float, replaces: Order | None = None
    ) -> Refusal | None:
        """Ask risk about an order or, with ``replaces``, about an amendment: that order no longer counts then."""
        key = replaces.key if replaces is not None else ""
        return self.risk.check(order, self.state, self.quotes, rates, equity, self._clock.time_ns(), key)
