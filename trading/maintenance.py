"""The parts that run after every event of a session, wired together."""

from core.clock import Clock
from core.domain import BarKind, Instrument
from trading.brokers.interface import Broker
from trading.config import TraderConfig
from trading.control.kill_switch import KillSwitch
from trading.control.sessions import acknowledgement_path
from trading.degradation import Degradation
from trading.desk import Desk
from trading.execution.executor import PlanExecutor
from trading.execution.plan import PlanOutcome
from trading.feeds.clock_watch import ClockWatch
from trading.feeds.interface import Feed
from trading.following import EventFollower
from trading.outcome import JOURNAL
from trading.reconciliation.continuous import Reconciler
from trading.upkeep import Upkeep


def make_upkeep(
    config: TraderConfig,
    broker: Broker,
    feed: Feed,
    clock: Clock,
    speed: float,
    desk: Desk,
    degradation: Degradation,
    instruments: dict[str, Instrument],
) -> Upkeep:
    """Wire what runs after every event; a live session also watches clock and streams, and follows the broker."""
    live = config.follow_events
    directory = config.session_directory
    path = config.kill_switch_path or directory / "control" / "kill-switch.json"
    seconds = 86_400.0 if config.market is BarKind.FIXING else float(config.bar_seconds)
    executor = PlanExecutor(config.execution, desk, clock, instruments, seconds)
    kill_switch = KillSwitch(path, desk, clock, acknowledgement_path(directory))

    async def stop_plans(words: str) -> None:
        await executor.stop_all(PlanOutcome.STOPPED, words)

    kill_switch.before_cancelling.append(stop_plans)
    reconciler = Reconciler(config.reconciliation, broker, desk, clock, degradation, live)
    upkeep = Upkeep(
        kill_switch,
        executor,
        reconciler,
        desk,
        degradation,
        clock,
        feed,
        directory / JOURNAL,
        config.risk.stale_price_seconds,
    )
    if live:
        upkeep.watch = ClockWatch(clock, degradation, speed)
        upkeep.follower = EventFollower(broker, desk, degradation)
    return upkeep
