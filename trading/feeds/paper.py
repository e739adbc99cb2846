"""Prices for the paper broker: whatever the feed says is matched there first and then seen by the loop."""

from collections.abc import AsyncIterator

from core.domain import Heartbeat, Quote
from trading.brokers.paper import PaperBroker
from trading.feeds.interface import Feed


class PaperFeed:
    """Wraps a feed: a quote is matched before anybody sees it, as at a real broker."""

    def __init__(self, inner: Feed, broker: PaperBroker) -> None:
        self._inner = inner
        self._broker = broker

    async def prime(self) -> list[Quote | Heartbeat]:
        standing = await self._inner.prime()
        for item in standing:
            if isinstance(item, Quote):
                self._broker.on_quote(item)
        return standing

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        async for item in self._inner.events():
            if isinstance(item, Quote):
                self._broker.on_quote(item)
            else:
                self._broker.on_heartbeat(item)
            yield item
