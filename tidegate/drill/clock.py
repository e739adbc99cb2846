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
_SLEW_SECONDS = 0.1
_WINDOW_SECONDS = 1.0


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
        self._window = 0.0  # when the quotes began whose smallest lag is looked for; 0: with the next one
        self._least_lag = 0

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
        self._newest = max(self._newest, self._now(time.monotonic()))
        return self._newest

    def _now(self, moment: float) -> int:
        return self._market_ns + round((moment - self._monotonic) * self.speed * NANOSECONDS)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def observe(self, item: Quote | Heartbeat) -> None:
        """Follow the market's clock by its quotes, which are late at times and never early.

        Behind a quote the clock steps forward. Ahead of all quotes of a second it stands still until the market has
        caught up (the broker was started again meanwhile): time never runs back.
        """
        if not isinstance(item, Quote):
            return  # the feed makes heartbeats of its own from this clock
        moment = time.monotonic()
        lag = self._now(moment) - item.time_ns
        if lag < 0:
            self._market_ns -= lag
            lag = 0
        self._least_lag = min(self._least_lag, lag) if self._window else lag
        self._window = self._window or moment
        if moment - self._window >= _WINDOW_SECONDS:
            if self._least_lag > _SLEW_SECONDS * self.speed * NANOSECONDS:
                self._market_ns -= self._least_lag
            self._window = 0.0


async def _market_time(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/admin/state") as reply:
        return from_rfc3339(str((await reply.json())["time"]))
