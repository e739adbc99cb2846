"""The real server's limits: requests a second, new connections a second, streams at once. Each off unless configured.

OANDA documents 120 requests a second, 2 new connections a second and 20 streams an address for v20; what is above is
answered 429. Here they count for the one token this server knows, whatever the address.
"""

import time
from weakref import WeakSet

from aiohttp import web

from trading.practice.config import PracticeConfig
from trading.practice.replies import Reply


class TokenBucket:
    """One second's worth of occasions; 0 a second means no limit."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._tokens = max(per_second, 1.0)
        self._last = time.monotonic()

    def allows(self) -> bool:
        """Take one occasion's token."""
        if not self.per_second:
            return True
        now = time.monotonic()
        self._tokens = min(max(self.per_second, 1.0), self._tokens + (now - self._last) * self.per_second)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Limits:
    """What one client may ask of the server."""

    def __init__(self, config: PracticeConfig) -> None:
        self._requests = TokenBucket(config.requests_per_second)
        self._connections = TokenBucket(config.connections_per_second)
        self._streams = config.streams_per_account
        self._seen: WeakSet[object] = WeakSet()

    def refusal(self, request: web.Request) -> Reply | None:
        """Return the 429 a request gets, None if it may pass. The first request of a connection is the connection."""
        if self._connections.per_second and request.transport is not None and request.transport not in self._seen:
            self._seen.add(request.transport)
            if not self._connections.allows():
                self._seen.discard(request.transport)
                return _too_many("Connection limit exceeded", close=True)
        return None if self._requests.allows() else _too_many("Rate limit exceeded")

    def stream_refusal(self, open_streams: int) -> Reply | None:
        """Return the 429 a further stream gets, None if it may be opened."""
        if self._streams and open_streams >= self._streams:
            return _too_many(f"Stream limit exceeded: {self._streams} streams are open")
        return None


def _too_many(message: str, close: bool = False) -> Reply:
    return Reply(429, {"errorMessage": message}, {"Retry-After": "1"} | ({"Connection": "close"} if close else {}))
