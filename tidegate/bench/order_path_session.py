"""One live session of the order-path benchmark: the trader as it is, with a stamp at the border of each hop.

Nothing is left out or replaced: ``run_trader`` with the OANDA adapter, its streams, feed, bars, feature kernel, model
strategy, risk, journal, ledger, status server and upkeep. The strategy's methods and the desk's ``send`` are timed from
outside.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.domain import BarKind, OrderRequest, Predictor
from core.settings import OandaSettings
from features.live import LiveFeatures
from features.sets import feature_set
from tidegate.bench.order_path_floors import Floors
from tidegate.bench.order_path_model import FEATURE_SET, LOOKBACK, STRATEGY
from trading.brokers.oanda import OandaBroker
from trading.config import TraderConfig
from trading.degradation import Degradation
from trading.desk import Desk
from trading.feeds.accelerated import AcceleratedClock
from trading.feeds.guard import GuardParameters
from trading.feeds.live import GRACE_SECONDS, LiveFeed
from trading.loop import TradingLoop
from trading.metrics import TraderMetrics
from trading.reconciliation.parameters import ReconciliationParameters
from trading.risk.parameters import RiskParameters
from trading.steps import Step
from trading.strategy.decide import Decision
from trading.strategy.interface import Portfolio
from trading.strategy.model import ModelStrategy
from trading.strategy.sizing import SizingParameters
from trading.summary import SessionSummary
from trading.trader import run_trader
from trading.window import FeatureWindow

INSTRUMENT = "EUR_USD"
SPEED = 600.0  # market seconds in one of the machine's: a tick every three of them makes 200 a second
BAR_SECONDS = 15  # of the market: five ticks, 40 decisions a second
WARM_ORDERS = 50  # not counted: connections and caches fill
HOPS = (
    "tick_to_bar",
    "features",
    "prediction",
    "decision",
    "risk",
    "journal",
    "request",
    "broker",
    "synchronisation",
    "decision_to_bytes",
    "decision_to_bytes_less_disk",
    "tick_to_bytes",
    "tick_to_accepted",
)
COMPARED = ("prediction", "decision_to_bytes", "decision_to_bytes_less_disk", "tick_to_accepted")
_FLOORS_AFTER_SECONDS = 0.008  # after the step: in the quiet before the next decision
_STALE_SECONDS = 1800.0  # of the market: three of the machine's


def config(folder: Path, service: bool) -> TraderConfig:
    """Return the session: limits out of the way of an order at every second bar, everything else as it comes."""
    start = folder / "features.npz"
    LiveFeatures(feature_set(FEATURE_SET), (INSTRUMENT,), LOOKBACK).save(start)
    return TraderConfig(
        session_id="bench",
        session_directory=folder / "session",
        account_key="practice:bench",
        market=BarKind.BAR,
        instruments=(INSTRUMENT,),
        feature_set=FEATURE_SET,
        state_path=start,
        lookback=LOOKBACK,
        strategy=STRATEGY,
        sizing=SizingParameters(maximum_leverage_per_instrument=0.02),
        risk=RiskParameters(maximum_orders_per_minute=100_000, stale_price_seconds=_STALE_SECONDS),
        feed=GuardParameters().at_speed(SPEED),
        reconciliation=ReconciliationParameters().at_speed(SPEED),
        bar_seconds=BAR_SECONDS,
        follow_events=True,
        simulated=True,
        prediction_service=service,
    )


class Stamps:
    """Times of the step under way, and what came of them."""

    def __init__(self, orders: int) -> None:
        self.wanted = orders + WARM_ORDERS
        self.orders = 0
        self.samples: dict[str, list[int]] = {hop: [] for hop in HOPS}
        self.closed = self.featured = self.asked = self.predicted = 0
        self.answered_by: dict[str, int] = {}
        self.synchronised: list[tuple[int, int]] = []  # end and length of the loop's waits for the disk
        self.loop: TradingLoop | None = None
        self.phase_of: Callable[[], str] | None = None  # asked with each order where phases are compared
        self.phases: dict[str, dict[str, list[int]]] = {}

    def add(self, received: int, given: int, sent: int, answered: int, risk: int, journal: int, disk: int) -> None:
        """Take in one order that was accepted; ``disk`` is how long it waited for it."""
        if not given < sent < answered or not received:
            return
        self.orders += 1
        if self.orders > WARM_ORDERS:
            samples = self.samples
            samples["tick_to_bar"].append(self.closed - received)
            samples["features"].append(self.featured - self.closed)
            samples["prediction"].append(self.predicted - self.asked)
            samples["decision"].append(given - self.predicted)
            samples["risk"].append(risk)
            samples["journal"].append(journal)
            samples["request"].append(sent - given - risk - journal)
            samples["broker"].append(answered - sent)
            samples["synchronisation"].append(disk)
            samples["decision_to_bytes"].append(sent - given)
            samples["decision_to_bytes_less_disk"].append(sent - given - disk)
            samples["tick_to_bytes"].append(sent - received)
            samples["tick_to_accepted"].append(answered - received)
            if self.phase_of is not None and (phase := self.phase_of()):
                kept = self.phases.setdefault(phase, {name: [] for name in COMPARED})
                for name in COMPARED:
                    kept[name].append(samples[name][-1])
        if self.orders >= self.wanted and self.loop is not None:
            self.loop.stop()


class _TimedStrategy(ModelStrategy):
    """The model strategy, saying when its parts began and ended; the floors are measured between its steps."""

    def attach(self, stamps: Stamps, floors: Floors) -> None:
        """Say where the stamps go."""
        self._stamps = stamps
        self._floors = floors
        self._tasks: set[asyncio.Task[None]] = set()

    def observe(self, step: Step) -> None:
        """Observe as ever."""
        self._stamps.closed = time.perf_counter_ns()
        super().observe(step)
        self._stamps.featured = time.perf_counter_ns()

    async def prepare(self, step: Step) -> None:
        """Ask as ever."""
        self._stamps.asked = time.perf_counter_ns()
        await super().prepare(step)
        self._stamps.predicted = time.perf_counter_ns()

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> Sequence[Decision]:
        """Decide as ever."""
        for prediction in self._predictions.values():
            name = prediction.answered_by.value
            self._stamps.answered_by[name] = self._stamps.answered_by.get(name, 0) + 1
        return await super().decide(step, now_ns, portfolio)

    def settle(self, step: Step, now_ns: int) -> None:
        """Settle as ever."""
        super().settle(step, now_ns)
        task = asyncio.get_running_loop().create_task(self._take_floors())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_floors(self) -> None:
        await asyncio.sleep(_FLOORS_AFTER_SECONDS)
        loop = self._stamps.loop
        if self._stamps.orders > WARM_ORDERS and loop is not None and not loop.stopping:
            await self._floors.take()


def _timed_send(desk: Desk, broker: OandaBroker, stamps: Stamps) -> None:
    """Note when the desk was given an order and when the broker's reply was taken in."""
    send = desk.send

    async def timed(order: OrderRequest, rates: Mapping[str, float], equity: float, received: int) -> bool:
        stamps.synchronised.clear()
        given = time.perf_counter_ns()
        sent = await send(order, rates, equity, received)
        answered = time.perf_counter_ns()
        if sent:
            risk, journal = (int(desk.latency.samples(hop)[-1]) for hop in ("risk", "journal"))
            written = broker.request_written_ns
            disk = sum(length for end, length in stamps.synchronised if end <= written)
            stamps.add(received, given, written, answered, risk, journal, disk)
        return sent

    setattr(desk, "send", timed)  # noqa: B010  (an instance's method, for this run)


