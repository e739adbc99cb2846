"""The one loop of paper, practice and live: only clock, feed and broker differ (law 2).

Per step: bars → features → one prediction request → catch up with the broker → decisions → risk → journal → broker.
"""

import asyncio
import time
from decimal import Decimal

import numpy as np

from core.clock import NANOSECONDS, Clock
from core.crash_points import reach
from core.domain import BarKind, Heartbeat, OrderRequest, Prediction, PredictionRequest, Predictor, Quote
from core.errors import BadInputError, RefusedError, TidegateError, UnavailableError
from core.logging import get_logger
from trading import records
from trading.backfill import Backfill
from trading.bars import BarSource
from trading.config import TraderConfig
from trading.desk import Desk
from trading.feeds.interface import Feed
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.risk.limits import RiskState, reduces
from trading.steps import Step, StepAssembler
from trading.strategy.decide import Costs, Decision, Inputs, PortfolioLimits, decide
from trading.window import FeatureWindow

_log = get_logger("trading")
MAXIMUM_BACKFILL = 20_000  # steps between the feature state and now


class TradingLoop:
    """Runs a session until the feed ends or ``stop`` is called."""

    def __init__(
        self,
        config: TraderConfig,
        clock: Clock,
        feed: Feed,
        desk: Desk,
        predictor: Predictor,
        window: FeatureWindow,
        assembler: StepAssembler,
        source: BarSource,
        backfill: Backfill,
        latency: LatencyRecorder,
        metrics: TraderMetrics,
    ) -> None:
        self._config = config
        self._clock = clock
        self._feed = feed
        self._desk = desk
        self._predictor = predictor
        self._window = window
        self._assembler = assembler
        self._source = source
        self._backfill = backfill
        self._incomplete = 0  # boundary of a bar whose first quotes were missed
        self._latency = latency
        self._metrics = metrics
        self._stopping = False
        self._idle: asyncio.Task[object] | None = None
        self._costs = Costs(config.costs.slippage_pips, config.costs.commission_per_million)
        self._limits = PortfolioLimits(
            config.risk.maximum_order_units, config.risk.maximum_gross_leverage, config.risk.maximum_currency_leverage
        )
        self.last_event_monotonic = time.monotonic()

    @property
    def stopping(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stopping

    def stop(self) -> None:
        """Ask the loop to end: at once where it waits for the feed, else after the step it is in."""
        self._stopping = True
        if self._idle is not None:
            self._idle.cancel()

    async def run(self, standing: list[Quote | Heartbeat]) -> str:
        """Trade until the end of the data or ``stop``; return which of both it was.

        Args:
            standing: what priming the feed gave.

        Raises:
            UnavailableError: the feed or the journal is gone.
        """
        await self._begin(standing)
        stream = self._feed.events()
        while not self._stopping:
            self._idle = asyncio.current_task()
            try:
                item = await anext(stream)
            except StopAsyncIteration:
                return "end of data"
            except asyncio.CancelledError:
                if self._stopping:
                    break
                raise
            finally:
                self._idle = None
            await self._take(item)
        return "stopped"

    async def _begin(self, standing: list[Quote | Heartbeat]) -> None:
        """Take in the standing quotes, finish what a crash interrupted, and fill in the steps nobody watched."""
        for item in standing:
            self._note(item)
            if isinstance(item, Quote) and self._config.market is BarKind.FIXING:
                self._source.on_quote(item)  # the standing quote may be the one of a fixing just passed
        await self._finish_interrupted_step()
        now = self._clock.time_ns()
        missed = self._assembler.boundaries(self._window.newest_ns, now) if self._window.newest_ns else []
        if len(missed) > MAXIMUM_BACKFILL:
            raise BadInputError(
                f"the feature state is {len(missed)} steps old, {MAXIMUM_BACKFILL} can be filled in: "
                "run the features stage again"
            )
        filled = await self._backfill.steps(missed)
        for boundary, bars in filled.items():
            await self._past_step(self._assembler.step_of(boundary, bars), now)
        self._assembler.start_after(max(now, self._window.newest_ns))
        if self._config.market is BarKind.BAR:
            # The bar the connection fell into lacks its first quotes: it is taken from the broker's candles.
            length = self._config.bar_seconds * NANOSECONDS
            self._incomplete = (now // length + 1) * length if now % length else 0

    async def _past_step(self, step: Step, now: int) -> None:
        """Features of a step that closed unwatched; decided on only while it is young."""
        if now - step.time_ns <= self._config.maximum_decision_age_seconds * NANOSECONDS:
            await self._step(step, time.perf_counter_ns())
            return
        self._desk.commit(records.StepClosed(step.time_ns, step.rows.tobytes(), step.missing, step.simulated))
        self._window.update(step.time_ns, step.rows)
        self._window.publish(now)
        self._desk.commit(records.StepMissed(step.time_ns, "it closed while the trader was away"))
        _log.warning("step missed: features updated, nothing decided", time_ns=step.time_ns)

    def _note(self, item: Quote | Heartbeat) -> None:
        if isinstance(item, Quote):
            self._desk.quotes[item.instrument] = item
            self._desk.commit(records.QuoteSeen(item))
            reach("quote.noted")
            self._metrics.events.labels("quote").inc()
        else:
            self._desk.commit(records.HeartbeatSeen(item))
            self._metrics.events.labels("heartbeat").inc()

    async def _take(self, item: Quote | Heartbeat) -> None:
        received = time.perf_counter_ns()
        self.last_event_monotonic = time.monotonic()
        self._note(item)
        for step in self._assembler.on_event(item):
            if step.time_ns == self._incomplete:
                filled = await self._backfill.steps([step.time_ns])
                if step.time_ns in filled:
                    step = self._assembler.step_of(step.time_ns, filled[step.time_ns])
            await self._step(step, received)

    async def _step(self, step: Step, received: int) -> None:
        """Take a step from its bars to its last order."""
        if step.missing:
            _log.warning("step without some instruments", time_ns=step.time_ns, missing=",".join(step.missing))
        self._desk.commit(records.StepClosed(step.time_ns, step.rows.tobytes(), step.missing, step.simulated))
        reach("step.closed")
        self._window.update(step.time_ns, step.rows)
        ready = time.perf_counter_ns()
        self._measure("features", ready - received)
        predictions, excuse = await self._predict(step.time_ns, step.missing)
        answered = time.perf_counter_ns()
        self._measure("prediction", answered - ready)
        await self._decide_and_send(step.time_ns, step.missing, predictions, excuse, received)
        self._measure("step", time.perf_counter_ns() - received)
        self._window.publish(self._clock.time_ns())
        self._metrics.steps.inc()
        self._window.snapshot_if_due(self._desk, step.time_ns)

    async def _predict(self, time_ns: int, missing: tuple[str, ...]) -> tuple[dict[str, Prediction], str]:
        """Ask once for all instruments of the step. Without an answer there is no new risk, and the reason is kept."""
        names = tuple(name for name in self._config.instruments if name not in missing)
        chosen = [index for index, name in enumerate(self._config.instruments) if name not in missing]
        request = PredictionRequest(
            strategy=self._config.strategy,
            time_ns=time_ns,
            instruments=names,
            decision_ids=tuple(f"{self._config.strategy}:{name}:{time_ns}" for name in names),
            feature_digest=self._window.digest,
            features=np.ascontiguousarray(self._window.windows()[chosen]),
        )
        try:
            answers = await self._predictor.predict(request)
            _check_answers(request, answers)
        except (UnavailableError, RefusedError) as error:
            self._degrade("prediction", error.message)
            return {}, f"no prediction: {error.message}"
        self._recover("prediction")
        self._desk.commit(records.PredictionsMade(time_ns, tuple(answers)))
        reach("step.predicted")
        for answer in answers:
            self._metrics.predictions.labels(answer.answered_by.value).inc()
        return {answer.instrument: answer for answer in answers}, ""

    async def _decide_and_send(
        self,
        time_ns: int,
        missing: tuple[str, ...],
        predictions: dict[str, Prediction],
        excuse: str,
        received: int,
    ) -> None:
        started = time.perf_counter_ns()
        exits_only = dict.fromkeys(missing, "no bar") | self._stale()
        if excuse:
            exits_only = dict.fromkeys(self._config.instruments, excuse)
        try:
            await self._desk.catch_up()
            if self._desk.state.book.uncertain():
                await self._desk.resolve_uncertain()
            self._recover("broker")
        except TidegateError as error:
            # Positions may not be what we think: nothing is decided on a guess.
            self._degrade("broker", error.message)
            self._finish(time_ns)
            return
        caught_up = time.perf_counter_ns()
        self._measure("catch_up", caught_up - started)
        rates = self._desk.rates()
        equity = self._desk.equity(rates)
        self._update_risk_state(equity)
        decisions = decide(
            self._config.strategy,
            self._config.instruments,
            self._desk.instruments,
            Inputs(
                time_ns=time_ns,
                equity=equity,
                positions=self._desk.state.positions.held(),
                quotes=self._desk.quotes,
                rates=rates,
                predictions=predictions,
                volatilities=self._window.volatilities(),
                exits_only=exits_only,
                reducing=self._desk.state.risk_state is not RiskState.ACTIVE,
            ),
            self._config.sizing,
            self._costs,
            self._limits,
        )
        for decision in decisions:
            self._desk.commit(self._decision_record(decision, time_ns))
        reach("step.decided")
        self._measure("decision", time.perf_counter_ns() - caught_up)
        await self._send(decisions, received)
        self._finish(time_ns)

    async def _send(self, decisions: list[Decision], received: int) -> None:
        orders = [decision.order for decision in decisions if decision.order is not None]
        await self._send_orders(orders, received)

    async def _send_orders(self, orders: list[OrderRequest], received: int) -> None:
        """Send what lowers positions first: limits are then never touched by the order of the alphabet."""
        held = self._desk.held()
        for order in sorted(orders, key=lambda order: (not _lowers(held, order), order.instrument)):
            rates = self._desk.rates()
            await self._desk.send(order, rates, self._desk.equity(rates), received)

    def _finish(self, time_ns: int) -> None:
        rates = self._desk.rates()
        unrealised = self._desk.unrealised(rates)
        equity = float(self._desk.state.balance) + unrealised
        self._desk.commit(records.StepDone(time_ns, equity, unrealised, rates))
        self._desk.flush()
        reach("step.done")
        self._metrics.equity.set(equity)
        self._metrics.processed.set(time_ns / NANOSECONDS)

    async def _finish_interrupted_step(self) -> None:
        """After a crash inside a step: send what was decided and not sent, or decide if that was not done.

        Only while the step is young: an old decision is not a decision about this market.
        """
        step = self._desk.state.step
        if step is None or step.done:
            return
        age = (self._clock.time_ns() - step.time_ns) / NANOSECONDS
        if age > self._config.maximum_decision_age_seconds:
            _log.warning("interrupted step is too old to finish", time_ns=step.time_ns, age_seconds=age)
            self._finish(step.time_ns)
            return
        _log.info("finishing the interrupted step", time_ns=step.time_ns)
        if len(step.decisions) < len(self._config.instruments):
            step.decisions.clear()
            predictions, excuse = step.predictions, ""
            missing = self._window.missing()
            if not predictions:
                predictions, excuse = await self._predict(step.time_ns, missing)
            await self._decide_and_send(step.time_ns, missing, predictions, excuse, 0)
            return
        book = self._desk.state.book
        orders = [
            decision.order
            for decision in step.decisions
            if decision.order is not None
            and decision.order.client_order_id not in step.blocked
            and not book.was_sent(decision.order.client_order_id)
        ]
        await self._send_orders(orders, 0)
        self._finish(step.time_ns)

    def _stale(self) -> dict[str, str]:
        """Instruments whose price is too old for new risk."""
        now = self._clock.time_ns()
        limit = self._config.risk.stale_price_seconds
        stale: dict[str, str] = {}
        for name in self._config.instruments:
            quote = self._desk.quotes.get(name)
            if quote is None or not quote.tradeable:
                stale[name] = "no tradeable price"
            elif (now - quote.time_ns) / NANOSECONDS > limit:
                stale[name] = f"price older than {limit:g} s"
        if stale:
            self._degrade("price", ", ".join(f"{name}: {words}" for name, words in stale.items()))
        else:
            self._recover("price")
        return stale

    def _update_risk_state(self, equity: float) -> None:
        """Go to REDUCING when a loss limit is reached. A day's loss ends with the day, a drawdown only by hand."""
        state, limits = self._desk.state, self._config.risk
        if (
            state.risk_state is RiskState.REDUCING
            and state.risk_reason == "DAILY_LOSS"
            and state.day_changed(self._clock.time_ns())
        ):
            self._desk.commit(
                records.RiskStateChanged(RiskState.ACTIVE, self._clock.time_ns(), "NEW_DAY", "a new trading day began")
            )
        if state.risk_state is not RiskState.ACTIVE or equity <= 0:
            return
        day_start = state.equity if state.day_changed(self._clock.time_ns()) else state.day_start_equity
        if equity <= state.peak_equity * (1.0 - limits.maximum_drawdown):
            words = f"equity {equity:.2f} is {1 - equity / state.peak_equity:.1%} below its peak"
            self._desk.halt("DRAWDOWN", words, RiskState.REDUCING)
        elif equity <= day_start * (1.0 - limits.maximum_daily_loss):
            self._desk.halt("DAILY_LOSS", f"{1 - equity / day_start:.1%} lost today", RiskState.REDUCING)

    def _decision_record(self, decision: Decision, time_ns: int) -> records.DecisionMade:
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

    def _degrade(self, what: str, words: str) -> None:
        if self._desk.state.degraded.get(what) != words:
            self._desk.commit(records.Degraded(self._clock.time_ns(), what, words))
            _log.warning("degraded", what=what, words=words)
        self._metrics.degraded.labels(what).set(1)

    def _recover(self, what: str) -> None:
        if what in self._desk.state.degraded:
            self._desk.commit(records.Degraded(self._clock.time_ns(), what, "back", over=True))
            _log.info("no longer degraded", what=what)
        self._metrics.degraded.labels(what).set(0)

    def _measure(self, hop: str, nanoseconds: int) -> None:
        self._latency.add(hop, nanoseconds)
        self._metrics.hop_seconds.labels(hop).observe(nanoseconds / 1e9)


def _lowers(held: dict[str, Decimal], order: OrderRequest) -> bool:
    return reduces(float(held.get(order.instrument, Decimal(0))), float(order.units))


def _check_answers(request: PredictionRequest, answers: list[Prediction]) -> None:
    """Refuse an answer to another question, or one that is no distribution: neither may become an order.

    Raises:
        RefusedError: naming the first wrong prediction.
    """
    if tuple(answer.decision_id for answer in answers) != request.decision_ids:
        raise RefusedError("the prediction service answered other decisions than it was asked for")
    for answer in answers:
        probabilities = (answer.probability_short, answer.probability_flat, answer.probability_long)
        if not (all(0.0 <= p <= 1.0 for p in probabilities) and abs(sum(probabilities) - 1.0) < 1e-3):
            raise RefusedError(f"prediction {answer.decision_id} is no probability distribution: {probabilities}")
