"""The one loop of paper, practice and live: only clock, feed and broker differ (law 2).

Feed event → journal → bars → steps; what happens at a step is the step runner's, what is decided there the strategy's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from core.clock import NANOSECONDS, Clock
from core.crash_points import reach
from core.domain import BarKind, Heartbeat, Quote
from core.errors import BadInputError
from core.logging import get_logger
from trading import records
from trading.backfill import Backfill
from trading.bars import BarSource
from trading.calendar import open_boundaries
from trading.config import TraderConfig
from trading.desk import Desk
from trading.feeds.guard import QuoteGuard
from trading.feeds.interface import Feed
from trading.metrics import TraderMetrics
from trading.step_runner import StepRunner
from trading.steps import Step, StepAssembler
from trading.strategy.interface import Strategy
from trading.upkeep import Upkeep

_log = get_logger("trading")
_REFUSALS_LOGGED = 10  # one by one; all are in the journal and counted
MAXIMUM_BACKFILL = 20_000  # steps between the strategy's state and now


class TradingLoop:
    """Runs a session until the feed ends or ``stop`` is called."""

    def __init__(
        self,
        config: TraderConfig,
        clock: Clock,
        feed: Feed,
        desk: Desk,
        strategy: Strategy,
        runner: StepRunner,
        assembler: StepAssembler,
        source: BarSource,
        backfill: Backfill,
        guard: QuoteGuard,
        upkeep: Upkeep,
        metrics: TraderMetrics,
        tick_seconds: float | None = None,
    ) -> None:
        """Wire the parts.

        ``tick_seconds`` of the clock pass between two rounds of upkeep while the feed is silent; None in lockstep and
        replay, where things happen at events only.
        """
        self._config = config
        self._clock = clock
        self._feed = feed
        self._desk = desk
        self._strategy = strategy
        self._runner = runner
        self._assembler = assembler
        self._source = source
        self._backfill = backfill
        self._guard = guard
        self._upkeep = upkeep
        self._metrics = metrics
        self._tick_seconds = tick_seconds
        self._turn = asyncio.Lock()  # an event or a tick of the timer: never both at once
        self._timer: asyncio.Task[None] | None = None
        self._refused = 0
        self._incomplete = 0  # boundary of a bar whose first quotes were missed
        self._stopping = False
        self._task: asyncio.Task[object] | None = None
        self._idle = False  # waiting for the feed

    @property
    def stopping(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stopping

    def stop(self) -> None:
        """Ask the loop to end: at once where it waits for the feed, else after the step it is in."""
        self._stopping = True
        if self._idle and self._task is not None:
            self._task.cancel()

    async def run(self, standing: list[Quote | Heartbeat], newest: Step | None = None) -> str:
        """Trade until the end of the data or ``stop``; return which of both it was.

        Args:
            standing: what priming the feed gave.
            newest: the newest step of the journal, which a crash may have interrupted.

        Raises:
            UnavailableError: the feed or the journal is gone.
        """
        await self._upkeep.begin()
        await self._begin(standing, newest)
        await self._upkeep.resume()
        if self._tick_seconds is None:
            return await self._run(self._take)
        self._timer = asyncio.create_task(self._tick(self._tick_seconds))
        self._timer.add_done_callback(lambda _: self.stop())  # it ends by a failure, or because this ends
        try:
            ended = await self._run(self._take_in_turn)
        finally:
            failure = self._timer.exception() if self._timer.done() and not self._timer.cancelled() else None
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
        if failure is not None:
            raise failure
        return ended

    async def _run(self, take: Callable[[Quote | Heartbeat], Awaitable[None] | None]) -> str:
        if self._stopping:
            return "stopped"
        self._task = asyncio.current_task()
        self._idle = True
        try:
            async for item in self._feed.events():
                self._idle = False
                waiting = take(item)
                if waiting is not None:
                    await waiting
                if self._stopping:
                    return "stopped"
                self._idle = True
        except asyncio.CancelledError:
            if not (self._stopping and self._idle):
                raise
            return "stopped"
        finally:
            self._idle = False
        return "end of data"

    async def _tick(self, seconds: float) -> None:
        """Keep things going while the feed is silent."""
        while True:
            await self._clock.sleep(seconds)
            async with self._turn:
                await self._upkeep.tick()

    async def _take_in_turn(self, item: Quote | Heartbeat) -> None:
        async with self._turn:
            waiting = self._take(item)
            if waiting is not None:
                await waiting

    async def _begin(self, standing: list[Quote | Heartbeat], newest: Step | None) -> None:
        """Take in the standing quotes, finish what a crash interrupted, and fill in the steps nobody watched."""
        for item in standing:
            if not self._note(item):
                continue
            if isinstance(item, Quote) and self._config.market is BarKind.FIXING:
                self._source.on_quote(item)  # the standing quote may be the one of a fixing just passed
        await self._runner.finish_interrupted(newest)
        now = self._clock.time_ns()
        known = self._strategy.newest_ns
        missed = self._assembler.boundaries(known, now) if known else []
        if len(missed) > MAXIMUM_BACKFILL:
            raise BadInputError(
                f"the feature state is {len(missed)} steps old, {MAXIMUM_BACKFILL} can be filled in: "
                "run the features stage again"
            )
        filled = await self._backfill.steps(missed)
        for boundary, bars in filled.items():
            if not bars:
                self._runner.lack(boundary, "nobody has a bar of it")
                continue
            step = self._assembler.step_of(boundary, bars)
            if now - step.time_ns <= self._config.maximum_decision_age_seconds * NANOSECONDS:
                await self._runner.run(step, time.perf_counter_ns())
            else:
                self._runner.miss(step, "it closed while the trader was away")
        self._assembler.start_after(max(now, self._strategy.newest_ns))
        if self._config.market is BarKind.BAR:
            # The bar the connection fell into lacks its first quotes: it is taken from the broker's candles.
            length = self._config.bar_seconds * NANOSECONDS
            self._incomplete = (now // length + 1) * length if now % length else 0

    def _note(self, item: Quote | Heartbeat) -> bool:
        """Write an event of the feed down; return whether anything may be made of it."""
        if isinstance(item, Quote):
            now = self._clock.time_ns()
            refusal = self._guard.refusal(item, now)
            if refusal is not None:
                self._refuse(refusal)
                return False
            self._desk.note(item, now)
            reach("quote.noted")
            self._metrics.quotes_seen += 1
        else:
            self._desk.commit(records.HeartbeatSeen(item))
            self._metrics.heartbeats_seen += 1
            self._upkeep.on_heartbeat(item)
        return True

    def _refuse(self, refusal: records.QuoteRefused) -> None:
        self._desk.commit(refusal)
        self._metrics.quotes_refused.labels(refusal.reason).inc()
        self._refused += 1
        if self._refused <= _REFUSALS_LOGGED:
            _log.error("quote refused", instrument=refusal.instrument, reason=refusal.reason, words=refusal.words)

    def _take(self, item: Quote | Heartbeat) -> Awaitable[None] | None:
        """Take an event in; return what is to be waited for, None where it closes no step and nothing is due."""
        received = time.perf_counter_ns()
        upkeep = self._upkeep
        if self._note(item):
            if self._desk.state.plans:
                upkeep.on_event(item)
            assembler = self._assembler
            steps = assembler.on_event(item)
            if steps or assembler.empty:
                return self._act(steps, received)
        return upkeep.run() if upkeep.due() else None

    async def _act(self, steps: list[Step], received: int) -> None:
        for step in steps:
            await self._runner.run(await self._completed(step), received)
        if self._assembler.empty:
            self._say_empty()
        if self._upkeep.due():
            await self._upkeep.run()

    def _say_empty(self) -> None:
        """Say which steps nobody had a bar of, though the market was open."""
        for boundary in open_boundaries(self._assembler.empty):
            self._runner.lack(boundary, "no quote came in time for a bar")
        self._assembler.empty.clear()

    async def _completed(self, step: Step) -> Step:
        """Return a step with the bar a connection fell into taken from the broker."""
        if step.time_ns != self._incomplete:
            return step
        filled = await self._backfill.steps([step.time_ns])
        bars = filled.get(step.time_ns)
        return self._assembler.step_of(step.time_ns, bars) if bars else step
