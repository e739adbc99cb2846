"""Drive the loop through a journal, process by process: where the recorded one died the replayed one ends too."""

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import BarKind, Predictor
from core.errors import BadInputError, IntegrityError, TidegateError
from trading import records
from trading.assembly import make_assembler
from trading.config import TraderConfig
from trading.control.kill_switch import KillSwitch
from trading.degradation import Degradation
from trading.desk import Desk
from trading.execution.executor import PlanExecutor
from trading.execution.plan import PlanOutcome
from trading.execution.session_profile import reading_copy
from trading.latency import LatencyRecorder
from trading.loop import TradingLoop
from trading.metrics import TraderMetrics
from trading.reconciliation.continuous import Reconciler
from trading.replay.broker import ReplayBroker
from trading.replay.clock import ReplayClock
from trading.replay.difference import Difference
from trading.replay.recording import Differs, ProcessDied, Recording
from trading.replay.sources import OpenGuard, RecordedBackfill, RecordedPredictor, ReplayFeed, is_reconciliation
from trading.replay.upkeep import ReplayUpkeep
from trading.state import SessionState
from trading.step_runner import StepRunner
from trading.steps import step_of_record
from trading.strategy.interface import Strategy
from trading.strategy.model import ModelStrategy
from trading.trader import JOURNAL, LIVE_FEATURES
from trading.window import START, FeatureWindow

