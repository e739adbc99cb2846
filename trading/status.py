"""The trader's loopback server: ``/healthz``, ``/metrics`` and ``/status``."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from core.errors import BadInputError
from trading.control.http import json_reply
from trading.metrics import TraderMetrics

HOST = "127.0.0.1"
_HEALTH = ("state", "state_reason", "degraded", "degraded_since", "kill_switch")


class StatusServer:
    """Serves what ``describe`` returns.

    Args:
        port: 0 picks a free one; see ``port`` after ``start``.
        describe: a JSON-serialisable picture of the trader; its ``healthy`` decides over 200 or 503.
        metrics: of the trader.
        routes: what others answer here (the kill switch).
    """

    def __init__(
        self,
        port: int,
        describe: Callable[[], dict[str, Any]],
        metrics: TraderMetrics,
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        self._routes = routes
        self._wanted = port
        self._describe = describe
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self._started = time.monotonic()
        self.port = 0

    async def start(self) -> None:
        """Listen on loopback.

        Raises:
            BadInputError: the port is taken.
        """
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/metrics", self._expose)
        application.router.add_get("/status", self._status)
        application.router.add_routes(self._routes)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._wanted)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise BadInputError(f"port {self._wanted} is in use: set TIDEGATE_TRADING__PORT to a free one") from error
        address = self._runner.addresses[0]
        self.port = int(address[1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        picture = self._describe()
        healthy = bool(picture["healthy"])
        short = {"healthy": healthy}
        short |= {name: picture[name] for name in _HEALTH if name in picture}
        return json_reply(short, 200 if healthy else 503)

    async def _status(self, _: web.Request) -> web.Response:
        return json_reply(self._describe() | {"uptime_seconds": round(time.monotonic() - self._started, 3)}, 200)

    async def _expose(self, _: web.Request) -> web.Response:
        self._metrics.refresh()
        # The broker adapter and the predictors count in the process's own registry.
        body = generate_latest(self._metrics.registry) + generate_latest(REGISTRY)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
