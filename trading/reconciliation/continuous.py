"""The comparison that never ends: orders in flight, open orders, positions and account, each at its interval.

In a live session every question is asked beside the loop, so that a broker that does not answer keeps nobody waiting.

A look is a few questions to the broker, one at a time, beside the loop; what it found is compared between two events
of the feed. It counts only where no transaction came between its first and its last question and all of them have
reached our state. A difference then needs a second look that sees the same before it counts: a reply or an event may
still be on its way, and a broker's answers need not all come from one moment.
"""

import asyncio
import time
from typing import Any

import msgspec

from core.clock import NANOSECONDS, Clock
from core.domain import AccountState, BrokerEvent, OpenOrder, OrderState, Position
from core.errors import ConfigurationError, RefusedError, TidegateError, UnavailableError
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.degradation import Degradation
from trading.desk import Desk
from trading.reconciliation.compare import (
    Finding,
    compare_balance,
    compare_orders,
    compare_positions,
    confirmed,
)
from trading.reconciliation.parameters import ReconciliationParameters
from trading.reconciliation.settle import settle
from trading.settlement import Answers

_log = get_logger("trading")
_IN_FLIGHT = (OrderState.PENDING_NEW, OrderState.UNKNOWN, OrderState.PENDING_CANCEL)
_ORDER_KINDS = frozenset({"order", "naked"})
_POSITION_KINDS = frozenset({"position", "price", "balance"})
_MOVING = 5  # looks at an account that moves, before the next interval is waited for
UNANSWERED = "orders"  # the degradation that stops new risk while an order in flight stays unanswered


class Look(msgspec.Struct, frozen=True):
    """What the broker said between two statements of the same last transaction."""

    scope: str
    account: AccountState
    orders: list[OpenOrder]
    positions: dict[str, Position] | None  # None: not asked for
    events: list[BrokerEvent]  # what our state had not seen when the look began
    steady: bool  # no transaction came while it was taken


