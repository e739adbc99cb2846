"""The HTTP application: routes, token, account, rate limit, faults, and the form of every reply."""

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from trading.practice.call import Call
from trading.practice.endpoints import (
    accounts,
    admin,
    orders,
    positions,
    pricing,
    reference,
    streaming,
    trades,
    transactions,
)
from trading.practice.faults import FaultKind
from trading.practice.limits import Limits
from trading.practice.replies import ProtocolError, Reply, encode
from trading.practice.striking import Striking, cut
from trading.practice.venue import Venue

Endpoint = Callable[[Venue, Call], Reply]
StreamEndpoint = Callable[[Venue, Call, web.Request, str], Awaitable[web.StreamResponse]]

_ACCOUNT_ID = re.compile(r"\d{3}-\d{3}-\d+-\d{3}")
_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
_REQUEST_BASE = 60_000_000_000_000_000
_LARGEST_BODY = 1 << 20
_A = "/v3/accounts/{accountID}"

# Looked through from the top: an order does not wait for twenty others that are compared with its path first.
REST: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", f"{_A}/orders", orders.create),
    ("GET", f"{_A}/orders", orders.listed),
    ("GET", "/v3/accounts", accounts.accounts),
    ("GET", _A, accounts.account),
    ("GET", f"{_A}/summary", accounts.summary),
    ("GET", f"{_A}/instruments", accounts.instruments),
    ("GET", f"{_A}/changes", accounts.changes),
    ("PATCH", f"{_A}/configuration", accounts.configure),
    ("GET", f"{_A}/pricing", pricing.pricing),
    ("GET", f"{_A}/instruments/{{instrument}}/candles", pricing.candles),
    ("GET", "/v3/instruments/{instrument}/candles", pricing.candles),
    ("GET", "/v3/instruments/{instrument}/price", reference.price),
    ("GET", "/v3/instruments/{instrument}/price/range", reference.price_range),
    ("GET", "/v3/instruments/{instrument}/orderBook", reference.book),
    ("GET", "/v3/instruments/{instrument}/positionBook", reference.book),
    ("GET", "/v3/pricing", reference.prices),
    ("GET", "/v3/pricing/range", reference.prices_range),
    ("GET", "/v3/users/{userSpecifier}", reference.user),
    ("GET", "/v3/users/{userSpecifier}/externalInfo", reference.user_outside),
    ("GET", f"{_A}/pendingOrders", orders.pending),
    ("GET", f"{_A}/orders/{{orderSpecifier}}", orders.details),
    ("PUT", f"{_A}/orders/{{orderSpecifier}}", orders.replace),
    ("PUT", f"{_A}/orders/{{orderSpecifier}}/cancel", orders.cancel),
    ("PUT", f"{_A}/orders/{{orderSpecifier}}/clientExtensions", orders.label),
    ("GET", f"{_A}/trades", trades.listed),
    ("GET", f"{_A}/openTrades", trades.open_trades),
    ("GET", f"{_A}/trades/{{tradeSpecifier}}", trades.details),
    ("PUT", f"{_A}/trades/{{tradeSpecifier}}/close", trades.close),
    ("PUT", f"{_A}/trades/{{tradeSpecifier}}/orders", trades.set_orders),
    ("PUT", f"{_A}/trades/{{tradeSpecifier}}/clientExtensions", trades.label),
    ("GET", f"{_A}/positions", positions.listed),
    ("GET", f"{_A}/openPositions", positions.open_positions),
    ("GET", f"{_A}/positions/{{instrument}}", positions.details),
    ("PUT", f"{_A}/positions/{{instrument}}/close", positions.close),
    ("GET", f"{_A}/transactions", transactions.pages),
    ("GET", f"{_A}/transactions/idrange", transactions.id_range),
    ("GET", f"{_A}/transactions/sinceid", transactions.since),
    ("GET", f"{_A}/transactions/{{transactionID}}", transactions.details),
)
STREAMS: tuple[tuple[str, StreamEndpoint], ...] = (
    (f"{_A}/pricing/stream", streaming.prices),
    (f"{_A}/transactions/stream", streaming.transactions),
)


