"""The injected clock: every wait and every time stamp of the loop goes through one of these.

Times are UTC nanoseconds since the epoch (``int``). Backtest, replay, paper and live differ in clock, feed and
broker only (law 2).
"""

import asyncio
import heapq
import itertools
import threading
import time
from datetime import UTC, datetime
from typing import Protocol

NANOSECONDS = 1_000_000_000


class Clock(Protocol):
    """What the loop may ask of time."""

    def time_ns(self) -> int:
        """UTC nanoseconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` of this clock's time."""
        ...


class LiveClock:
    """The machine's clock."""

    def time_ns(self) -> int:
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SteadyClock:
    """The machine's clock, standing still while the event loop runs without a pause.

    Everything decided in one go happens at one time, the time in the journal, and so can be decided again. The time is
    read anew after each wait. Other threads get the machine's time.
    """

    def __init__(self, inner: Clock | None = None) -> None:
        self._inner = inner or LiveClock()
        self._now = 0  # 0: to be read
        self._thread = 0  # whose time stands still

    def time_ns(self) -> int:
        if self._now and self._thread == threading.get_ident():
            return self._now
        now = self._inner.time_ns()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return now
        if not self._now:
            self._now, self._thread = now, threading.get_ident()
            loop.call_soon(self._forget)
        return now

    def _forget(self) -> None:
        self._now = 0

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class SimulatedClock:
    """A clock that stands still until it is moved forward; sleepers wake in the order of their due times."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def time_ns(self) -> int:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self._now + round(seconds * NANOSECONDS)
        heapq.heappush(self._sleepers, (due, next(self._order), future))
        await future

    def advance_to(self, time_ns: int) -> None:
        """Move to ``time_ns`` and wake everybody due by then. An earlier time is ignored: time never runs back."""
        self._now = max(self._now, time_ns)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)


def to_datetime(time_ns: int) -> datetime:
    """Return ``time_ns`` as an aware UTC datetime (microsecond resolution)."""
    return datetime.fromtimestamp(time_ns // NANOSECONDS, UTC).replace(microsecond=time_ns % NANOSECONDS // 1000)


def to_ns(moment: datetime) -> int:
    """Return an aware datetime as UTC nanoseconds. A naive one is an error: its zone would be a guess."""
    if moment.tzinfo is None:
        raise ValueError(f"naive datetime {moment!r}: give it a time zone")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def to_rfc3339(time_ns: int) -> str:
    """Return ``time_ns`` as OANDA writes times: ``2016-10-27T08:38:43.094548890Z``."""
    seconds, fraction = divmod(time_ns, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def from_rfc3339(text: str) -> int:
    """Parse RFC 3339 with up to nine fractional digits, ``Z`` or an offset, to UTC nanoseconds.

    Raises:
        ValueError: the text is no such time.
    """
    head, _, tail = text.partition(".")
    if not tail:
        return to_ns(datetime.fromisoformat(text.replace("Z", "+00:00")))
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    zone = tail[len(digits) :].replace("Z", "+00:00")
    if not digits or not zone or len(digits) > 9:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    return to_ns(datetime.fromisoformat(head + zone)) + int(digits.ljust(9, "0"))