class Reconciler:
    """Looks at the account again and again.

    Args:
        parameters: intervals and numbers of tries.
        broker: of the account.
        desk: of the session.
        clock: of the session.
        degradation: told when the broker does not answer, or an order in flight stays unanswered.
        live: whether looks run beside the loop; in lockstep and replay they run inside it, after so many steps.
    """

    def __init__(
        self,
        parameters: ReconciliationParameters,
        broker: Broker,
        desk: Desk,
        clock: Clock,
        degradation: Degradation,
        live: bool,
    ) -> None:
        self._parameters = parameters
        self._broker = broker
        self._desk = desk
        self._clock = clock
        self._time_ns = clock.time_ns
        self._degradation = degradation
        self._live = live
        now = clock.time_ns()
        self._in_flight_ns = _ns(parameters.in_flight_seconds)
        self._in_flight_due = 0
        self._orders_due = now + _ns(parameters.open_orders_seconds)
        self._positions_due = now + _ns(parameters.positions_seconds)
        self._steps_due = desk.state.steps + parameters.lockstep_steps
        self._flying: dict[str, int] = {}  # orders in flight, and since when they were seen so
        self._tries: dict[str, int] = {}  # questions in vain, by order
        self._question: asyncio.Task[Answers] | None = None  # about orders in flight
        self._question_began = 0.0
        self._asked: list[str] = []
        self._look: asyncio.Task[Look] | None = None
        self._look_began = 0.0
        self._suspected: dict[str, tuple[list[Finding], int]] = {}  # what one look saw, and when, by scope
        self._moving = 0
        self._said: set[tuple[str, str, str, str]] = set()  # standing differences, each written once
        self.finished: dict[str, int] = {}  # when each scope was last compared to the end

    def due(self) -> bool:
        """Whether ``run_due`` has anything to do; cheap, for after every event of the feed."""
        if self._question is not None:
            return True
        now = self._time_ns()
        if now >= self._in_flight_due:
            if self._flying or self._tries or self._desk.state.book.has_open:
                return True
            self._in_flight_due = now + self._in_flight_ns
        if self._live:
            return self._look is not None or now >= self._orders_due or now >= self._positions_due
        return self._desk.state.steps >= self._steps_due

    def at_rest(self) -> bool:
        """Whether nothing is under way or due before the next step of a session in lockstep."""
        if self._live or self._question is not None or self._look is not None or self._flying or self._tries:
            return False
        return self._desk.state.steps < self._steps_due and not self._desk.state.book.uncertain()

    async def run_due(self) -> None:
        """Do what is due, if anything is."""
        if not self.due():
            return
        now = self._clock.time_ns()
        if self._question is not None:
            await self._take_answer(self._question)
        elif now >= self._in_flight_due:
            await self._ask_in_flight(now)
        if self._look is not None:
            await self._take_look()
        elif self._live:
            if now >= self._positions_due:
                self._begin("positions")
            elif now >= self._orders_due:
                self._begin("open_orders")
        elif self._desk.state.steps >= self._steps_due and self._step_is_done():
            self._steps_due = self._desk.state.steps + self._parameters.lockstep_steps
            await self._in_lockstep()

    async def close(self) -> None:
        """Give up what is being asked."""
        asking: list[asyncio.Task[Any]] = [task for task in (self._look, self._question) if task is not None]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        self._look = self._question = None

    def describe(self) -> dict[str, Any]:
        """Return when each scope was last compared (UTC ns) and what is open."""
        return {
            "last": dict(sorted(self.finished.items())),
            "unanswered": dict(sorted(self._tries.items())),
            "suspected": [f"{found.kind} {found.subject}" for seen, _ in self._suspected.values() for found in seen],
        }

    # -- orders in flight ----------------------------------------------------------------------------------------

    async def _ask_in_flight(self, now: int) -> None:
        """Ask about what has been in flight for too long; live beside the loop, else inside it."""
        self._in_flight_due = now + self._in_flight_ns
        flying = [order.key for order in self._desk.state.book.open() if order.state in _IN_FLIGHT]
        self._flying = {key: self._flying.get(key, now) for key in flying}
        oldest = now - _ns(self._parameters.in_flight_age_seconds)
        asked = [key for key, since in self._flying.items() if since <= oldest]
        if not asked:
            if self._tries and not flying:  # settled on another way
                self._tries = {}
                self._degradation.end(UNANSWERED)
            return
        if self._live:
            self._asked, self._question_began = asked, time.monotonic()
            self._question = asyncio.create_task(self._desk.ask_uncertain())
            return
        await self._desk.resolve_uncertain()
        self._count(asked)

    async def _take_answer(self, question: asyncio.Task[Answers]) -> None:
        """Settle what was asked about once the answer is here; one that takes too long is given up."""
        if not question.done():
            if time.monotonic() - self._question_began <= self._parameters.requests_timeout_seconds:
                return
            question.cancel()
            await asyncio.gather(question, return_exceptions=True)
        self._question = None
        failure = None if question.cancelled() else question.exception()
        if failure is not None and not isinstance(failure, TidegateError):
            raise failure
        if failure is None and not question.cancelled():
            self._desk.settle_uncertain(question.result())
        else:
            words = failure.message if failure is not None else "no answer in time"
            _log.warning("broker does not answer: orders stay unknown", words=words)
        self._count(self._asked)

    def _count(self, asked: list[str]) -> None:
        """Count the questions in vain, and stop new risk after so many."""
        left = {order.key for order in self._desk.state.book.open() if order.state in _IN_FLIGHT}
        self._tries = {key: self._tries.get(key, 0) + 1 for key in asked if key in left}
        now = self._clock.time_ns()
        if not self._tries:
            self._degradation.end(UNANSWERED)
            self._desk.commit(records.Reconciled(now, "in_flight", 0))
            self.finished["in_flight"] = now
            return
        worst = max(self._tries, key=lambda key: (self._tries[key], key))
        if self._tries[worst] >= self._parameters.in_flight_tries:
            words = f"order {worst} is unanswered after {self._parameters.in_flight_tries} questions"
            self._degradation.begin(UNANSWERED, words)

    # -- open orders, positions, account -------------------------------------------------------------------------

    def _begin(self, scope: str) -> None:
        self._look_began = time.monotonic()
        self._look = asyncio.create_task(self._ask(scope))

    async def _ask(self, scope: str) -> Look:
        """Ask one thing after the other. Touches nothing of the session."""
        known = self._desk.state.newest_transaction
        since = self._desk.state.caught_up
        account = await self._broker.account()
        orders = await self._broker.open_orders()
        positions = await self._broker.positions() if scope == "positions" else None
        after = await self._broker.account()
        events: list[BrokerEvent] = []
        if after.last_transaction_id > known:
            events = await self._broker.transactions_since(since)
        steady = account.last_transaction_id == after.last_transaction_id
        return Look(scope, after, orders, positions, events, steady)

    async def _take_look(self) -> None:
        look = self._look
        assert look is not None
        if not look.done():
            if time.monotonic() - self._look_began > self._parameters.requests_timeout_seconds:
                await self.close()
                self._failed(UnavailableError("the broker does not answer the reconciliation"))
            return
        self._look = None
        try:
            found = look.result()
        except TidegateError as error:
            self._failed(error)
            return
        self._degradation.end("broker")
        again = self._compare(found)
        if again:
            self._begin(found.scope)

    async def _in_lockstep(self) -> None:
        try:
            while self._compare(await self._ask("positions")):
                pass
            self._degradation.end("broker")
        except TidegateError as error:
            self._failed(error)

    def _compare(self, look: Look) -> bool:
        """Compare a look with our state; return whether to look again at once."""
        for event in sorted(look.events, key=lambda event: event.transaction_id):
            self._desk.take(event, "catch_up")
        if look.events:
            self._desk.commit(records.CaughtUp(max(event.transaction_id for event in look.events)))
        state, now = self._desk.state, self._clock.time_ns()
        if not look.steady or state.newest_transaction != look.account.last_transaction_id or look.events:
            self._moving += 1
            if self._moving < _MOVING:
                return True
            self._moving = 0
            self._schedule(now)
            return False
        self._moving = 0
        findings = compare_orders(state, look.orders)
        if look.positions is not None:
            self._desk.commit(records.AccountSeen(look.account))
            findings += compare_positions(state, look.positions)[1]
            findings += compare_balance(state, look.account)
        return self._judge(look.scope, findings, now)

    def _judge(self, scope: str, findings: list[Finding], now: int) -> bool:
        """Count what was seen twice; return whether to look again at once."""
        standing = {found.identity for found in findings}
        kinds = _ORDER_KINDS if scope == "open_orders" else _ORDER_KINDS | _POSITION_KINDS
        self._said -= {identity for identity in self._said - standing if identity[0] in kinds}
        news = [found for found in findings if found.identity not in self._said]
        before, seen_ns = self._suspected.pop(scope, ([], now))
        counted = confirmed(news, before)
        left = [found for found in news if found not in counted]
        if counted or not news:
            words = f"seen twice, {(now - seen_ns) / NANOSECONDS:.1f} s apart" if counted else ""
            settle(self._desk, counted, now, scope, words)
            self._said |= {found.identity for found in counted}
            self.finished[scope] = now
        self._schedule(now)
        if left:
            self._suspected[scope] = (left, now)
            if not self._live:
                return True
            self._postpone(scope, now)
        return False

    def _postpone(self, scope: str, now: int) -> None:
        """Look a second time soon."""
        due = now + _ns(self._parameters.confirm_seconds)
        if scope == "positions":
            self._positions_due = due
        else:
            self._orders_due = due

    def _schedule(self, now: int) -> None:
        """Look again after the interval. A look at the positions has seen the open orders too."""
        if now >= self._positions_due:
            self._positions_due = now + _ns(self._parameters.positions_seconds)
        self._orders_due = now + _ns(self._parameters.open_orders_seconds)

    def _failed(self, error: TidegateError) -> None:
        if isinstance(error, ConfigurationError | RefusedError):
            self._desk.forbidden(error.message)
        self._degradation.begin("broker", error.message)
        self._schedule(self._clock.time_ns())

    def _step_is_done(self) -> bool:
        step = self._desk.state.step
        return step is None or step.done


def _ns(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
