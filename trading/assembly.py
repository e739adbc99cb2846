"""Bars and steps of a session, by the market it trades: fixings or time bars."""

from core.domain import BarKind, Instrument
from trading.bars import BarBuilder, BarSource, FixingSampler
from trading.calendar import BarSchedule, FixingSchedule, Schedule
from trading.config import TraderConfig
from trading.steps import StepAssembler


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
