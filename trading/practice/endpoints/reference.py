"""What is not about the account: users, base prices of the past, and the books this broker has none of."""

from bisect import bisect_right
from typing import Any

from core.clock import to_rfc3339
from core.domain import Quote
from trading.practice.call import Call
from trading.practice.replies import ProtocolError, Reply, invalid
from trading.practice.venue import Venue

_MOST_PRICES = 5000


def user(venue: Venue, call: Call) -> Reply:
    """Return the one user, by id, ``@`` (who asks) or ``@username``."""
    _known(venue, call)
    number = venue.exchange.book.configuration.user_id
    return Reply(200, {"userInfo": {"username": _NAME, "userID": number, "country": "ZZ", "emailAddress": ""}})


def user_outside(venue: Venue, call: Call) -> Reply:
    """Return what others may know of the user: whether the account adheres to the FIFO rule."""
    _known(venue, call)
    configuration = venue.exchange.book.configuration
    return Reply(200, {"userInfo": {"userID": configuration.user_id, "country": "ZZ", "FIFO": configuration.fifo}})


_NAME = "practice"


def _known(venue: Venue, call: Call) -> None:
    if call.path["userSpecifier"] not in ("@", f"@{_NAME}", str(venue.exchange.book.configuration.user_id)):
        raise ProtocolError(403, "The provided request was forbidden.")


def price(venue: Venue, call: Call) -> Reply:
    """Return an instrument's price at a time, or now."""
    name = _instrument(venue, call)
    found = _at(venue, name, call.time("time"))
    if found is None:
        raise ProtocolError(404, "There was no price at the time specified")
    return Reply(200, {"price": found})


def price_range(venue: Venue, call: Call) -> Reply:
    """Return the prices of an instrument between two times, the oldest ``5000`` at most."""
    return Reply(200, {"prices": _between(venue, _instrument(venue, call), call)})


def prices(venue: Venue, call: Call) -> Reply:
    """Return the price of every instrument at a time, or now."""
    time_ns = call.time("time")
    found = [_at(venue, name, time_ns) for name in sorted(venue.ticks)]
    return Reply(200, {"prices": [item for item in found if item is not None]})


def prices_range(venue: Venue, call: Call) -> Reply:
    """Return the prices between two times, oldest first: of ``instrument``, or of all (its clients name none)."""
    name = call.query.get("instrument")
    if name is not None and name not in venue.ticks:
        raise invalid("instrument")
    names = sorted(venue.ticks) if name is None else [name]
    found = [item for each in names for item in _between(venue, each, call)]
    found.sort(key=lambda item: (item["timestamp"], item["instrument"]))
    return Reply(200, {"prices": found[:_MOST_PRICES]})


def book(venue: Venue, call: Call) -> Reply:
    """Refuse: order and position books are of all clients of a broker, and this one has a single account."""
    _instrument(venue, call)
    raise ProtocolError(404, "The practice broker has one account and so no book of its clients' orders or positions")


def _instrument(venue: Venue, call: Call) -> str:
    name = call.path["instrument"]
    if name not in venue.ticks:
        raise invalid("instrument")
    return name


def _at(venue: Venue, name: str, time_ns: int | None) -> dict[str, Any] | None:
    store = venue.ticks[name]
    index = (len(store.times) if time_ns is None else bisect_right(store.times, time_ns)) - 1
    return _price(venue, name, index) if index >= 0 else None


def _between(venue: Venue, name: str, call: Call) -> list[dict[str, Any]]:
    start, end = call.time("from"), call.time("to")
    if start is None:
        raise invalid("from")
    if end is not None and end < start:
        raise invalid("to")
    store = venue.ticks[name]
    first = bisect_right(store.times, start - 1)
    last = len(store.times) if end is None else bisect_right(store.times, end)
    return [_price(venue, name, index) for index in range(first, min(last, first + _MOST_PRICES))]


def _price(venue: Venue, name: str, index: int) -> dict[str, Any]:
    store, item = venue.ticks[name], venue.exchange.instruments[name]
    bid, ask = item.format_price(store.bids[index]), item.format_price(store.asks[index])
    size = int(venue.exchange.market.quoted_liquidity)
    standing: Quote | None = venue.exchange.book.quotes.get(name)
    newest = standing is not None and standing.time_ns == store.times[index]
    return {
        "instrument": name,
        "tradeable": not newest or venue.exchange.market.tradeable(name),
        "timestamp": to_rfc3339(store.times[index]),
        "baseBid": bid,
        "baseAsk": ask,
        "bids": [{"price": bid, "liquidity": size}],
        "asks": [{"price": ask, "liquidity": size}],
        "closeoutBid": bid,
        "closeoutAsk": ask,
    }
