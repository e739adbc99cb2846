"""What limits and authentication add to a request: the replica's application with and without them, in this process."""

import time
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from core.settings import ServingSettings
from serving.authentication import Application, Message, TokenAuthentication, authorization, token_digest
from serving.limits import Limits, RequestLimits

_ROUNDS, _TURN = 200, 50


async def wrapper_costs() -> dict[str, float]:
    """Return the median microseconds of an echo: bare, within the limits, and with a token checked before them."""
    token = SecretStr("a-token-of-the-benchmark")
    limits = Limits.of(ServingSettings())

    async def bare(scope: Message, receive: Any, send: Any) -> None:
        body: bytes = (await receive())["body"]
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    applications: dict[str, Application] = {
        "bare": bare,
        "limits": RequestLimits(bare, limits, CollectorRegistry()),
        "limits and token": TokenAuthentication(RequestLimits(bare, limits, CollectorRegistry()), token_digest(token)),
    }
    body = bytes(400)
    shown = [(name.lower().encode(), value.encode()) for name, value in authorization(token).items()]
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/octet-stream"), (b"content-length", b"400")]
    scope: Message = {"type": "http", "path": "/v1/echo", "method": "POST", "headers": [*headers, *shown]}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        pass

    times: dict[str, list[float]] = {name: [] for name in applications}
    for _ in range(_ROUNDS):
        for name, application in applications.items():
            started = time.perf_counter()
            for _ in range(_TURN):
                await application(scope, receive, send)
            times[name].append((time.perf_counter() - started) / _TURN)
    return {name: round(float(np.median(values)) * 1e6, 2) for name, values in times.items()}
