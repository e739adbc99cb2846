"""The two chunked streams: who listens, what they are sent, and the faults a stream can have."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

from aiohttp import web

from core.logging import get_logger
from trading.practice.faults import FaultKind, Faults
from trading.practice.replies import with_unix_times

_BACKLOG = 200_000  # lines; a reader that far behind is cut off, as a real server would do

log = get_logger("practice")


class Subscriber:
    """One open stream. ``instruments`` None: it is a transaction stream; ``unix_times``: written in seconds."""

    def __init__(self, instruments: frozenset[str] | None, unix_times: bool = False) -> None:
        self.instruments = instruments
        self._unix_times = unix_times
        self.stalled_until = 0.0
        self.dropped = False
        self._lines: list[bytes] = []
        self._wake = asyncio.Event()

    @property
    def kind(self) -> str:
        """``pricing`` or ``transactions``."""
        return "transactions" if self.instruments is None else "pricing"

    def send(self, line: bytes) -> None:
        """Queue a line."""
        self._lines.append(self.written(line))
        if len(self._lines) > _BACKLOG:
            log.warning("a stream reader fell behind and is cut off", stream=self.kind, lines=len(self._lines))
            self.drop()
        self._wake.set()

    def written(self, line: bytes) -> bytes:
        """Return a line with times in the reader's format."""
        return with_unix_times(line) if self._unix_times else line

    def drop(self) -> None:
        """End the stream without the final chunk, as a broken connection does."""
        self.dropped = True
        self._wake.set()

    def stall(self, seconds: float) -> None:
        """Send nothing, not even heartbeats, for a while."""
        self.stalled_until = time.monotonic() + seconds
        self._wake.set()

    async def take(self, timeout: float) -> bytes:
        """Wait for lines; empty after ``timeout`` seconds."""
        if not self._lines and not self.dropped:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
        self._wake.clear()
        while (pause := self.stalled_until - time.monotonic()) > 0 and not self.dropped:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            self._wake.clear()
        lines, self._lines = self._lines, []
        return b"".join(lines)


class Streams:
    """All open streams of the server."""

    def __init__(self, heartbeat_seconds: float, faults: Faults) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self.subscribers: list[Subscriber] = []
        self.closing = False
        self._faults = faults

    def wants_price(self, instrument: str) -> bool:
        """Return whether anybody reads this instrument's prices."""
        return any(item.instruments is not None and instrument in item.instruments for item in self.subscribers)

    def price(self, instrument: str, line: bytes) -> None:
        """Send a price to whoever asked for its instrument."""
        readers = [item for item in self.subscribers if item.instruments is not None and instrument in item.instruments]
        self._send("pricing", readers, line)

    def transaction(self, line: bytes) -> None:
        """Send a transaction to the transaction streams."""
        self._send("transactions", [item for item in self.subscribers if item.instruments is None], line)

    def strike(self, kind: FaultKind, stream: str, seconds: float) -> None:
        """Break open streams, or silence them."""
        for subscriber in self.subscribers:
            if stream in ("all", subscriber.kind):
                if kind is FaultKind.DROP_STREAM:
                    subscriber.drop()
                else:
                    subscriber.stall(seconds)

    def _send(self, stream: str, readers: list[Subscriber], line: bytes) -> None:
        """Send a line, unless a fault strikes it. A line that nobody reads is no occasion for a fault."""
        if not readers:
            return
        fault = self._faults.for_line(stream) if self._faults.armed else None
        kind = fault.kind if fault is not None else None
        if fault is not None and kind in (FaultKind.DROP_STREAM, FaultKind.STALL_STREAM):
            self.strike(fault.kind, stream, fault.seconds)
        for subscriber in readers:
            if kind is FaultKind.GAP_STREAM:
                continue
            subscriber.send(line if kind is not FaultKind.MALFORMED_LINE else line[: len(line) // 2] + b"\n")
            if kind is FaultKind.DUPLICATE_EVENT:
                subscriber.send(line)

    def heartbeat(self, price_line: bytes, transaction_line: bytes) -> None:
        """Send a heartbeat to everybody."""
        for subscriber in self.subscribers:
            subscriber.send(transaction_line if subscriber.instruments is None else price_line)

    def close(self) -> None:
        """End every stream: the server stops."""
        self.closing = True
        for subscriber in self.subscribers:
            subscriber.drop()

    async def serve(
        self,
        request: web.Request,
        response: web.StreamResponse,
        subscriber: Subscriber,
        first: Iterable[bytes],
        heartbeat: Callable[[], bytes],
    ) -> web.StreamResponse:
        """Run one stream until either side ends it."""
        for line in first:
            subscriber.send(line)
        self.subscribers.append(subscriber)
        last_beat = time.monotonic()
        try:
            await response.prepare(request)
            while not subscriber.dropped:
                due = last_beat + self.heartbeat_seconds - time.monotonic()
                lines = await subscriber.take(max(due, 0.0))
                if subscriber.dropped:
                    break
                if time.monotonic() - last_beat >= self.heartbeat_seconds:
                    lines += subscriber.written(heartbeat())
                    last_beat = time.monotonic()
                if lines:
                    await response.write(lines)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the reader went away; that is how streams end
        finally:
            self.subscribers.remove(subscriber)
        if subscriber.dropped and request.transport is not None:
            request.transport.abort()
        return response
