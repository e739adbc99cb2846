"""``/kill-switch`` on a trader's status server: turning it takes a token, looking at it does not."""

import asyncio
import hmac
from typing import Any

import msgspec
import orjson
from aiohttp import web
from pydantic import SecretStr

from core.clock import Clock
from trading.control.kill_switch import KillSwitch, KillSwitchSetting

PATH = "/kill-switch"
LONGEST_BODY = 4096
ANSWER_SECONDS = 10.0  # by then the answer says how far it came; the work goes on


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    on: bool
    reason: str
    flatten: bool = False
    by: str = ""


def routes(kill_switch: KillSwitch, token: SecretStr, clock: Clock) -> list[web.RouteDef]:
    """Return the routes that the status server adds.

    ``POST`` takes ``{"on", "flatten", "reason", "by"}`` with ``Authorization: Bearer TOKEN`` and answers with the
    switch: 200 when everything is done, 202 while something is left (the trader goes on with it). ``GET`` answers
    with the switch. Refusals: 401 wrong token, 400 no such body or no reason.
    """
    secret = token.get_secret_value().encode()
    running: set[asyncio.Task[None]] = set()

    async def turn(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        # Compared in constant time: the time of an answer must not tell how much of a guess was right.
        if not secret or not hmac.compare_digest(given, b"Bearer " + secret):
            return json_reply({"error": "wrong or missing token: send Authorization: Bearer TOKEN"}, 401)
        if (request.content_length or 0) > LONGEST_BODY:
            return json_reply({"error": f"the body is longer than {LONGEST_BODY} bytes"}, 400)
        try:
            wish = msgspec.json.decode(await request.read(), type=_Wish)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return json_reply({"error": f"send JSON with on, reason and flatten: {error}"}, 400)
        if not wish.reason.strip():
            return json_reply({"error": "give a reason: it is kept in the journal"}, 400)
        by = f"http:{wish.by or 'unnamed'}"
        if wish.on:
            setting = KillSwitchSetting(True, wish.flatten, wish.reason, by, clock.time_ns())
            work = asyncio.create_task(kill_switch.engage(setting))
        else:
            work = asyncio.create_task(kill_switch.lift(wish.reason, by))
        running.add(work)
        work.add_done_callback(running.discard)
        # The caller may go away; what it asked for does not.
        await asyncio.wait({work}, timeout=ANSWER_SECONDS)
        if work.done():
            work.result()
        picture = kill_switch.describe()
        return json_reply(picture, 200 if picture["done"] else 202)

    async def show(_: web.Request) -> web.Response:
        return json_reply(kill_switch.describe(), 200)

    return [web.post(PATH, turn), web.get(PATH, show)]


def json_reply(value: dict[str, Any], status: int) -> web.Response:
    """Return a page of JSON; what JSON has no word for is written as text."""
    content = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=content, status=status, content_type="application/json")
