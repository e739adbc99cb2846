"""What is done after every event of the feed, and several times a second while a live feed is silent.

The order matters: the kill switch comes before anything that sends, and the comparison with the broker last, when
everything else has had its say.
"""

import os
import time
from pathlib import Path

from core.clock import NANOSECONDS, Clock
from core.domain import Heartbeat, Quote
from trading.collection import QuietCollection
from trading.control.kill_switch import KillSwitch
from trading.degradation import Degradation
from trading.desk import Desk
from trading.execution.executor import PlanExecutor
from trading.execution.plan import PlanOutcome
from trading.feeds.clock_watch import ClockWatch
from trading.feeds.interface import Feed
from trading.following import EventFollower
from trading.ledger.thread import LedgerThread
from trading.reconciliation.continuous import Reconciler

TICK_SECONDS = 0.1  # of the live timer
PRICE_STREAM = "price_stream"
DISK = "disk"
DATABASE = "database"
STALLED_SECONDS = 5.0  # a batch of rows takes milliseconds
MINIMUM_FREE_BYTES = 256 * 1024 * 1024  # about a day of quotes; below it no new risk is taken
_SLOW_SECONDS = 1.0  # between two looks at what does not change with an event


class Upkeep:
    """The kill switch, running plans and the reconciliation; live, also the health of clock, streams and disk.

    Args:
        kill_switch, executor, reconciler: what is called after each event.
        desk, degradation, clock: of the session.
        feed: whose silence is watched.
        directory: of the journal, whose disk is watched.
        silence_seconds: a live price stream without a word for longer counts as gone.
    """

    def __init__(
        self,
        kill_switch: KillSwitch,
        executor: PlanExecutor,
        reconciler: Reconciler,
        desk: Desk,
        degradation: Degradation,
        clock: Clock,
        feed: Feed,
        directory: Path,
        silence_seconds: float,
    ) -> None:
        self.kill_switch = kill_switch
        self.executor = executor
        self.reconciler = reconciler
        self._desk = desk
        self._degradation = degradation
        self._clock = clock
        self._feed = feed
        self._directory = directory
        self._silence_ns = round(silence_seconds * NANOSECONDS)
        self._next_slow = 0.0
        self.watch: ClockWatch | None = None  # of live sessions
        self.follower: EventFollower | None = None
        self.ledger: LedgerThread | None = None
        self.collection: QuietCollection | None = None

    async def begin(self) -> None:
        """Before anything is sent: look at the kill switch, and finish what it has left to do from before a restart."""
        await self.kill_switch.poll()
        await self.kill_switch.carry_on()

    async def resume(self) -> None:
        """After a restart and its reconciliation: go on with running plans."""
        await self.executor.resume()

    def on_event(self, item: Quote | Heartbeat) -> None:
        """Let running plans count the market's ticks."""
        self.executor.on_event(item)

    def on_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Compare the feed's time with the clock of a live session."""
        if self.watch is not None:
            self.watch.on_heartbeat(heartbeat)

    def due(self) -> bool:
        """Whether ``run`` has anything to do: mostly not, and then nobody waits for it."""
        state = self._desk.state
        if state.plans or self.executor.leftovers or state.kill_switch is not None:
            return True
        return time.monotonic() >= self.kill_switch.next_look or self.reconciler.due()

    def at_rest(self) -> bool:
        """Whether nothing is due whatever the next quotes are: no plan, no kill switch, nothing in flight."""
        state = self._desk.state
        if state.plans or self.executor.leftovers or state.kill_switch is not None:
            return False
        return time.monotonic() < self.kill_switch.next_look and self.reconciler.at_rest()

    async def run(self) -> None:
        """Do what is due."""
        await self.kill_switch.poll()
        await self.executor.run_due()
        if self.reconciler.due():
            await self.reconciler.run_due()

    async def tick(self) -> None:
        """Do what is due while the feed may be silent, and look after clock, streams and disk."""
        if self.watch is not None:
            self.watch.look()
        moment = time.monotonic()
        if moment >= self._next_slow:
            self._next_slow = moment + _SLOW_SECONDS
            self._look_around()
        words = self._degradation.no_new_risk()
        if words and self._desk.state.plans:
            await self.executor.stop_all(PlanOutcome.STOPPED, words, opening_only=True)
        await self.run()
        if self.collection is not None:
            self.collection.rest()

    def _look_around(self) -> None:
        if self.follower is not None:
            self.follower.look()
        if self.ledger is not None:
            stalled = self.ledger.stalled_seconds
            if stalled > STALLED_SECONDS and DATABASE not in self._desk.state.degraded:
                words = f"the database has owed an answer for {stalled:.0f} s: the journal alone is written"
                self._degradation.begin(DATABASE, words)
            elif stalled < STALLED_SECONDS and self.ledger.available:
                self._degradation.end(DATABASE)
        heard = self._feed.heard_ns
        silent = self._clock.time_ns() - heard
        if heard and silent > self._silence_ns:
            if PRICE_STREAM not in self._desk.state.degraded:
                words = f"the price stream has been silent for {silent / NANOSECONDS:.0f} s: no new risk, exits only"
                self._degradation.begin(PRICE_STREAM, words)
        else:
            self._degradation.end(PRICE_STREAM)
        disk = os.statvfs(self._directory)
        free = disk.f_bavail * disk.f_frsize
        if free < MINIMUM_FREE_BYTES:
            if DISK not in self._desk.state.degraded:
                words = f"{free >> 20} MB left for the journal, {MINIMUM_FREE_BYTES >> 20} are needed: free some space"
                self._degradation.begin(DISK, words)
        else:
            self._degradation.end(DISK)
