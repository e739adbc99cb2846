"""Take one step from its bars to its last order, and finish the one a crash interrupted.

Per step: bars → strategy prepares → catch up with the broker → decisions → risk → journal → broker.
"""

import math
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal

from core.clock import NANOSECONDS, Clock
from core.crash_points import reach
from core.domain import OrderRequest
from core.errors import TidegateError
from core.logging import get_logger
from trading import records
from trading.config import TraderConfig
from trading.degradation import Degradation
from trading.desk import Desk
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.risk.breach import assess
from trading.risk.limits import RiskState, reduces
from trading.steps import Step
from trading.strategy.decide import Decision
from trading.strategy.interface import Portfolio, Strategy
from trading.upkeep import Upkeep

_log = get_logger("trading")
_LACKING_LOGGED = 10  # one by one: in a thin market every other minute is one


class StepRunner:
    """Runs the steps of a session, one at a time."""

    def __init__(
        self,
        config: TraderConfig,
        clock: Clock,
        desk: Desk,
        strategy: Strategy,
        degradation: Degradation,
        upkeep: Upkeep,
        latency: LatencyRecorder,
        metrics: TraderMetrics,
    ) -> None:
        self._config = config
        self._clock = clock
        self._desk = desk
        self._strategy = strategy
        self._degradation = degradation
        self._upkeep = upkeep
        self._latency = latency
        self._metrics = metrics
        self._lacking = 0

    def _close(self, step: Step) -> None:
        """Write the bars of a step and let the strategy take them in."""
        if step.missing:
            _log.warning("step without some instruments", time_ns=step.time_ns, missing=",".join(step.missing))
        self._desk.commit(records.StepClosed(step.time_ns, step.rows.tobytes(), step.missing, step.simulated))
        reach("step.closed")
        self._strategy.observe(step)

    async def run(self, step: Step, received: int) -> None:
        """Take a step from its bars to its last order.

        Args:
            step: just closed.
            received: ``perf_counter_ns`` of the feed event that closed it.
        """
        self._close(step)
        ready = time.perf_counter_ns()
        self._measure("features", ready - received)
        await self._strategy.prepare(step)
        self._measure("prediction", time.perf_counter_ns() - ready)
        await self._decide_and_send(step, received)
        self._measure("step", time.perf_counter_ns() - received)
        self._metrics.steps_done += 1
        self._strategy.settle(step, self._clock.time_ns())

    def miss(self, step: Step, words: str) -> None:
        """Take in a step on which nothing is decided any more."""
        self._close(step)
        self._desk.commit(records.StepMissed(step.time_ns, words))
        _log.warning("step missed: features updated, nothing decided", time_ns=step.time_ns)
        self._strategy.settle(step, self._clock.time_ns())

    def lack(self, time_ns: int, words: str) -> None:
        """Say that a step is missing altogether: no bar, so nothing for features either."""
        self._desk.commit(records.StepMissed(time_ns, words))
        self._lacking += 1
        if self._lacking <= _LACKING_LOGGED:
            _log.warning("step missed: no bar of it", time_ns=time_ns)
        elif self._lacking == _LACKING_LOGGED + 1:
            _log.warning("further steps without a bar are in the journal and in the summary only", time_ns=time_ns)

    async def finish_interrupted(self, newest: Step | None) -> None:
        """After a crash inside a step: send what was decided and not sent, or decide if that was not done.

        Only while the step is young: an old decision is not a decision about this market.

        Args:
            newest: the newest step of the journal, observed.
        """
        progress = self._desk.state.step
        if newest is None or progress is None or progress.done:
            return
        age = (self._clock.time_ns() - progress.time_ns) / NANOSECONDS
        if age > self._config.maximum_decision_age_seconds:
            _log.warning("interrupted step is too old to finish", time_ns=progress.time_ns, age_seconds=age)
            self._finish(progress.time_ns)
            return
        _log.info("finishing the interrupted step", time_ns=progress.time_ns)
        if len(progress.decisions) < len(self._config.instruments):
            progress.decisions.clear()
            await self._strategy.prepare(newest)
            await self._decide_and_send(newest, 0)
            return
        book = self._desk.state.book
        orders = [
            decision.order
            for decision in progress.decisions
            if decision.order is not None
            and decision.order.client_order_id not in progress.blocked
            and not book.was_sent(decision.order.client_order_id)
        ]
        await self._send(orders, 0)
        self._finish(progress.time_ns)

    async def _decide_and_send(self, step: Step, received: int) -> None:
        started = time.perf_counter_ns()
        try:
            follower = self._upkeep.follower
            state = self._desk.state
            if state.plans:
                for name in sorted({plan.parent.instrument for plan in state.plans.values()}):
                    await self._upkeep.executor.supersede(name, f"the step of {step.time_ns} decides anew")
            if follower is None or not follower.fresh or state.book.uncertain() or "broker" in state.degraded:
                if not self._desk.is_caught_up():
                    await self._desk.catch_up()
                if state.book.has_open and state.book.uncertain():
                    await self._desk.resolve_uncertain()
                self._degradation.end("broker")
        except TidegateError as error:
            # Positions may not be what we think: nothing is decided on a guess.
            self._degradation.begin("broker", error.message)
            self._finish(step.time_ns)
            return
        caught_up = time.perf_counter_ns()
        self._measure("catch_up", caught_up - started)
        now = self._clock.time_ns()  # the one reading of this decision
        rates = self._desk.rates()
        equity = self._desk.equity(rates)
        await self._update_risk_state(equity, now)
        portfolio = Portfolio(
            equity=equity,
            positions=self._desk.held(),
            quotes=self._desk.quotes,
            rates=rates,
            instruments=self._desk.instruments,
            exits_only=self._exits_only(step, now),
            reducing=self._desk.state.risk_state is not RiskState.ACTIVE,
        )
        decisions = await self._strategy.decide(step, now, portfolio)
        for decision in decisions:
            self._desk.commit(self._record(decision, step.time_ns))
        reach("step.decided")
        self._measure("decision", time.perf_counter_ns() - caught_up)
        orders = [decision.order for decision in decisions if decision.order is not None]
        if orders:
            await self._send(orders, received)
        self._finish(step.time_ns)

    async def _send(self, orders: Sequence[OrderRequest], received: int) -> None:
        """Send what lowers positions first: limits are then never touched by the order of the alphabet."""
        held = self._desk.held()
        volatilities = self._strategy.volatilities()
        for order in sorted(orders, key=lambda order: (not _lowers(held, order), order.instrument)):
            volatility = volatilities.get(order.instrument, math.nan)
            if not await self._upkeep.executor.start(order, volatility, received):
                rates = self._desk.rates()
                await self._desk.send(order, rates, self._desk.equity(rates), received)

    def _finish(self, time_ns: int) -> None:
        rates = self._desk.rates()
        unrealised = self._desk.unrealised(rates)
        equity = float(self._desk.state.balance) + unrealised
        self._desk.commit(records.StepDone(time_ns, equity, unrealised, rates))
        self._desk.flush()
        reach("step.done")
        self._metrics.newest_equity = equity
        self._metrics.newest_step_ns = time_ns

    def _exits_only(self, step: Step, now: int) -> dict[str, str]:
        """Instruments that may not get more risk, and why."""
        words = self._degradation.no_new_risk()
        exits_only = dict.fromkeys(self._config.instruments, words) if words else {}
        if step.missing:
            exits_only |= dict.fromkeys(step.missing, "no bar")
        stale = self._stale(now)
        return exits_only | stale if stale else exits_only

    def _stale(self, now: int) -> dict[str, str]:
        """Instruments whose price is too old for new risk."""
        limit = self._config.risk.stale_price_seconds
        stale: dict[str, str] = {}
        for name in self._config.instruments:
            quote = self._desk.quotes.get(name)
            if quote is None or not quote.tradeable:
                stale[name] = "no tradeable price"
            elif (now - quote.time_ns) / NANOSECONDS > limit:
                stale[name] = f"price older than {limit:g} s"
        if stale:
            self._degradation.begin("price", ", ".join(f"{name}: {words}" for name, words in stale.items()))
        else:
            self._degradation.end("price")
        return stale

    async def _update_risk_state(self, equity: float, now: int) -> None:
        """Act on a loss limit that was reached. A day's loss ends with the day, a drawdown only by hand."""
        state = self._desk.state
        if state.risk_state is RiskState.REDUCING and state.risk_reason == "DAILY_LOSS" and state.day_changed(now):
            self._desk.commit(records.RiskStateChanged(RiskState.ACTIVE, now, "NEW_DAY", "a new trading day began"))
        breach = assess(state, equity, now, self._config.risk)
        if breach is not None:
            await self._upkeep.kill_switch.trip(breach, now)

    def _record(self, decision: Decision, time_ns: int) -> records.DecisionMade:
        quote = self._desk.quotes.get(decision.instrument)
        return records.DecisionMade(
            decision_id=decision.decision_id,
            instrument=decision.instrument,
            time_ns=time_ns,
            current_units=decision.current_units,
            target_fraction=decision.target_fraction,
            target_units=decision.target_units,
            reason=decision.reason,
            order=decision.order,
            model_digest=decision.model_digest,
            mid=(quote.bid + quote.ask) / 2.0 if quote is not None else 0.0,
        )

    def _measure(self, hop: str, nanoseconds: int) -> None:
        self._latency.add(hop, nanoseconds)


def _lowers(held: Mapping[str, Decimal], order: OrderRequest) -> bool:
    return reduces(float(held.get(order.instrument, Decimal(0))), float(order.units))
