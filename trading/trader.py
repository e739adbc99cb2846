"""Run one trading session: open or recover it, trade, reconcile, sum up."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.clock import Clock, LiveClock, SteadyClock
from core.crash_points import reach
from core.domain import BarKind, Heartbeat, Instrument, Predictor, Quote
from core.errors import ConfigurationError, RefusedError, TidegateError
from core.journal import Journal
from core.logging import get_logger
from features.publish import FeaturePublisher
from trading import records
from trading.assembly import make_assembler, quieten
from trading.backfill import Backfill
from trading.brokers.interface import Broker
from trading.collection import QuietCollection
from trading.config import TraderConfig
from trading.control.http import routes as control_routes
from trading.degradation import Degradation
from trading.desk import Desk
from trading.execution.session_profile import SessionProfile
from trading.feeds.accelerated import Paced
from trading.feeds.guard import QuoteGuard
from trading.feeds.interface import Feed
from trading.following import note_health
from trading.latency import LatencyRecorder
from trading.ledger.thread import LedgerThread
from trading.loop import TradingLoop
from trading.maintenance import make_upkeep
from trading.metrics import TraderMetrics
from trading.outcome import JOURNAL, LIVE_FEATURES, summarise
from trading.picture import describe
from trading.reconciliation.compare import ReconciliationResult
from trading.reconciliation.start import reconcile
from trading.state import SessionState
from trading.status import StatusServer
from trading.step_runner import StepRunner
from trading.steps import Step, step_of_record
from trading.strategy.interface import Strategy
from trading.strategy.model import ModelStrategy
from trading.summary import SessionSummary, SummaryCollector, read_state, write_summary
from trading.upkeep import TICK_SECONDS, Upkeep
from trading.window import FeatureWindow

_log = get_logger("trading")
SWITCH_SECONDS = 0.0002
SUMMARY = "summary.json"

StrategyMaker = Callable[[Desk, Degradation], Strategy]


async def run_trader(
    config: TraderConfig,
    broker: Broker,
    predictor: Predictor | None,
    clock: Clock,
    feed: Feed,
    database_url: str | None = None,
    handle_signals: bool = True,
    started: Callable[[TradingLoop, StatusServer | None], None] | None = None,
    publisher: FeaturePublisher | None = None,
    strategy: StrategyMaker | None = None,
    control_token: SecretStr | None = None,
) -> SessionSummary:
    """Trade a session until the feed ends, SIGTERM or SIGINT comes, and return its summary.

    The broker must be connected and is left open. An existing journal in the session's directory is recovered: orders
    with unknown outcome are settled with the broker, positions and features are rebuilt, and trading goes on.

    Args:
        config: the session.
        broker: one account, connected.
        predictor: who answers the model strategy; without an answer no new risk is taken. A ``strategy`` of its own
            may do without.
        clock: of the session; the feed's clock in lockstep.
        feed: quotes and heartbeats.
        database_url: of the ledger; None keeps the journal only and takes no lease.
        handle_signals: whether SIGTERM and SIGINT end the session cleanly.
        publisher: takes each live feature row for the online store; None keeps them in the session only.
        control_token: lets the kill switch be turned over HTTP; None leaves that out.
        strategy: makes what decides, from the desk and its degradations; None: the registered model's strategy.
        started: called once with the loop and the status server when trading is about to begin.

    Returns:
        The summary of the whole session, restarts included; also written to ``summary.json``.

    Raises:
        RefusedError: another trader holds the account or writes this journal, or the session is for other settings.
        UnavailableError: broker, feed, disk or (on a new session) the database does not answer.
        IntegrityError: the journal is damaged.
        BadInputError: feature state or instruments do not fit.
    """
    config.check()
    profile = SessionProfile.read(config)
    # A write to disk gives the interpreter lock away; other threads must hand it back before an order gets old.
    sys.setswitchinterval(SWITCH_SECONDS)
    journal_directory = config.session_directory / JOURNAL
    with Journal(journal_directory, config.journal_segment_bytes) as journal:
        trader = _Trader(
            profile, broker, predictor, clock, feed, journal, journal_directory, publisher, strategy, control_token
        )
        return await trader.run(database_url, handle_signals, started)


class _Trader:
    """The parts of one run, wired."""

    def __init__(
        self,
        profile: SessionProfile,
        broker: Broker,
        predictor: Predictor | None,
        clock: Clock,
        feed: Feed,
        journal: Journal,
        journal_directory: Path,
        publisher: FeaturePublisher | None,
        strategy_maker: StrategyMaker | None,
        control_token: SecretStr | None,
    ) -> None:
        self.profile = profile
        self.config = config = profile.config
        self.publisher = publisher
        self.broker = broker
        self.predictor = predictor
        self.strategy_maker = strategy_maker
        self.control_token = control_token
        # One time for what is decided in one go: a replay reads it from the journal.
        self.clock = SteadyClock(clock) if isinstance(clock, LiveClock | Paced) else clock
        self.feed = feed
        self.journal = journal
        self.journal_directory = journal_directory
        self.collector = SummaryCollector(config.account_currency)
        self.metrics = TraderMetrics()
        self.metrics.before_reading.append(lambda: note_health(broker, self.metrics))
        self.latency = LatencyRecorder()
        self.ledger: LedgerThread | None = None
        self.lease_lost = False
        self.loop: TradingLoop | None = None
        self.desk: Desk | None = None
        self.degradation: Degradation | None = None
        self.upkeep: Upkeep | None = None
        self.speed = clock.speed if isinstance(clock, Paced) else 1.0  # its seconds in one of the machine's

    async def run(
        self,
        database_url: str | None,
        handle_signals: bool,
        started: Callable[[TradingLoop, StatusServer | None], None] | None,
    ) -> SessionSummary:
        state, steps = read_state(self.journal_directory, self.collector)
        resuming = state.opened
        if resuming and state.config_digest != self.config.digest():
            raise RefusedError(
                f"session {self.config.session_id} was begun with other settings: name a new session, or restore them"
            )
        self.config = self.profile.keep()
        make_strategy = self._strategy_maker(state)
        instruments = await self._instruments()
        token = await self._open_ledger(database_url, resuming)
        self.desk = desk = Desk(
            self.broker,
            self.journal,
            self.clock,
            state,
            instruments,
            self.config.risk,
            self.config.account_currency,
            self.latency,
            self.metrics,
        )
        self.collector.follow(desk)
        desk.risk.returns.replay(steps)
        self.metrics.before_reading.append(self._measure_risk)
        self.degradation = degradation = Degradation(desk, self.clock, self.metrics)
        strategy = make_strategy(desk, degradation)
        self.upkeep = upkeep = make_upkeep(
            self.config, self.broker, self.feed, self.clock, self.speed, desk, degradation, instruments
        )
        newest = [step_of_record(record, len(self.config.instruments)) for record in steps]
        for step in newest:
            strategy.observe(step)
        status: StatusServer | None = None
        try:
            standing = await self.feed.prime()  # first of all: it sets the clock of a lockstep session
            await self._open_session(desk, resuming, token)
            if self.ledger is not None:
                self.ledger.start()
                upkeep.ledger = self.ledger
            assembler, source = make_assembler(self.config, instruments)
            guard = QuoteGuard(self.config.instruments, self.config.feed, self.config.market is not BarKind.FIXING)
            self.loop = loop = TradingLoop(
                self.config,
                self.clock,
                quieten(self.feed, self.broker, self.clock, guard, assembler, source, desk, upkeep, self.metrics),
                desk,
                strategy,
                StepRunner(self.config, self.clock, desk, strategy, degradation, upkeep, self.latency, self.metrics),
                assembler,
                source,
                Backfill(self.broker, self.config.market, instruments, self.config.bar_seconds, source),
                guard,
                upkeep,
                self.metrics,
                TICK_SECONDS * self.speed if self.config.follow_events else None,
            )
            if self.config.status_port is not None:
                routes = (
                    control_routes(upkeep.kill_switch, self.control_token, self.clock) if self.control_token else []
                )
                status = StatusServer(self.config.status_port, self._describe, self.metrics, routes)
                await status.start()
            if started is not None:
                started(loop, status)
            ended = await self._trade(loop, standing, newest[-1] if newest else None, handle_signals)
            result = await self._final_reconciliation(desk)
            desk.commit(records.SessionClosed(ended))
            strategy.finish()
            complete = await asyncio.to_thread(self.ledger.close) if self.ledger is not None else None
            self.ledger = None
            summary = summarise(
                self.config,
                self.broker.name,
                desk,
                self.collector,
                self.latency,
                ended,
                result,
                self.journal.last_sequence,
                complete,
            )
            write_summary(self.config.session_directory / SUMMARY, summary)
            return summary
        finally:
            if status is not None:
                await status.close()
            if self.ledger is not None:
                await asyncio.to_thread(self.ledger.close, 5.0)

    def _strategy_maker(self, state: SessionState) -> StrategyMaker:
        """Return what makes the model strategy; its features are restored now, before anybody is connected to."""
        if self.strategy_maker is not None:
            return self.strategy_maker
        if self.predictor is None:
            raise ConfigurationError("a session without a strategy of its own needs a predictor")
        predictor = self.predictor
        window = FeatureWindow(self.config, state.features_saved, self.publisher)
        path = self.config.session_directory / LIVE_FEATURES
        return lambda desk, degradation: ModelStrategy(
            self.config, desk, predictor, window, degradation, self.metrics, path
        )

    async def _instruments(self) -> dict[str, Instrument]:
        offered = await self.broker.instruments()
        missing = [name for name in self.config.instruments if name not in offered]
        if missing:
            raise RefusedError(f"broker {self.broker.name} does not offer {', '.join(missing)}: trade others")
        return {name: offered[name] for name in self.config.instruments}

    async def _open_ledger(self, database_url: str | None, resuming: bool) -> int:
        if database_url is None:
            return 0
        running = asyncio.get_running_loop()
        self.ledger = LedgerThread(
            database_url,
            self.journal,
            self.journal_directory,
            self.config.session_id,
            self.config.account_key,
            f"{socket.gethostname()}:{self.config.session_directory.absolute()}",
            lambda available, words: _call_soon(running, lambda: self._database_changed(available, words)),
            lambda: _call_soon(running, self._stop_for_lease),
            self._is_deciding,
        )
        try:
            return await asyncio.to_thread(self.ledger.take_lease, resuming)
        except BaseException:
            self.ledger = None
            raise

    async def _open_session(self, desk: Desk, resuming: bool, token: int) -> None:
        account = await self.broker.account()
        positions = await self.broker.positions()
        digest = self.config.digest()
        if account.currency != self.config.account_currency:
            raise RefusedError(f"account is in {account.currency}, the session in {self.config.account_currency}")
        desk.commit(
            records.SessionOpened(
                session_id=self.config.session_id,
                config_digest=digest,
                strategy=self.config.strategy,
                broker=self.broker.name,
                account_key=self.config.account_key,
                instruments=self.config.instruments,
                account=account,
                positions=tuple(positions[name] for name in sorted(positions)),
                resumed=resuming,
                simulated=self.config.simulated,
                fencing_token=token,
                config=self.config.content(),
                specifications=tuple(desk.instruments[name] for name in sorted(desk.instruments)),
            )
        )
        reach("session.opened")
        if self.journal.repaired is not None:
            repaired = self.journal.repaired
            _log.warning("journal had a torn end", bytes_cut=repaired.bytes_cut, kept_as=repaired.kept_as)
        if resuming:
            result = await reconcile(self.broker, desk, self.clock, "start")
            reach("recovery.reconciled")
            _log.info("session recovered", reconciled=result.reconciled, steps=desk.state.steps)

    async def _trade(
        self, loop: TradingLoop, standing: list[Quote | Heartbeat], newest: Step | None, handle_signals: bool
    ) -> str:
        running = asyncio.get_running_loop()
        if handle_signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                running.add_signal_handler(number, loop.stop)
        assert self.upkeep is not None
        follower = self.upkeep.follower
        if follower is not None:
            follower.start()
        collection = QuietCollection() if self.config.follow_events else None
        self.upkeep.collection = collection
        try:
            with collection or contextlib.nullcontext():
                ended = await loop.run(standing, newest)
        finally:
            if handle_signals:
                for number in (signal.SIGTERM, signal.SIGINT):
                    running.remove_signal_handler(number)
            if follower is not None:
                await follower.close()
            await self.upkeep.reconciler.close()
        if self.lease_lost:
            raise RefusedError(f"account {self.config.account_key} was taken by another trader: this one stopped")
        return ended

    async def _final_reconciliation(self, desk: Desk) -> ReconciliationResult | None:
        try:
            return await reconcile(self.broker, desk, self.clock, "end")
        except TidegateError as error:
            _log.error("no final reconciliation", words=error.message)
            return None

    def _database_changed(self, available: bool, words: str) -> None:
        if self.degradation is not None:
            if available:
                self.degradation.end("database")
            else:
                self.degradation.begin("database", words)

    def _is_deciding(self) -> bool:
        """Whether a step is between its bars and its last order."""
        step = self.desk.state.step if self.desk is not None else None
        return step is not None and not step.done

    def _stop_for_lease(self) -> None:
        self.lease_lost = True
        if self.loop is not None:
            self.loop.stop()

    def _measure_risk(self) -> None:
        """Bring the value at risk up to date for whoever reads the metrics: off the tick path."""
        if self.desk is not None:
            figures = self.desk.risk.figures(self.desk.state, self.desk.rates())
            if figures is not None:
                self.metrics.value_at_risk.labels("parametric").set(figures.parametric)
                self.metrics.value_at_risk.labels("historical").set(figures.historical)

    def _describe(self) -> dict[str, Any]:
        assert self.desk is not None and self.degradation is not None and self.upkeep is not None
        lag = self.journal.last_sequence - self.ledger.watermark if self.ledger is not None else None
        if lag is not None:
            self.metrics.ledger_lag.set(lag)
        picture = describe(
            self.config, self.broker.name, self.clock, self.desk, self.degradation, self.upkeep, self.collector
        )
        return (
            {"healthy": not self.lease_lost}
            | picture
            | {
                "journal_sequence": self.journal.last_sequence,
                "ledger_lag_entries": lag,
                "latencies": self.latency.summary(),
            }
        )


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        _log.info("the trader's event loop is closed: a message of the ledger thread is dropped")
