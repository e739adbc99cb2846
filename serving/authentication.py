"""Who may ask: a bearer token before the predictions of every listener that is not loopback.

A wrapper around the ASGI application. Without a token it is not there at all. The replica knows the digest of the
token, not the token: neither Ray's object store nor a memory dump of a replica gives it away.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from pydantic import SecretStr

from core.errors import ConfigurationError
from core.settings import ServingSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/livez"})  # a load balancer and a kubelet have no token
_SCHEME = b"bearer "


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name, or empty: every interface


def required_token_digest(settings: ServingSettings) -> bytes | None:
    """Return the SHA-256 of the token that a request must bring, None when it need not bring one.

    Raises:
        ConfigurationError: the host is not loopback and there is no token.
    """
    if settings.token is not None:
        return token_digest(settings.token)
    if is_loopback(settings.host):
        return None
    raise ConfigurationError(
        f"TIDEGATE_SERVING__HOST={settings.host} can be reached from other machines: set TIDEGATE_SERVING__TOKEN to a "
        "long random text, here and for every client, or serve on 127.0.0.1"
    )


def token_digest(token: SecretStr) -> bytes:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.get_secret_value().encode()).digest()


def authorization(token: SecretStr | None) -> dict[str, str]:
    """Return the header with which a client shows its token; empty without one."""
    return {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}


class TokenAuthentication:
    """Lets through what shows the token; answers 401 and one line to everything else but the open paths."""

    def __init__(self, application: Application, digest: bytes) -> None:
        """``digest`` is the SHA-256 of the token."""
        self._application = application
        self._digest = digest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or self._shown(scope):
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            await refuse(
                send,
                401,
                "no valid token: send the header `Authorization: Bearer …` with TIDEGATE_SERVING__TOKEN",
                (b"www-authenticate", b"Bearer"),
            )
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _shown(self, scope: Message) -> bool:
        for name, value in scope["headers"]:
            if name == b"authorization" and value[: len(_SCHEME)].lower() == _SCHEME:
                shown = hashlib.sha256(value[len(_SCHEME) :].strip()).digest()
                return hmac.compare_digest(shown, self._digest)
        return False


class LoopbackOnly:
    """Lets through what came over loopback: for a listener whose address we do not choose, while it has no token."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS or is_loopback((scope["server"] or ("",))[0]):
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            await refuse(
                send, 403, "without TIDEGATE_SERVING__TOKEN only this machine is answered: set one, and send it"
            )
        else:
            await send({"type": "websocket.close", "code": 1008})


async def refuse(send: Send, status: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
    """Answer a request with one line of reason, in the form of every other problem."""
    body = msgspec.json.encode({"error": reason})
    described = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": body})
