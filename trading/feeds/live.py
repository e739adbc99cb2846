"""The live feed: the broker's price stream, and the clock where the stream is silent."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from core.clock import NANOSECONDS, Clock
from core.domain import Heartbeat, Quote
from core.errors import UnavailableError
from trading.brokers.interface import Broker

GRACE_SECONDS = 0.5


class LiveFeed:
    """Yields the broker's quotes and heartbeats; in silence a heartbeat of its own, so that boundaries close in time.

    Args:
        broker: whose price stream is read.
        clock: the machine's.
        instruments: to subscribe to.
        silence_seconds: without an item for this long the feed says what time it is.
        grace_seconds: how far its own heartbeats stay behind the clock, for quotes that are still on their way.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        instruments: Sequence[str],
        silence_seconds: float = 0.5,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._instruments = tuple(instruments)
        self._silence = silence_seconds
        self._grace_ns = round(grace_seconds * NANOSECONDS)
        self._stream: AsyncIterator[Quote | Heartbeat] | None = None
        self._pending: asyncio.Task[Quote | Heartbeat] | None = None
        self._heard_ns = 0

    @property
    def heard_ns(self) -> int:
        """When the stream last said anything: a quote, or a heartbeat that was not this feed's own."""
        return self._heard_ns

    async def prime(self) -> list[Quote | Heartbeat]:
        self._stream = self._broker.quotes(self._instruments)
        await self._broker.quotes_ready()
        standing: list[Quote | Heartbeat] = []
        missing = set(self._instruments)
        while missing:
            item = await anext(self._stream)
            self._heard_ns = self._clock.time_ns()
            standing.append(item)
            if isinstance(item, Quote):
                missing.discard(item.instrument)
        return standing

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        assert self._stream is not None, "prime the feed first"
        stream = self._stream
        try:
            while True:
                if self._pending is None:
                    self._pending = asyncio.ensure_future(_take(stream))
                done, _ = await asyncio.wait({self._pending}, timeout=self._silence)
                if not done:
                    now = self._clock.time_ns()
                    yield Heartbeat(now - self._grace_ns, now)
                    continue
                finished, self._pending = self._pending, None
                item = finished.result()
                self._heard_ns = self._clock.time_ns()
                yield item
        finally:
            if self._pending is not None:
                self._pending.cancel()


async def _take(stream: AsyncIterator[Quote | Heartbeat]) -> Quote | Heartbeat:
    try:
        return await anext(stream)
    except StopAsyncIteration:
        raise UnavailableError("the price stream ended: the connection was closed") from None
