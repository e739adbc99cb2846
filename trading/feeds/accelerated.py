"""The clock of a market that runs faster than the machine's: a practice broker with an accelerated clock."""

import asyncio
import time
from typing import Protocol, runtime_checkable

from core.clock import NANOSECONDS


@runtime_checkable
class Paced(Protocol):
    """A clock that says how many of its seconds pass in one of the machine's."""

    @property
    def speed(self) -> float: ...


class AcceleratedClock:
    """Market time, ``speed`` seconds of it in one of the machine's.

    Args:
        start_ns: market time at this moment.
        speed: above 0.
    """

    def __init__(self, start_ns: int, speed: float) -> None:
        self.speed = speed
        self._start_ns = start_ns
        self._began = time.monotonic()

    def time_ns(self) -> int:
        return self._start_ns + round((time.monotonic() - self._began) * self.speed * NANOSECONDS)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)
