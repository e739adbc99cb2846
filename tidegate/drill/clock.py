"""The trader's clock beside an accelerated practice broker: market time that runs faster than the wall's."""

import asyncio
import time
from typing import Self

import aiohttp

from core.clock import NANOSECONDS, from_rfc3339
from core.domain import Heartbeat, Quote
from core.errors import UnavailableError

_POLL_SECONDS = 0.001
_POLLS = 500
_SLEW_SECONDS = 0.25


class AcceleratedClock:
    """Market time as the broker's accelerated clock counts it: ``speed`` seconds in one of the machine's.

    Args:
        market_ns: market time at ``monotonic``.
        monotonic: seconds of ``time.monotonic``.
        speed: market seconds in one second.
    """

    def __init__(self, market_ns: int, monotonic: float, speed: float) -> None:
        self._market_ns = market_ns
        self._monotonic = monotonic
        self.speed = speed
        self._newest = market_ns

    @classmethod
    async def of(cls, url: str, token: str, speed: float) -> Self:
        """Set the clock by the broker's own, at one of its ticks.

        Raises:
            UnavailableError: the broker does not answer.
        """
        try:
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
                first = market = await _market_time(session, url)
                asked = time.monotonic()
                for _ in range(_POLLS):  # a new tick is where the broker's clock is known best
                    asked = time.monotonic()
                    market = await _market_time(session, url)
                    if market != first:
                        break
                    await asyncio.sleep(_POLL_SECONDS)
                return cls(market, asked, speed)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError(f"practice broker at {url} does not say what time it is: {error}") from None

    def time_ns(self) -> int:
        now = self._market_ns + round((time.monotonic() - self._monotonic) * self.speed * NANOSECONDS)
        self._newest = max(self._newest, now)
        return self._newest

    def observe(self, item: Quote | Heartbeat) -> None:
        """Stand still until a market that fell behind (its broker was started again) has caught up, as NTP slews."""
        if not isinstance(item, Quote):
            return  # the feed makes heartbeats of its own from this clock
        behind = self.time_ns() - item.time_ns
        if behind > _SLEW_SECONDS * self.speed * NANOSECONDS:
            self._market_ns -= behind

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)


async def _market_time(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/admin/state") as reply:
        return from_rfc3339(str((await reply.json())["time"]))