class Application:
    """The venue behind HTTP."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self._striking = Striking()
        self._limits = Limits(venue.config)
        self._authorization = f"Bearer {venue.config.token}".encode()
        self._requests = 0

    def build(self) -> web.Application:
        """Return the aiohttp application."""
        application = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._unknown])
        # Streams first: ``transactions/stream`` would otherwise be read as a transaction id.
        for path, stream in STREAMS:
            application.router.add_get(path, self._stream(stream), allow_head=False)
        for method, path, endpoint in REST:
            application.router.add_route(method, path, self._rest(endpoint))
        for method, path, endpoint in (
            ("POST", "/admin/clock/advance", admin.advance),
            ("GET", "/admin/state", admin.state),
            ("POST", "/admin/halt", admin.halt),
            ("POST", "/admin/funds", admin.funds),
            ("POST", "/admin/liquidity", admin.liquidity),
            ("POST", "/admin/faults", admin.add_fault),
            ("GET", "/admin/faults", admin.list_faults),
            ("DELETE", "/admin/faults", admin.clear_faults),
        ):
            application.router.add_route(method, path, self._admin(endpoint))
        return application

    # -- the form of replies -------------------------------------------------------------------------------------

    def _next_request_id(self) -> str:
        self._requests += 1
        return str(_REQUEST_BASE + self._requests)

    def _response(self, request: web.Request, reply: Reply, request_id: str) -> web.Response:
        return web.Response(
            body=encode(reply.body, unix_times=streaming.wants_unix_times(request)),
            status=reply.status,
            headers={"Content-Type": "application/json", "RequestID": request_id, **reply.headers},
        )

    @web.middleware
    async def _unknown(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Give what aiohttp itself refuses (no such path, wrong method, body too large) the protocol's form."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            reply = Reply(error.status, {"errorMessage": error.reason})
            return self._response(request, reply, self._next_request_id())

    def _refusal(self, request: web.Request) -> Reply | None:
        """Return the reply to a request that may not even be read."""
        limited = self._limits.refusal(request)
        if limited is not None:
            return limited
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, self._authorization):
            return Reply(401, {"errorMessage": "Insufficient authorization to perform request."})
        account = request.match_info.get("accountID")
        if account is not None and account != self.venue.config.account_id:
            if _ACCOUNT_ID.fullmatch(account):
                return Reply(403, {"errorMessage": "The provided request was forbidden."})
            return Reply(400, {"errorMessage": "Invalid value specified for 'accountID'"})
        return None

    # -- handlers ------------------------------------------------------------------------------------------------

    def _rest(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            request_id = self._next_request_id()

            def respond(reply: Reply) -> web.Response:
                return self._response(request, reply, request_id)

            refusal = self._refusal(request)
            if refusal is not None:
                return respond(refusal)
            content = await request.read() if request.body_exists else b""
            call = Call(request.match_info, request.query, content, request.path)
            faults = self.venue.faults
            fault = faults.for_request(request.method, request.path) if faults.armed else None
            if fault is None:
                response: web.StreamResponse = respond(self._answer(endpoint, call))
            else:
                response = await self._striking.carry_out(request, fault, lambda: self._answer(endpoint, call), respond)
            return await self._striking.overtake(request, response) if self._striking.holding else response

        return handle

    def _admin(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            request_id = self._next_request_id()
            peer = request.transport.get_extra_info("peername") if request.transport else None
            if not peer or peer[0] not in _LOOPBACK:
                refusal = Reply(403, {"errorMessage": "The admin API answers on loopback only"})
                return self._response(request, refusal, request_id)
            content = await request.read() if request.body_exists else b""
            call = Call(request.match_info, request.query, content)
            return self._response(request, self._answer(endpoint, call), request_id)

        return handle

    def _stream(self, endpoint: StreamEndpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            request_id = self._next_request_id()
            refusal = self._refusal(request) or self._limits.stream_refusal(len(self.venue.streams.subscribers))
            faults = self.venue.faults
            fault = faults.for_request("GET", request.path, streaming=True) if faults.armed and not refusal else None
            if fault is not None:
                if fault.kind in (FaultKind.LOSE_REQUEST, FaultKind.LOSE_REPLY):
                    return cut(request)
                await asyncio.sleep(fault.seconds)
                if fault.kind in (FaultKind.ERROR, FaultKind.RATE_LIMIT):
                    status = 429 if fault.kind is FaultKind.RATE_LIMIT else fault.status
                    refusal = Reply(status, {"errorMessage": "A fault was injected"}, {"Retry-After": "1"})
            if refusal is not None:
                return self._response(request, refusal, request_id)
            try:
                return await endpoint(self.venue, Call(request.match_info, request.query, b""), request, request_id)
            except ProtocolError as error:
                return self._response(request, error.reply, request_id)

        return handle

    def _answer(self, endpoint: Endpoint, call: Call) -> Reply:
        try:
            return endpoint(self.venue, call)
        except ProtocolError as error:
            return error.reply
