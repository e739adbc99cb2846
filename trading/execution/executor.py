"""Work off decisions in parts: one child at a time, each through risk and the journal like any order.

What a plan is and how far it came is read from the session's state (plans, order book), a fold of the journal: after a
crash at any point the next ``run_due`` goes on where the fills stand. In memory are only ticks counted since the last
child and pauses after a refusal, which a restart begins anew.
"""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from core.clock import Clock
from core.crash_points import reach
from core.domain import Heartbeat, Instrument, OrderRequest, OrderType, Quote, RejectReason
from core.logging import get_logger
from trading import records
from trading.desk import Desk
from trading.execution.children import marketable_child, passive_child, passive_price, touch, within_limit
from trading.execution.parameters import ChildStyle, ExecutionParameters, Remainder
from trading.execution.plan import Algorithm, ExecutionPlan, PlanOutcome
from trading.execution.planner import make_plan
from trading.execution.progress import Progress, child_id, failed, read_progress
from trading.execution.quality import describe_execution
from trading.execution.sizing import child_units, next_slice, pause_ns, scheduled, slice_end
from trading.execution.volume_profile import VolumeProfile
from trading.oms.book import Order
from trading.oms.identity import amended_order_id, client_order_id
from trading.risk.limits import RiskState

_log = get_logger("trading")
_DAY_SECONDS = 86_400.0
CROSS_GRACE_NS = 10_000_000_000  # so long after its end a plan's rest may be crossed: later is another market
# Refusals of our own risk rules that pass by themselves; any other one ends the plan.
_PASSING = frozenset(
    {
        RejectReason.SPREAD,
        RejectReason.STALE_PRICE,
        RejectReason.ORDER_RATE,
        RejectReason.DUPLICATE_INTENT,
        RejectReason.OUTSIDE_HOURS,
    }
)
_MARKET = (records.QuoteSeen, records.HeartbeatSeen)  # records that change nothing of an order, a position or a state
_RESTRICTED = frozenset({RejectReason.STATE_HALTED, RejectReason.STATE_REDUCING, RejectReason.DEGRADED})


