"""Carrying out requests that a fault strikes, and holding replies back so that later ones overtake them."""

import asyncio
import math
from collections.abc import Callable

from aiohttp import web

from trading.practice.faults import Fault, FaultKind
from trading.practice.replies import Reply

_LONGEST_HOLD = 1.0  # seconds a reply waits for others to overtake it, if the fault says nothing else


class Held:
    """A reply that waits until ``left`` others have gone out."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.released = asyncio.Event()


class Striking:
    """Does to requests what faults say."""

    def __init__(self) -> None:
        self._held: list[Held] = []

    async def carry_out(
        self, request: web.Request, fault: Fault, answer: Callable[[], Reply], respond: Callable[[Reply], web.Response]
    ) -> web.StreamResponse:
        """Answer one request under a fault.

        Args:
            request: the request; its connection is cut where the fault loses something.
            fault: what strikes it.
            answer: carries the request out.
            respond: puts a reply into its HTTP form.
        """
        match fault.kind:
            case FaultKind.ERROR:
                headers = {"Retry-After": "1"} if fault.status == 429 else {}
                return respond(Reply(fault.status, {"errorMessage": "A fault was injected"}, headers))
            case FaultKind.RATE_LIMIT:
                wait = str(max(1, math.ceil(fault.seconds)))
                return respond(Reply(429, {"errorMessage": "Rate limit exceeded"}, {"Retry-After": wait}))
            case FaultKind.LOSE_REQUEST:
                return cut(request)
            case FaultKind.LOSE_REPLY:
                answer()
                await asyncio.sleep(fault.seconds)
                return cut(request)
            case FaultKind.DELAY_REQUEST:
                # The client may give up meanwhile; the request is on its way all the same.
                await asyncio.sleep(fault.seconds)
                return respond(answer())
            case FaultKind.REORDER_REPLIES:
                reply = answer()
                await self._overtaken(fault)
                return respond(reply)
            case FaultKind.DUPLICATE_REQUEST:
                answer()
                reply = answer()
            case _:
                reply = answer()
        await asyncio.sleep(fault.seconds)
        return respond(reply)

    async def _overtaken(self, fault: Fault) -> None:
        held = Held(fault.hold)
        self._held.append(held)
        try:
            async with asyncio.timeout(fault.seconds or _LONGEST_HOLD):
                await held.released.wait()
        except TimeoutError:
            pass  # nobody came to overtake it
        finally:
            self._held.remove(held)

    @property
    def holding(self) -> bool:
        """Whether a reply waits."""
        return bool(self._held)

    async def overtake(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Send a reply now, to the last byte, then let go the replies it has overtaken."""
        if request.transport is not None and not request.transport.is_closing():
            await response.prepare(request)
            await response.write_eof()
        for held in self._held:
            held.left -= 1
            if held.left <= 0:
                held.released.set()
        return response


def cut(request: web.Request) -> web.Response:
    """Break the connection of a request."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
