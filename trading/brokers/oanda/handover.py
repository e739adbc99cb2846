"""From a stream thread to the event loop: whole batches, one wake-up for many items, nothing dropped."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")

_HIGH_WATER = 65_536  # items waiting; past it the thread stops reading and TCP slows the sender
_FAIRNESS = 256  # items handed out without a pause before the rest of the loop gets its turn


class Handover(AsyncIterator[Item], Generic[Item]):
    """An async iterator fed by one thread.

    ``put`` is called by the thread, everything else by the event loop that created the object.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[Item] = deque()
        self._room = threading.Condition()
        self._scheduled = False
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._handed_out = 0

    def put(self, items: Sequence[Item]) -> bool:
        """Hand over items in order; blocks while too many wait. ``False``: the consumer is gone."""
        with self._room:
            while len(self._items) >= _HIGH_WATER and not self._ended:
                self._room.wait(0.5)
            if self._ended:
                return False
            self._items.extend(items)
            if self._scheduled:
                return True
            self._scheduled = True
        return self._call(self._wake)

    def end(self, error: BaseException | None = None) -> None:
        """Let the consumer finish what waits, then stop with ``error`` (or as an exhausted iterator)."""
        with self._room:
            if self._ended:
                return
            self._ended = True
            self._error = error
            self._room.notify_all()
        self._call(self._wake)

    def __aiter__(self) -> "Handover[Item]":
        return self

    async def __anext__(self) -> Item:
        self._handed_out += 1
        if self._handed_out % _FAIRNESS == 0:
            await asyncio.sleep(0)
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                pass
            else:
                if len(self._items) == _HIGH_WATER // 2:
                    with self._room:
                        self._room.notify_all()
                return item
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            try:
                if not self._items and not self._ended:
                    await self._waiter
            finally:
                self._waiter = None

    def _call(self, function: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: nobody is left to read
            return False
        return True

    def _wake(self) -> None:
        with self._room:
            self._scheduled = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
