"""Bars and steps of a session, by the market it trades (fixings or time bars), and the way its quotes come in."""

from core.clock import Clock
from core.domain import BarKind, Instrument
from trading.bars import BarBuilder, BarSource, FixingSampler
from trading.brokers.interface import Broker
from trading.brokers.paper import PaperBroker
from trading.calendar import BarSchedule, FixingSchedule, Schedule
from trading.config import TraderConfig
from trading.desk import Desk
from trading.feeds.blocks import BlockFeed
from trading.feeds.guard import QuoteGuard
from trading.feeds.interface import Feed
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.metrics import TraderMetrics
from trading.steps import StepAssembler
from trading.upkeep import Upkeep


def make_assembler(config: TraderConfig, instruments: dict[str, Instrument]) -> tuple[StepAssembler, BarSource]:
    """Return what makes steps of quotes, and what makes bars of them, for the market of a session."""
    if config.market is BarKind.FIXING:
        schedule: Schedule = FixingSchedule(config.fixing_time, config.fixing_zone)
        oldest = round(config.risk.stale_price_seconds * 1e9)
        source: BarSource = FixingSampler(instruments, schedule, oldest)
    else:
        bars = BarSchedule(config.bar_seconds)
        schedule, source = bars, BarBuilder(instruments, bars, bars.length_ns)
    return StepAssembler(config.instruments, source, schedule, config.step_timeout_seconds), source


def quieten(
    feed: Feed,
    broker: Broker,
    clock: Clock,
    guard: QuoteGuard,
    assembler: StepAssembler,
    source: BarSource,
    desk: Desk,
    upkeep: Upkeep,
    metrics: TraderMetrics,
) -> Feed:
    """Return the feed, or for a paper session on blocks of history the one that takes many quotes in at a time."""
    if not (isinstance(feed, PaperFeed) and isinstance(feed.inner, BlockFeed) and isinstance(source, BarBuilder)):
        return feed
    if not (isinstance(broker, PaperBroker) and isinstance(clock, LockstepClock)):
        return feed
    from trading.feeds.quiet import QuietFeed  # compiled code: only where there is history to run

    return QuietFeed(feed, feed.inner, broker, clock, guard, assembler, source, desk, upkeep, metrics)
