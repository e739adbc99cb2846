"""Moves the market clock by the wall's when nobody else does: in real time, or faster."""

import asyncio
import time

from core.logging import get_logger
from trading.practice.config import ClockMode
from trading.practice.venue import Venue

log = get_logger("practice")

_NANOSECONDS = 1e9


async def run_clock(venue: Venue) -> None:
    """Publish the feed's ticks when they are due, until the feed ends.

    Accelerated: ``speed`` seconds of the market pass in one of the wall, counted from now, so that a pause of the
    process is caught up. Real: the market's time is the wall's; ticks due while the server was away are skipped.
    """
    real = venue.config.clock is ClockMode.REAL
    if real:
        venue.skip_to(time.time_ns())
    speed = 1.0 if real else venue.config.speed
    wall_start, market_start = time.time_ns(), venue.exchange.book.time_ns
    if real:
        market_start = wall_start
    while (due := venue.next_tick()) is not None:
        market_now = market_start + round((time.time_ns() - wall_start) * speed)
        if due > market_now:
            await asyncio.sleep((due - market_now) / speed / _NANOSECONDS)
            continue
        venue.run_to(due)
        await asyncio.sleep(0)  # requests come between ticks
    log.info("the feed has ended; the last quotes stand", ticks=venue.tick_count)
