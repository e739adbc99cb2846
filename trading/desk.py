"""Between a decision and the broker: risk, the durable journal, sending, and finding out what became of it."""

import time
from collections.abc import Callable, Mapping
from decimal import Decimal

from core.clock import Clock
from core.crash_points import reach
from core.domain import BrokerEvent, Instrument, OrderFilled, OrderRejected, OrderRequest, Quote
from core.errors import BadInputError, ConfigurationError, OutcomeUnknownError, RefusedError, UnavailableError
from core.journal import Journal
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.risk.exposure import conversion_rates
from trading.risk.limits import RiskParameters, RiskState, RiskView, check_order
from trading.state import SessionState

_log = get_logger("trading")

Observer = Callable[[records.AnyRecord, int], None]


class Desk:
    """Writes records, sends orders and applies what the broker says. Nothing else talks to the broker about orders."""

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        clock: Clock,
        state: SessionState,
        instruments: Mapping[str, Instrument],
        limits: RiskParameters,
        account_currency: str,
        latency: LatencyRecorder,
        metrics: TraderMetrics,
    ) -> None:
        self._broker = broker
        self._journal = journal
        self._clock = clock
        self._limits = limits
        self._account_currency = account_currency
        self._latency = latency
        self._metrics = metrics
        self.state = state
        self.instruments = instruments
        self.quotes: dict[str, Quote] = {}
        self.observers: list[Observer] = []

    def commit(self, record: records.AnyRecord) -> None:
        """Write a record, then let it change the state: in this order, here and nowhere else."""
        now = self._clock.time_ns()
        durable = isinstance(record, records.DURABLE)
        self._journal.append(records.kind_of(record), records.encode(record), now, durable=durable)
        self.state.apply(record)
        for observer in self.observers:
            observer(record, now)

    def flush(self) -> None:
        """Make what was written survive the death of this process, before the world moves on."""
        self._journal.flush()

    def rates(self) -> dict[str, float]:
        """The account currency's worth of one unit of each currency, at the standing quotes."""
        return conversion_rates(self.quotes, self._account_currency)

    def unrealised(self, rates: Mapping[str, float]) -> float:
        """Profit of the open positions if closed at the standing quotes, in account currency."""
        total = 0.0
        for name in self.state.positions.held():
            quote = self.quotes.get(name)
            if quote is not None:
                counter = name.partition("_")[2]
                total += self.state.positions.unrealised(name, quote.bid, quote.ask) * rates.get(counter, 0.0)
        return total

    def equity(self, rates: Mapping[str, float]) -> float:
        """Balance and unrealised profit in account currency."""
        return float(self.state.balance) + self.unrealised(rates)

    async def send(self, order: OrderRequest, rates: Mapping[str, float], equity: float, received: int) -> bool:
        """Pass an order through risk, write it and submit it.

        Args:
            order: what the decision asks for.
            rates: conversion to the account currency.
            equity: at the decision.
            received: ``perf_counter_ns`` of the feed event that led to the decision.

        Returns:
            Whether it left the process.
        """
        started = time.perf_counter_ns()
        refusal = self._check(order, rates, equity)
        checked = time.perf_counter_ns()
        self._measure("risk", checked - started)
        now = self._clock.time_ns()
        if refusal is not None:
            reason, words = refusal
            self.commit(
                records.OrderBlocked(
                    order.client_order_id, order.decision_id, order.instrument, order.units, now, reason, words
                )
            )
            self._metrics.rejects.labels(reason.value).inc()
            _log.warning("order blocked", order=order.client_order_id, reason=reason.value, words=words)
            return False
        reach("order.checked")
        quote = self.quotes.get(order.instrument)
        bid, ask = (quote.bid, quote.ask) if quote is not None else (0.0, 0.0)
        self.commit(records.OrderSubmitted(order, now, bid, ask))
        reach("order.written")
        written = time.perf_counter_ns()
        self._measure("journal", written - checked)
        self._measure("risk_and_journal", written - started)
        if received:
            self._measure("tick_to_order", written - received)
        await self._submit(order)
        self._measure("broker", time.perf_counter_ns() - written)
        return True

    async def _submit(self, order: OrderRequest) -> None:
        self._metrics.orders.inc()
        try:
            events = await self._broker.submit(order)
        except (UnavailableError, BadInputError) as error:
            self._not_sent(order.client_order_id, error.message)
            return
        except (ConfigurationError, RefusedError) as error:
            self._not_sent(order.client_order_id, error.message)
            self.halt("BROKER_FORBIDDEN", error.message)
            return
        except OutcomeUnknownError as error:
            words = error.message
            self.commit(records.OrderUnresolved(order.client_order_id, self._clock.time_ns(), words))
            reach("order.unknown")
            _log.warning("order outcome unknown: asking the broker", order=order.client_order_id, words=words)
            await self.resolve_uncertain()
            return
        reach("order.replied")
        await self.take_reply(events)
        reach("order.applied")

    def _not_sent(self, client_order_id: str, words: str) -> None:
        self.commit(records.OrderNotSent(client_order_id, self._clock.time_ns(), words))
        _log.warning("order not sent", order=client_order_id, words=words)

    def halt(self, reason: str, words: str, state: RiskState = RiskState.HALTED) -> None:
        """Do less from now on; only a person lifts it."""
        if self.state.risk_state is not RiskState.HALTED and self.state.risk_state is not state:
            self.commit(records.RiskStateChanged(state, self._clock.time_ns(), reason, words))
            _log.error("risk state changed", state=state.value, reason=reason, words=words)

    async def take_reply(self, events: list[BrokerEvent]) -> None:
        """Apply the events of a reply. Where an earlier transaction is missing, fetch it first: order matters."""
        numbers = [event.transaction_id for event in events if event.transaction_id]
        if numbers and min(numbers) > self.state.newest_transaction + 1:
            await self.catch_up()
        for event in sorted(events, key=lambda event: event.transaction_id):
            self.take(event, "reply")

    def take(self, event: BrokerEvent, source: str) -> None:
        """Apply one event of the broker unless it was seen before, by whichever way."""
        if not self.state.is_new(event.transaction_id):
            return
        violations = len(self.state.violations)
        self.commit(records.BrokerSaid(event, source))
        reach("event.written")
        if len(self.state.violations) > violations:
            self.halt("ILLEGAL_TRANSITION", self.state.violations[-1])
        if isinstance(event, OrderFilled):
            self._metrics.fills.inc()
            instrument = event.fill.instrument
            self._metrics.position.labels(instrument).set(float(self.state.positions.units(instrument)))
        elif isinstance(event, OrderRejected):
            self._metrics.rejects.labels(event.reject_reason.value).inc()

    async def catch_up(self) -> None:
        """Fetch and apply every transaction since the last one known to be complete.

        Raises:
            UnavailableError: the broker does not answer.
        """
        events = await self._broker.transactions_since(self.state.caught_up)
        newest = self.state.caught_up
        reach("catch_up.fetched")
        for event in sorted(events, key=lambda event: event.transaction_id):
            self.take(event, "catch_up")
            newest = max(newest, event.transaction_id)
        reach("catch_up.applied")
        if newest > self.state.caught_up:
            self.commit(records.CaughtUp(newest))

    async def resolve_uncertain(self) -> None:
        """Ask the broker about every order whose fate is unknown.

        An order that shows up in the transactions is settled by them. One of which the broker has no trace never
        arrived. While the broker does not answer the orders stay unknown.
        """
        try:
            await self.catch_up()
            for order in self.state.book.uncertain():
                events = await self._broker.resolve(order.key, self.state.start_transaction)
                if events:
                    await self.catch_up()  # what resolve found may have been booked after the first catching up
                for event in events:
                    self.take(event, "resolved")
                if not events:
                    self._not_sent(order.key, "the broker has no trace of it")
        except (UnavailableError, OutcomeUnknownError) as error:
            _log.warning("broker does not answer: orders stay unknown", words=error.message)

    def _check(
        self, order: OrderRequest, rates: Mapping[str, float], equity: float
    ) -> tuple[records.RejectReason, str] | None:
        instrument = self.instruments.get(order.instrument)
        if instrument is None:
            return records.RejectReason.UNKNOWN_INSTRUMENT, f"the broker has no {order.instrument}"
        now = self._clock.time_ns()
        state = self.state
        view = RiskView(
            state=state.risk_state,
            now_ns=now,
            equity=equity,
            day_start_equity=state.day_start_equity or equity,
            peak_equity=max(state.peak_equity, equity),
            positions={name: float(units) for name, units in state.positions.held().items()},
            rates=rates,
            orders_last_minute=state.orders_within_minute(now),
            in_flight=state.book.in_flight(),
            known_order=state.book.was_sent(order.client_order_id),
        )
        return check_order(
            order.instrument,
            float(order.units),
            float(instrument.pip),
            self.quotes.get(order.instrument),
            view,
            self._limits,
        )

    def _measure(self, hop: str, nanoseconds: int) -> None:
        self._latency.add(hop, nanoseconds)
        self._metrics.hop_seconds.labels(hop).observe(nanoseconds / 1e9)

    def held(self) -> dict[str, Decimal]:
        """Signed open units by instrument."""
        return self.state.positions.held()
