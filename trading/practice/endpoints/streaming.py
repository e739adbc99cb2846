"""The two streams: prices and transactions, one JSON line each, a heartbeat every five seconds."""

from aiohttp import web

from trading.practice.call import Call
from trading.practice.endpoints.pricing import chosen_instruments
from trading.practice.streams import Subscriber
from trading.practice.venue import Venue


def wants_unix_times(request: web.Request) -> bool:
    """Return whether a client asks for UNIX times, in either of the two spellings clients use."""
    wanted = request.headers.get("Accept-Datetime-Format") or request.headers.get("AcceptDatetimeFormat")
    return wanted == "UNIX"


def _response(request_id: str) -> web.StreamResponse:
    headers = {"Content-Type": "application/octet-stream", "RequestID": request_id}
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    return response


async def prices(venue: Venue, call: Call, request: web.Request, request_id: str) -> web.StreamResponse:
    """Stream prices: the standing ones first, unless ``snapshot=false``."""
    names = chosen_instruments(venue, call)
    quotes = venue.exchange.book.quotes
    first: list[bytes] = []
    if call.flag("snapshot", True):
        first = [venue.price_line(quotes[name]) for name in names if name in quotes]
    subscriber = Subscriber(frozenset(names), wants_unix_times(request))
    return await venue.streams.serve(request, _response(request_id), subscriber, first, venue.price_heartbeat)


async def transactions(venue: Venue, call: Call, request: web.Request, request_id: str) -> web.StreamResponse:
    """Stream transactions from now on, beginning with a heartbeat that says where the log stands."""
    first = [venue.transaction_heartbeat()]
    return await venue.streams.serve(
        request, _response(request_id), Subscriber(None, wants_unix_times(request)), first, venue.transaction_heartbeat
    )
