"""What the loop reads. A feed ends by itself only when there is no more data."""

from collections.abc import AsyncIterator
from typing import Protocol

from core.domain import Heartbeat, Quote


class Feed(Protocol):
    """Quotes and heartbeats of a session, in order."""

    @property
    def heard_ns(self) -> int:
        """When the source last said anything, by the session's clock; 0 for a source that cannot fall silent."""
        ...

    async def prime(self) -> list[Quote | Heartbeat]:
        """Subscribe and return the standing quotes: nothing after them is missed.

        Raises:
            UnavailableError: the source does not answer.
        """
        ...

    def events(self) -> AsyncIterator[Quote | Heartbeat]:
        """Yield what comes after ``prime``. The next item is asked for only when the last one was dealt with."""
        ...