StrategyMaker = Callable[[Desk, Degradation], Strategy]
Progress = Callable[[int, int], None]
_TELL_EVERY = 20_000  # entries between two calls of progress


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay found.

    Attributes:
        equal: whether every entry was made again, byte for byte, or given where it comes from outside.
        entries: how many of the journal were gone through.
        given: entries that are the word of the outside (start, broker at a restart, comparisons with the broker).
        records: entries by kind.
        quotes_per_second: feed events by the seconds the replay took.
        recomputed: predictions that were made again and compared.
    """

    session_id: str
    equal: bool
    entries: int
    given: int
    processes: int
    records: dict[str, int]
    seconds: float
    quotes_per_second: float
    recomputed: int
    difference: Difference | None = None


class _Comparing:
    """The journal of a replay: nothing is written, everything is compared."""

    def __init__(self, recording: Recording, progress: Progress | None) -> None:
        self._recording = recording
        self._progress = progress

    def append(self, kind: str, payload: bytes, time_ns: int, durable: bool = False) -> int:
        recording = self._recording
        recording.accept(payload)
        if self._progress is not None and recording.cursor % _TELL_EVERY == 0:
            self._progress(recording.cursor, len(recording.entries))
        return recording.cursor

    def append_run(
        self, kind: str, times: NDArray[np.int64], payloads: NDArray[np.uint8], sizes: NDArray[np.int64]
    ) -> None:
        for time_ns, payload, size in zip(times.tolist(), payloads, sizes.tolist(), strict=True):
            self.append(kind, payload[:size].tobytes(), time_ns)

    def flush(self) -> None:
        """Nothing is buffered."""


async def replay_session(
    session: Path,
    until: int | None = None,
    again: Predictor | None = None,
    strategy_maker: StrategyMaker | None = None,
    progress: Progress | None = None,
) -> ReplayReport:
    """Run the journal of a session through the loop and compare what it makes with what the journal holds.

    Args:
        session: folder of the session.
        until: the last sequence to replay; None: all.
        again: makes the predictions again; None takes them from the journal.
        strategy_maker: of a session that was not traded by the registered models.
        progress: called now and then with the entries done and their number.

    Raises:
        BadInputError: the folder holds no session, or one of before journals said their configuration.
        IntegrityError: the journal is damaged.
    """
    recording = Recording(session / JOURNAL, until)
    if not isinstance(recording.current, records.SessionOpened):
        raise BadInputError(f"{session} holds no session: its journal does not begin with one")
    name = recording.current.session_id
    last = len(recording.entries)
    began = time.perf_counter()
    difference: Difference | None = None
    processes = recomputed = 0
    with tempfile.TemporaryDirectory(prefix="tidegate-replay-") as scratch:
        try:
            while recording.cursor < last:
                processes += 1
                begin = recording.cursor
                process = _Process(recording, session, Path(scratch), again, strategy_maker, progress)
                try:
                    await process.run()
                except ProcessDied:
                    process.end()
                finally:
                    recomputed += process.recomputed
                if recording.cursor == begin:
                    raise recording.missing()
        except Differs as found:
            difference = found.difference
    seconds = time.perf_counter() - began
    done = recording.records[: recording.cursor]
    kinds: dict[str, int] = {}
    for record in done:
        kinds[records.kind_of(record)] = kinds.get(records.kind_of(record), 0) + 1
    return ReplayReport(
        session_id=name,
        equal=difference is None,
        entries=len(done),
        given=recording.given,
        processes=processes,
        records=dict(sorted(kinds.items())),
        seconds=seconds,
        quotes_per_second=(kinds.get("quote", 0) + kinds.get("heartbeat", 0)) / seconds,
        recomputed=recomputed,
        difference=difference,
    )


async def _nothing() -> None:
    """Before the session is wired there is nothing to keep up."""


class _Process:
    """One life of the recorded trader: from its start to its end or its death."""

    def __init__(
        self,
        recording: Recording,
        session: Path,
        scratch: Path,
        again: Predictor | None,
        strategy_maker: StrategyMaker | None,
        progress: Progress | None,
    ) -> None:
        opened = recording.current
        if not isinstance(opened, records.SessionOpened):
            raise recording.missing()
        if not opened.config:
            raise BadInputError(
                f"session {opened.session_id} was recorded before journals said their configuration: "
                "it cannot be replayed"
            )
        self._recording = recording
        self._opened = opened
        config = TraderConfig.from_content(opened.config, scratch, session / START)
        self._config = reading_copy(config, session)
        self._instruments = {item.name: item for item in opened.specifications}
        self._strategy_maker = strategy_maker
        self._state, closed = self._fold()
        self._steps = [step_of_record(record, len(self._config.instruments)) for record in closed]
        self._latency, self._metrics = LatencyRecorder(), TraderMetrics()
        self._clock = ReplayClock(recording)
        self._predictor = RecordedPredictor(recording, self._state, again)
        self._tick: Callable[[], Awaitable[None]] = _nothing
        self._feed = ReplayFeed(recording, self._config.instruments, self._between)
        self._broker = ReplayBroker(recording, self._instruments, opened.broker, self._state)
        self._desk = Desk(
            self._broker,
            _Comparing(recording, progress),
            self._clock,
            self._state,
            self._instruments,
            self._config.risk,
            self._config.account_currency,
            self._latency,
            self._metrics,
        )
        self._desk.risk.returns.replay(closed)
        recording.inject = self._inject

    @property
    def recomputed(self) -> int:
        """How many predictions were made again."""
        return self._predictor.recomputed

    def _fold(self) -> tuple[SessionState, list[records.StepClosed]]:
        """Rebuild what a starting process reads from its journal."""
        state = SessionState()
        steps: list[records.StepClosed] = []
        for record in self._recording.records[: self._recording.cursor]:
            state.apply(record)
            if isinstance(record, records.StepClosed):
                steps.append(record)
        return state, steps

    def _inject(self, record: records.AnyRecord) -> None:
        if isinstance(record, records.BrokerSaid):
            self._desk.take(record.event, record.source)
        else:
            self._desk.commit(record)

    async def run(self) -> None:
        """Replay until the process ended.

        Raises:
            ProcessDied: it did not end by itself.
            Differs: something else was made than recorded.
        """
        recording, config = self._recording, self._config
        degradation = Degradation(self._desk, self._clock, self._metrics)
        strategy = self._strategy(degradation)
        upkeep = self._upkeep(degradation)
        for step in self._steps:
            strategy.observe(step)
        recording.give()  # the start itself
        recording.give_while(is_reconciliation)
        if recording.ends_here():
            raise ProcessDied
        assembler, source = make_assembler(self._config, self._instruments)
        loop = TradingLoop(
            config,
            self._clock,
            self._feed,
            self._desk,
            strategy,
            StepRunner(config, self._clock, self._desk, strategy, degradation, upkeep, self._latency, self._metrics),
            assembler,
            source,
            RecordedBackfill(recording, self._broker, config.market, self._instruments, config.bar_seconds, source),
            OpenGuard(config.instruments, config.feed, jumps=False),
            upkeep,
            self._metrics,
        )
        try:
            await loop.run(await self._feed.prime(), self._steps[-1] if self._steps else None)
        except TidegateError as error:
            raise IntegrityError(f"the replay ended at entry {recording.cursor + 1}: {error.message}") from None
        self.end()

    def end(self) -> None:
        """Take in what stands after the last event: the final comparison, the end, what a person wrote after it."""
        recording = self._recording
        recording.give_while(
            lambda record: (
                is_reconciliation(record)
                or isinstance(record, records.SessionClosed | records.Degraded)
                or (isinstance(record, records.RiskStateChanged) and record.by_hand)
            )
        )
        if isinstance(recording.current, records.SettledByHand):
            # A command acted in the trader's place: it had no quotes and no loop, so there is nothing to make again.
            recording.give_while(lambda record: not isinstance(record, records.SessionOpened))
        if not recording.ends_here():
            raise recording.missing()

    def _strategy(self, degradation: Degradation) -> Strategy:
        if self._strategy_maker is not None:
            return self._strategy_maker(self._desk, degradation)
        if not self._config.state_path.exists():
            raise BadInputError(
                f"{self._config.state_path} is missing: without the first feature state nothing follows"
            )
        return ModelStrategy(
            self._config,
            self._desk,
            self._predictor,
            FeatureWindow(self._config, self._state.features_saved),
            degradation,
            self._metrics,
            self._config.session_directory / LIVE_FEATURES,
        )

    def _upkeep(self, degradation: Degradation) -> ReplayUpkeep:
        config, desk, directory = self._config, self._desk, self._config.session_directory
        seconds = 86_400.0 if config.market is BarKind.FIXING else float(config.bar_seconds)
        executor = PlanExecutor(config.execution, desk, self._clock, self._instruments, seconds)
        kill_switch = KillSwitch(directory / f"kill-switch-{self._recording.cursor}.json", desk, self._clock)

        async def stop_plans(words: str) -> None:
            await executor.stop_all(PlanOutcome.STOPPED, words)

        kill_switch.before_cancelling.append(stop_plans)
        upkeep = ReplayUpkeep(
            kill_switch,
            executor,
            Reconciler(config.reconciliation, self._broker, desk, self._clock, degradation, live=False),
            desk,
            degradation,
            self._clock,
            self._feed,
            directory,
            config.risk.stale_price_seconds,
        )
        upkeep.recording = self._recording
        self._tick = upkeep.tick
        return upkeep

    async def _between(self) -> None:
        await self._tick()
