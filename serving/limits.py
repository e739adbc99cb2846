"""How much a replica takes on: past its limits it refuses at once, with one line, instead of being late for everybody.

A wrapper around the ASGI application. Ray Serve queues without limit what waits for a replica, and its own refusal
would strike the health checks too; here they stay open.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter

from core.settings import ServingSettings
from serving.authentication import OPEN_PATHS, Application, Message, Receive, Send, refuse

_MEGABYTE = 1024 * 1024
_RETRY = (b"retry-after", b"1")  # seconds; another replica may be free at once


@dataclass(frozen=True)
class Limits:
    """What one replica takes on at a time, in requests and bytes of their bodies."""

    requests: int
    body_bytes: int
    ongoing_bytes: int

    @classmethod
    def of(cls, settings: ServingSettings) -> "Limits":
        """Read the limits from the settings."""
        return cls(
            requests=settings.maximum_ongoing_requests,
            body_bytes=settings.maximum_body_megabytes * _MEGABYTE,
            ongoing_bytes=settings.maximum_ongoing_megabytes * _MEGABYTE,
        )


class RequestLimits:
    """Admits requests while there is room.

    Attributes:
        ongoing: requests admitted and not yet answered.
        ongoing_bytes: their bodies, as declared; a body without a length counts as the largest allowed.
    """

    def __init__(self, application: Application, limits: Limits, registry: CollectorRegistry) -> None:
        """Count what is refused in ``registry``."""
        self._application = application
        self._limits = limits
        self._refused = Counter(
            "tidegate_serving_refused", "Requests past the limits of the replica", ["status"], registry=registry
        )
        self.ongoing = 0
        self.ongoing_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._application(scope, receive, send)
            return
        limits = self._limits
        declared = _declared(scope)
        size = limits.body_bytes if declared is None else declared
        if size > limits.body_bytes:
            words = f"body of {size:,} bytes: a request may have {limits.body_bytes:,}; send fewer rows"
            await self._refuse(send, 413, words)
            return
        if self.ongoing >= limits.requests or self.ongoing_bytes + size > limits.ongoing_bytes:
            await self._refuse(
                send,
                503,
                f"overloaded: {self.ongoing} requests with {self.ongoing_bytes:,} bytes under way, at most "
                f"{limits.requests} with {limits.ongoing_bytes:,} at a time; ask again later or start more replicas",
                _RETRY,
            )
            return
        self.ongoing += 1
        self.ongoing_bytes += size
        try:
            if declared is None:
                await self._undeclared(scope, receive, send)
            else:
                await self._application(scope, receive, send)
        finally:
            self.ongoing -= 1
            self.ongoing_bytes -= size

    async def _undeclared(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request whose body comes in chunks: it is counted while it comes."""
        taken = 0
        begun = False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            # To the application it looks as if the client had left: it gives up, and we say why.
            return message if taken <= self._limits.body_bytes else {"type": "http.disconnect"}

        async def noted(message: Message) -> None:
            nonlocal begun
            if begun or taken <= self._limits.body_bytes:
                begun = True
                await send(message)

        await self._application(scope, counted, noted)
        if not begun:
            await self._refuse(send, 413, f"body of more than {self._limits.body_bytes:,} bytes: send fewer rows")

    async def _refuse(self, send: Send, status: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
        self._refused.labels(status).inc()
        await refuse(send, status, reason, *headers)


def _declared(scope: Message) -> int | None:
    """Return the length of the body, None when it comes in chunks of unknown number."""
    chunked = False
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)  # the server has checked that it is a number
        chunked = chunked or name == b"transfer-encoding"
    return None if chunked else 0
