"""A feed and a clock in lockstep with a practice broker: the market stands still while the trader thinks.

Two runs see the same quotes at the same market times and so decide and fill the same, however fast the machine is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TypeVar

import aiohttp
import msgspec

from core.clock import NANOSECONDS, from_rfc3339, to_rfc3339
from core.domain import Heartbeat, Quote
from core.errors import UnavailableError
from core.logging import get_logger
from trading.brokers.interface import Broker

_log = get_logger("trading")


class LockstepClock:
    """Market time: that of the newest quote or heartbeat.

    ``sleep`` waits by the machine's clock: market time moves only when the trader asks for it, so whoever waits for a
    broker's reply would wait for ever on it.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns

    def time_ns(self) -> int:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def advance_to(self, time_ns: int) -> None:
        """Move to ``time_ns``; an earlier time is ignored."""
        if time_ns > self._now:
            self._now = time_ns


class _Advance(msgspec.Struct):
    """The reply of the practice broker to a request to move on."""

    time: str
    ticks: int = 0
    end: bool = False


class _State(msgspec.Struct):
    """What is used of the practice broker's own description."""

    time: str


Reply = TypeVar("Reply", _Advance, _State)


class LockstepFeed:
    """Asks the practice broker for the next step and yields its ticks up to the closing heartbeat.

    Args:
        broker: whose price stream is read.
        clock: moved along with the stream.
        instruments: to subscribe to.
        rest_url: of the practice broker, for ``/admin/clock/advance``.
        timeout_seconds: real seconds a step's ticks may take before the broker counts as away.
        stride_seconds: market time to move on by at once; None: a whole step. Orders inside a step (execution plans,
            passive ones) need strides not longer than what they wait for: the broker is at the end of each already.
        pause_seconds: real seconds from one request to move on to the next at least, for those who want to watch.
    """

    def __init__(
        self,
        broker: Broker,
        clock: LockstepClock,
        instruments: Sequence[str],
        rest_url: str,
        timeout_seconds: float = 30.0,
        stride_seconds: float | None = None,
        pause_seconds: float = 0.0,
    ) -> None:
        self._pause = pause_seconds
        self._moved = 0.0  # when the last request to move on was made, by the machine's clock
        self._broker = broker
        self._clock = clock
        self._instruments = tuple(instruments)
        self._url = f"{rest_url.rstrip('/')}/admin"
        self._timeout = timeout_seconds
        self._stride_ns = round(stride_seconds * NANOSECONDS) if stride_seconds else 0
        self._stream: AsyncIterator[Quote | Heartbeat] | None = None
        self._session: aiohttp.ClientSession | None = None
        self.ticks = 0

    async def __aenter__(self) -> "LockstepFeed":
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def heard_ns(self) -> int:
        """0: without its source there is no next event at all."""
        return 0

    async def prime(self) -> list[Quote | Heartbeat]:
        self._stream = self._broker.quotes(self._instruments)
        await self._broker.quotes_ready(self._timeout)
        standing: list[Quote | Heartbeat] = []
        missing = set(self._instruments)
        while missing:
            item = await self._next()
            standing.append(item)
            if isinstance(item, Quote):
                missing.discard(item.instrument)
        # A step may have been published before a restart: market time is the broker's, not that of the last quote.
        state = await self._request("GET", "/state", _State)
        self._clock.advance_to(from_rfc3339(state.time))
        return standing

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        while True:
            reply = await self._advance()
            if reply.end and reply.ticks == 0:
                return
            step_ns = from_rfc3339(reply.time)
            while True:
                item = await self._next()
                yield item
                if isinstance(item, Heartbeat) and item.time_ns >= step_ns:
                    break
            if reply.end:
                return

    async def _next(self) -> Quote | Heartbeat:
        assert self._stream is not None
        try:
            item = await asyncio.wait_for(anext(self._stream), self._timeout)
        except TimeoutError:
            raise UnavailableError(
                f"practice broker: no tick in {self._timeout:g} s: is its price stream up?"
            ) from None
        except StopAsyncIteration:
            raise UnavailableError("practice broker: its price stream ended: the connection was closed") from None
        self._clock.advance_to(item.time_ns)
        self.ticks += isinstance(item, Quote)
        return item

    async def _advance(self) -> _Advance:
        if self._pause > 0.0:
            await asyncio.sleep(max(0.0, self._moved + self._pause - time.monotonic()))
            self._moved = time.monotonic()
        body = {"to": to_rfc3339(self._clock.time_ns() + self._stride_ns)} if self._stride_ns else {}
        return await self._request("POST", "/clock/advance", _Advance, body)

    async def _request(self, method: str, path: str, kind: type[Reply], body: dict[str, str] | None = None) -> Reply:
        if self._session is None:
            raise UnavailableError("lockstep feed is not open: use it in an async with block")
        try:
            async with self._session.request(method, self._url + path, json=body) as reply:
                content = await reply.read()
                if reply.status != 200:
                    raise UnavailableError(f"practice broker: {path} answered {reply.status}: is it in lockstep mode?")
                return msgspec.json.decode(content, type=kind)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(f"practice broker does not answer at {self._url}: {error}") from error
        except msgspec.MsgspecError as error:
            raise UnavailableError(f"practice broker: its reply to {path} cannot be read: {error}") from error
