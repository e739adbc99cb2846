"""An async iterator over what is put into it from the same event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Subscription(AsyncIterator[Item], Generic[Item]):
    """What one reader has not read yet."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._ended = False
        self._wake = asyncio.Event()

    def put(self, item: Item) -> None:
        """Add an item."""
        self._items.append(item)
        self._wake.set()

    def end(self) -> None:
        """Let the reader finish what waits, then stop."""
        self._ended = True
        self._wake.set()

    def __aiter__(self) -> "Subscription[Item]":
        return self

    async def __anext__(self) -> Item:
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()