@contextmanager
def _timed_disk(stamps: Stamps) -> Generator[None]:
    """Note how long the loop's own thread waits in ``fdatasync``; the journal's group commits have theirs."""
    synchronise, loop = os.fdatasync, threading.get_ident()

    def timed(descriptor: int) -> None:
        began = time.perf_counter_ns()
        synchronise(descriptor)
        if threading.get_ident() == loop:
            ended = time.perf_counter_ns()
            stamps.synchronised.append((ended, ended - began))

    os.fdatasync = timed
    try:
        yield
    finally:
        os.fdatasync = synchronise


async def trade(
    orders: int,
    settings: OandaSettings,
    start_ns: int,
    predictor: Predictor,
    floors: Floors,
    folder: Path,
    service: bool,
    phase_of: Callable[[], str] | None = None,
) -> tuple[Stamps, SessionSummary]:
    """Run the session until so many orders were counted; ``phase_of`` names the phase that an order falls into."""
    chosen, stamps = config(folder, service), Stamps(orders)
    stamps.phase_of = phase_of
    clock = AcceleratedClock(start_ns, SPEED)
    broker = OandaBroker(settings, clock)
    await broker.connect()
    window = FeatureWindow(chosen, None)
    metrics = TraderMetrics()

    def strategy(desk: Desk, degradation: Degradation) -> ModelStrategy:
        _timed_send(desk, broker, stamps)
        made = _TimedStrategy(chosen, desk, predictor, window, degradation, metrics, folder / "rows.npz")
        made.attach(stamps, floors)
        return made

    def started(loop: TradingLoop, _: object) -> None:
        stamps.loop = loop

    try:
        with _timed_disk(stamps):
            summary = await run_trader(
                chosen,
                broker,
                predictor,
                clock,
                LiveFeed(broker, clock, chosen.instruments, grace_seconds=GRACE_SECONDS * SPEED),
                f"sqlite:///{folder / 'ledger.sqlite'}",
                handle_signals=False,
                started=started,
                strategy=strategy,
            )
    finally:
        await broker.close()
    return stamps, summary
