"""Moves the market clock by the wall's when nobody else does: in real time, or faster."""

import asyncio
import time

from core.logging import get_logger
from trading.practice.config import ClockMode
from trading.practice.feeds.live import LiveFeed
from trading.practice.venue import Venue

log = get_logger("practice")

_NANOSECONDS = 1e9
_LONGEST_DELAY_NS = 60 * 1_000_000_000


async def _keep_time(venue: Venue) -> None:
    """Do what is due by itself while no quote comes: a live feed is silent over the weekend."""
    while True:
        await asyncio.sleep(1.0)
        now = time.time_ns()
        if venue.exchange.next_due_ns() <= now or venue.hours_changed(now):
            venue.run_to(now)


async def run_clock(venue: Venue) -> None:
    """Publish the feed's ticks when they are due, until the feed ends.

    Accelerated: ``speed`` seconds of the market pass in one of the wall, counted from now, so that a pause of the
    process is caught up, tick by tick. Real: the market's time is the wall's; ticks due while the server was away, or
    stopped for more than a minute, are skipped. A live feed brings its own ticks.
    """
    if isinstance(venue.feed, LiveFeed):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(venue.feed.run(venue.publish, lambda: list(venue.exchange.book.quotes.values())))
            tasks.create_task(_keep_time(venue))
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
        if real and market_now - due > _LONGEST_DELAY_NS:
            log.warning("the server stood still; what the market did meanwhile is left out")
            venue.skip_to(market_now)
            continue
        venue.run_to(due)
        await asyncio.sleep(0)  # requests come between ticks
    log.info("the feed has ended; the last quotes stand", ticks=venue.tick_count)
