"""The release service's loopback face: health, status, metrics, and the one button that takes a version back."""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import SecretStr

from core.errors import BadInputError, RefusedError, TidegateError, UsageError
from trading.control.http import json_reply

HOST = "127.0.0.1"
PATH = "/v1/rollback"
WEBHOOK_PATH = "/v1/registry-events"  # MLflow's webhooks
LONGEST_BODY = 4096


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/rollback``. ``to`` is a version or ``flat``; null: the champion before."""

    reason: str
    strategy: str = ""
    to: str | None = None
    positions: str | None = None
    by: str = ""


def application(
    describe: Callable[[], dict[str, Any]],
    roll_back: Callable[[Wish], dict[str, Any]],
    token: SecretStr,
    told: Callable[[Mapping[str, str], bytes], object] | None = None,
) -> web.Application:
    """Return the application.

    Args:
        describe: the service's picture; its ``healthy`` decides over 200 or 503.
        roll_back: takes back what a wish names and returns the rollback, its policy in force.
        token: the control token, as for the kill switch.
        told: takes a webhook of the registry, checks its signature and wakes the watcher; None: there are none.
    """
    secret = token.get_secret_value().encode()

    async def press(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        # Compared in constant time: the time of an answer must not tell how much of a guess was right.
        if not secret or not hmac.compare_digest(given, b"Bearer " + secret):
            return json_reply({"error": "wrong or missing token: send Authorization: Bearer TOKEN"}, 401)
        if (request.content_length or 0) > LONGEST_BODY:
            return json_reply({"error": f"the body is longer than {LONGEST_BODY} bytes"}, 400)
        try:
            wish = msgspec.json.decode(await request.read(), type=Wish)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return json_reply({"error": f"send JSON with reason, and strategy, to, positions: {error}"}, 400)
        try:
            # Shielded: the caller may go away, what it asked for is carried out.
            return json_reply(await asyncio.shield(asyncio.to_thread(roll_back, wish)), 200)
        except (BadInputError, UsageError) as error:
            return json_reply({"error": error.message}, 400)
        except RefusedError as error:
            return json_reply({"error": error.message}, 409)
        except TidegateError as error:
            return json_reply({"error": error.message}, 503)

    async def webhook(request: web.Request) -> web.Response:
        if told is None:
            return json_reply({"error": "no webhooks are expected: set TIDEGATE_MLFLOW__WEBHOOK_URL"}, 404)
        try:
            told(request.headers, await request.read())
        except BadInputError as error:
            return json_reply({"error": error.message}, 400)
        except RefusedError as error:
            return json_reply({"error": error.message}, 403)
        return json_reply({"taken": True}, 202)

    async def healthz(_: web.Request) -> web.Response:
        picture = describe()
        short = {name: picture[name] for name in ("healthy", "troubles")}
        return json_reply(short, 200 if picture["healthy"] else 503)

    async def status(_: web.Request) -> web.Response:
        return json_reply(describe(), 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    served = web.Application(client_max_size=65_536)
    served.add_routes(
        [
            web.post(PATH, press),
            web.post(WEBHOOK_PATH, webhook),
            web.get("/healthz", healthz),
            web.get("/status", status),
            web.get("/metrics", metrics),
        ]
    )
    return served
