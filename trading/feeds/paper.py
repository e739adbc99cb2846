"""Prices for the paper broker: whatever the feed says is matched there first and then seen by the loop."""

from collections.abc import AsyncIterator

from core.clock import Clock, LiveClock
from core.domain import Heartbeat, Quote
from trading.brokers.paper import PaperBroker
from trading.feeds.guard import QuoteGuard
from trading.feeds.interface import Feed


class PaperFeed:
    """Wraps a feed: a quote is matched before anybody sees it, as at a real broker.

    Args:
        inner: where prices come from.
        broker: where they are matched.
        guard: keeps what is no price away from the exchange; the loop gets it all the same, and refuses it by itself.
        clock: of the session; needed with a guard.
    """

    def __init__(
        self, inner: Feed, broker: PaperBroker, guard: QuoteGuard | None = None, clock: Clock | None = None
    ) -> None:
        self.inner = inner
        self._broker = broker
        self.guard = guard
        self._clock = clock or LiveClock()

    @property
    def heard_ns(self) -> int:
        """When the inner feed last said anything."""
        return self.inner.heard_ns

    async def prime(self) -> list[Quote | Heartbeat]:
        standing = await self.inner.prime()
        for item in standing:
            if isinstance(item, Quote):
                self.match(item)
        return standing

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        unguarded, match = self.guard is None, self._broker.on_quote
        async for item in self.inner.events():
            if isinstance(item, Quote):
                if unguarded:
                    match(item)
                else:
                    self.match(item)
            else:
                self._broker.on_heartbeat(item)
            yield item

    def match(self, quote: Quote) -> None:
        """Let the exchange see a quote, unless it is no price."""
        if self.guard is None or self.guard.refusal(quote, self._clock.time_ns()) is None:
            self._broker.on_quote(quote)