class PlanExecutor:
    """Starts plans, sends their children when they are due, and ends them.

    The loop calls ``on_event`` with each quote and ``run_due`` after each feed event (and on a timer while the feed is
    silent), and ``supersede`` before it reads the positions that a newer decision is made from.

    Args:
        parameters: how orders are worked off.
        desk: every child, cancellation and amendment goes through it.
        clock: of the session.
        instruments: of the session.
        step_seconds: length of one decision step: what the volatility given to ``start`` is measured over.

    Raises:
        BadInputError: vwap without a volume profile, or with one that lacks an instrument.
    """

    def __init__(
        self,
        parameters: ExecutionParameters,
        desk: Desk,
        clock: Clock,
        instruments: Mapping[str, Instrument],
        step_seconds: float = _DAY_SECONDS,
    ) -> None:
        self._parameters = parameters
        self._desk = desk
        self._clock = clock
        self._instruments = instruments
        self._step_seconds = step_seconds
        self._profile: VolumeProfile | None = None
        if parameters.algorithm is Algorithm.VWAP:
            self._profile = VolumeProfile.load(Path(parameters.volume_profile))
            for name in sorted(instruments):
                self._profile.expected(name, 0, 1)
        self._lock = asyncio.Lock()
        self._ticks: dict[str, int] = {}  # by plan: seen since its last child
        self._waits: dict[str, int] = {}  # by plan: nothing is sent before
        self._blocked: dict[str, records.OrderBlocked] = {}  # by child: refusals of our own risk rules
        self._progress: dict[str, Progress] = {}  # by plan, until the next record that may change it
        self._quiet: dict[str, int] = {}  # by plan: until then, or until such a record, there is nothing to do
        self.leftovers = False  # whether limit orders of ended plans may still stand
        desk.observe(self._observe, [kind for kind in records.KINDS if kind not in _MARKET])

    # -- what the loop calls -------------------------------------------------------------------------------------

    async def start(self, order: OrderRequest, volatility: float, received: int) -> bool:
        """Take over an order and send its first child.

        Args:
            order: what the decision asks for.
            volatility: standard deviation of the log return of one decision step.
            received: ``perf_counter_ns`` of the feed event that led to the decision.

        Returns:
            False where the order is to be sent whole, at once, by the caller. True also for a plan that was started
            before: repeating a decision after a crash starts nothing twice.
        """
        if self._parameters.algorithm is Algorithm.IMMEDIATE:
            return False
        async with self._lock:
            state = self._desk.state
            plan_id = order.client_order_id
            if plan_id in state.plans or self._was_started(order):
                return True
            await self._supersede(order.instrument, f"by {plan_id}")
            quote, instrument = self._desk.quotes.get(order.instrument), self._instruments.get(order.instrument)
            if quote is None or instrument is None or order.instrument in state.book.in_flight():
                return False
            now = self._clock.time_ns()
            plan = make_plan(
                order, instrument, quote, volatility, now, self._parameters, self._profile, self._step_seconds
            )
            if plan is None:
                return False
            self._desk.commit(records.PlanStarted(plan, now))
            reach("plan.started")
            _log.info("plan started", plan=plan_id, algorithm=plan.algorithm.value, parts=len(plan.slices))
            await self._advance(plan, received)
            return True

    def on_event(self, item: Quote | Heartbeat) -> None:
        """Count a tick of the market."""
        if self._desk.state.plans and isinstance(item, Quote):
            for plan_id, plan in self._desk.state.plans.items():
                if plan.parent.instrument == item.instrument:
                    self._ticks[plan_id] = self._ticks.get(plan_id, 0) + 1

    async def run_due(self) -> None:
        """Send, move, cancel and end what is due now. A call during another one does nothing."""
        if self._lock.locked() or not (self._desk.state.plans or self.leftovers):
            return
        async with self._lock:
            now = self._clock.time_ns()
            for plan_id in sorted(self._desk.state.plans):
                plan = self._desk.state.plans.get(plan_id)
                if plan is not None and now >= self._quiet.get(plan_id, 0):
                    await self._advance(plan, 0)
            if self.leftovers:
                await self._cancel_leftovers()

    def next_due_ns(self) -> int | None:
        """Return when ``run_due`` has something to do by itself; None where only an event can bring something."""
        now = self._clock.time_ns()
        times: list[int] = []
        for plan_id, plan in self._desk.state.plans.items():
            due = next_slice(plan, now)
            times.append(now if due is None else due)
            if self._waits.get(plan_id, 0) > now:
                times.append(self._waits[plan_id])
        return min(times, default=None)

    async def resume(self) -> None:
        """After a restart and its reconciliation: cancel what ended plans left standing, then go on with the others."""
        self.leftovers = True
        await self.run_due()

    async def supersede(self, instrument: str, words: str) -> None:
        """End the plans in an instrument because a newer decision comes; their working children are cancelled."""
        async with self._lock:
            await self._supersede(instrument, words)

    async def stop_all(self, outcome: PlanOutcome, words: str, opening_only: bool = False) -> None:
        """End every plan, or with ``opening_only`` all but exits; their working children are cancelled."""
        async with self._lock:
            for plan_id in sorted(self._desk.state.plans):
                plan = self._desk.state.plans.get(plan_id)
                if plan is not None and not (opening_only and plan.parent.reduce_only):
                    await self._end(plan, outcome, words)

    # -- one plan ------------------------------------------------------------------------------------------------

    def _was_started(self, order: OrderRequest) -> bool:
        """Whether a plan of this order was started before and is over."""
        state = self._desk.state
        ended = state.step is not None and order.client_order_id in state.step.blocked
        return ended or client_order_id(order.decision_id, 1) in state.book.orders

    async def _supersede(self, instrument: str, words: str) -> None:
        for plan_id in sorted(self._desk.state.plans):
            plan = self._desk.state.plans[plan_id]
            if plan.parent.instrument == instrument:
                await self._end(plan, PlanOutcome.SUPERSEDED, words)

    async def _advance(self, plan: ExecutionPlan, received: int) -> None:
        """Take every step that is due; each child ends one round, a cancelled one makes room for the next."""
        while plan.plan_id in self._desk.state.plans and await self._take_step(plan, received):
            received = 0

    async def _take_step(self, plan: ExecutionPlan, received: int) -> bool:
        """Do one thing; return whether another may follow at once."""
        state = self._desk.state
        if state.risk_state is RiskState.HALTED or (state.kill_switch is not None and state.kill_switch.on):
            await self._end(plan, PlanOutcome.STOPPED, "trading is halted")
            return False
        progress = self._progress_of(plan)
        if progress.working is not None:
            return await self._tend(plan, progress, progress.working)
        now = self._clock.time_ns()
        remaining = plan.parent.units - progress.executed
        ending = self._ending(plan, progress, remaining, now)
        if ending is not None:
            await self._end(plan, *ending)
            return False
        return await self._send_next(plan, progress, remaining, now, received)

    def _ending(
        self, plan: ExecutionPlan, progress: Progress, remaining: Decimal, now: int
    ) -> tuple[PlanOutcome, str] | None:
        """Return how a plan without a working child is over, or None."""
        if remaining * plan.parent.units <= 0:
            return PlanOutcome.COMPLETE, ""
        if progress.closed_by:
            return PlanOutcome.STOPPED, f"{progress.closed_by} was executed"
        if plan.parent.reduce_only and self._held(plan) * plan.parent.units >= 0:
            return PlanOutcome.STOPPED, "the position it reduces is gone"
        if progress.failures >= self._parameters.maximum_failures and progress.last is not None:
            return PlanOutcome.REFUSED, f"{progress.failures} children in a row failed: {progress.last.words}"
        blocked = self._blocked.get(child_id(plan, progress.legs + 1))
        if blocked is not None and blocked.reason in _RESTRICTED:
            return PlanOutcome.STOPPED, blocked.words
        if blocked is not None and blocked.reason not in _PASSING:
            return PlanOutcome.REFUSED, f"{blocked.reason.value}: {blocked.words}"
        if now >= plan.end_ns:
            tried = progress.last is not None and progress.last.created_ns >= plan.end_ns
            crosses = self._parameters.remainder is Remainder.CROSS
            if not crosses or tried or blocked_since(blocked, plan.end_ns) or now > plan.end_ns + CROSS_GRACE_NS:
                return PlanOutcome.EXPIRED, ""
        return None

    async def _tend(self, plan: ExecutionPlan, progress: Progress, working: Order) -> bool:
        """See to a working child: cancel it when its slice is over, move it with the touch. Unsettled ones wait."""
        if not working.working or working.order_type is not OrderType.LIMIT:
            return False
        now = self._clock.time_ns()
        if now < self._waits.get(plan.plan_id, 0):
            return False
        if now >= slice_end(plan, working.created_ns):
            await self._desk.cancel(working.key, "its slice is over")
            if not working.state.terminal:
                self._wait(plan)
            return working.state.terminal
        quote, instrument = self._desk.quotes.get(plan.parent.instrument), self._instruments[plan.parent.instrument]
        request = working.request
        if quote is None or not quote.tradeable or request is None or request.price is None:
            return False
        price = passive_price(plan, instrument, quote)
        room = Decimal(str(self._parameters.reprice_pips)) * instrument.pip
        if abs(price - request.price) <= room:
            return False
        units = request.units - working.filled_units
        root = child_id(plan, progress.legs)
        replacement = msgspec.structs.replace(
            passive_child(plan, progress.legs, units, instrument, quote),
            client_order_id=amended_order_id(root, progress.revisions + 1),
        )
        rates = self._desk.rates()
        if not await self._desk.amend(working.key, replacement, rates, self._desk.equity(rates)):
            self._wait(plan)
        return False

    async def _send_next(
        self, plan: ExecutionPlan, progress: Progress, remaining: Decimal, now: int, received: int
    ) -> bool:
        """Send the next child where the schedule and the limits let one go."""
        name = plan.parent.instrument
        quote = self._desk.quotes.get(name)
        if quote is None or not quote.tradeable or not within_limit(plan, touch(plan, quote)):
            return False
        due = self._due_after(plan, progress)
        if now < due:
            self._quiet[plan.plan_id] = min(due, next_slice(plan, now) or due)
            return False
        if name in self._desk.state.book.in_flight():
            return False
        child = self._next_child(plan, progress, remaining, now, quote)
        if child is None:
            if plan.maximum_participation is None:  # else each tick may let more out
                self._quiet[plan.plan_id] = next_slice(plan, now) or now
            return False
        return await self._send(plan, child, received)

    def _next_child(
        self, plan: ExecutionPlan, progress: Progress, remaining: Decimal, now: int, quote: Quote
    ) -> OrderRequest | None:
        """Return what goes out now: the rest at the end, what slices already over left undone, or this slice's part."""
        instrument, parameters, leg = self._instruments[plan.parent.instrument], self._parameters, progress.legs + 1
        held, ticks = self._held(plan), self._ticks.get(plan.plan_id, 0)
        if now >= plan.end_ns:
            rest = min(abs(remaining), abs(held)) if plan.parent.reduce_only else abs(remaining)
            return marketable_child(plan, leg, rest.copy_sign(remaining), instrument, quote, parameters)

        def sized(target: Decimal) -> Decimal:
            missing = target - progress.executed
            wanted = missing if missing * remaining > 0 else Decimal(0)  # 0 where the plan is ahead
            return child_units(plan, wanted, remaining, held, ticks, instrument, parameters)

        current, over = scheduled(plan, now)
        if parameters.child_style is ChildStyle.PASSIVE:
            overdue = sized(over)
            if overdue:
                return marketable_child(plan, leg, overdue, instrument, quote, parameters)
        units = sized(current)
        if not units:
            return None
        if parameters.child_style is ChildStyle.PASSIVE:
            return passive_child(plan, leg, units, instrument, quote)
        return marketable_child(plan, leg, units, instrument, quote, parameters)

    async def _send(self, plan: ExecutionPlan, child: OrderRequest, received: int) -> bool:
        self._blocked.pop(child.client_order_id, None)
        self._ticks[plan.plan_id] = 0
        rates = self._desk.rates()
        if await self._desk.send(child, rates, self._desk.equity(rates), received):
            return True
        self._wait(plan)
        return child.client_order_id in self._blocked  # look at once whether that refusal ends the plan

    def _due_after(self, plan: ExecutionPlan, progress: Progress) -> int:
        """Return the time before which no child is sent, because of the last one."""
        wait = self._waits.get(plan.plan_id, 0)
        last = progress.last
        if last is None or last.order_type is not OrderType.MARKET:
            return wait
        return max(wait, last.created_ns + pause_ns(plan, failed(last), self._parameters))

    def _wait(self, plan: ExecutionPlan) -> None:
        """Something was refused: try no sooner than after the full pause."""
        self._waits[plan.plan_id] = self._clock.time_ns() + pause_ns(plan, True, self._parameters)

    def _held(self, plan: ExecutionPlan) -> Decimal:
        return self._desk.state.positions.units(plan.parent.instrument)

    async def _end(self, plan: ExecutionPlan, outcome: PlanOutcome, words: str) -> None:
        """Write the end first: from then on nothing more is sent, whatever becomes of cancelling the working child."""
        progress = self._progress_of(plan)
        text = describe_execution(plan, progress, self._instruments[plan.parent.instrument], words)
        now = self._clock.time_ns()
        self._desk.commit(records.PlanEnded(plan.plan_id, now, outcome, progress.executed, text))
        reach("plan.ended")
        for memory in (self._ticks, self._waits):
            memory.pop(plan.plan_id, None)
        self._blocked.pop(child_id(plan, progress.legs + 1), None)
        _log.info("plan ended", plan=plan.plan_id, outcome=outcome.value, words=text)
        if progress.working is not None and progress.working.order_type is OrderType.LIMIT:
            self.leftovers = True
            await self._cancel_leftovers()

    async def _cancel_leftovers(self) -> None:
        """Cancel the limit orders of ended plans; whose fate is unknown is looked at again at the next call."""
        plans, left = self._desk.state.plans, False
        for order in self._desk.state.book.open():
            request = order.request
            if request is None or request.order_type is not OrderType.LIMIT or not request.decision_id:
                continue
            plan_id = client_order_id(request.decision_id)
            if order.key == plan_id or plan_id in plans:
                continue
            if order.working:
                await self._desk.cancel(order.key, "its plan has ended")
            left = left or not order.state.terminal
        self.leftovers = left

    def _progress_of(self, plan: ExecutionPlan) -> Progress:
        progress = self._progress.get(plan.plan_id)
        if progress is None:
            progress = self._progress[plan.plan_id] = read_progress(self._desk.state.book, plan)
        return progress

    def _observe(self, record: records.AnyRecord, _time_ns: int) -> None:
        self._progress.clear()
        self._quiet.clear()
        if isinstance(record, records.OrderBlocked) and client_order_id(record.decision_id) in self._desk.state.plans:
            self._blocked[record.client_order_id] = record


def blocked_since(blocked: records.OrderBlocked | None, time_ns: int) -> bool:
    """Whether our own risk rules refused a child at or after a time."""
    return blocked is not None and blocked.time_ns >= time_ns
