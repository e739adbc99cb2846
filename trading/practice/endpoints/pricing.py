"""Prices and candles; the stream is in ``streaming``."""

from typing import Any
from zoneinfo import available_timezones

from core.clock import to_rfc3339
from trading.practice import views
from trading.practice.call import Call
from trading.practice.candles import SECONDS, WEEKDAYS, Alignment, Candle, make_candles
from trading.practice.replies import ProtocolError, Reply, invalid
from trading.practice.venue import Venue

_MOST_CANDLES = 5000


def chosen_instruments(venue: Venue, call: Call) -> list[str]:
    """Return the instruments of the query; each must be listed here."""
    names = call.names("instruments")
    if not names or any(name not in venue.exchange.instruments for name in names):
        raise invalid("instruments")
    return names


def pricing(venue: Venue, call: Call) -> Reply:
    """Return the standing prices."""
    exchange = venue.exchange
    names = chosen_instruments(venue, call)
    since = call.time("since")
    value = exchange.valuation()
    quotes = [exchange.book.quotes[name] for name in names if name in exchange.book.quotes]
    units = call.flag("includeUnitsAvailable", True)
    prices: list[dict[str, Any]] = []
    for quote in quotes:
        if since is None or quote.time_ns > since:
            price = views.full_price(exchange, quote, value)
            if not units:
                del price["unitsAvailable"]
            prices.append(price)
    body: dict[str, Any] = {"time": to_rfc3339(venue.time_ns), "prices": prices}
    if call.flag("includeHomeConversions", False):
        body["homeConversions"] = views.home_conversions(exchange, names)
    return Reply(200, body)


def candles(venue: Venue, call: Call) -> Reply:
    """Return candles of the ticks published so far. ``smooth`` is accepted and changes nothing."""
    name = call.path["instrument"]
    if name not in venue.exchange.instruments:
        raise invalid("instrument")
    granularity = call.query.get("granularity", "S5")
    if granularity not in SECONDS:
        raise invalid("granularity")
    price = call.query.get("price", "M")
    if not price or any(letter not in "MBA" for letter in price):
        raise invalid("price")
    start, end = call.time("from"), call.time("to")
    count = call.number("count", least=1)
    if count is not None and start is not None and end is not None:
        raise ProtocolError(400, "'count' cannot be specified when both 'to' and 'from' are specified")
    if (count or 0) > _MOST_CANDLES:
        raise ProtocolError(400, "Maximum value for 'count' exceeded")
    if start is not None and start > venue.time_ns:
        raise ProtocolError(400, "Invalid value specified for 'from'. Time is in the future")
    limit = count or (_MOST_CANDLES if start is not None and end is not None else 500)
    made = make_candles(
        venue.ticks[name],
        granularity,
        start,
        end,
        limit,
        _alignment(call),
    )
    if start is not None and not call.flag("includeFirst", True) and made and made[0].open_ns == start:
        made = made[1:]
    body = {
        "instrument": name,
        "granularity": granularity,
        "candles": [_candle(venue, name, item, price) for item in made],
    }
    return Reply(200, body)


def _alignment(call: Call) -> Alignment:
    hour = call.number("dailyAlignment", 17)
    zone = call.query.get("alignmentTimezone", "America/New_York")
    weekday = call.query.get("weeklyAlignment", "Friday")
    if hour is None or hour > 23:
        raise invalid("dailyAlignment")
    if zone not in available_timezones():
        raise invalid("alignmentTimezone")
    if weekday not in WEEKDAYS:
        raise invalid("weeklyAlignment")
    return Alignment(hour, zone, weekday)


def _candle(venue: Venue, name: str, candle: Candle, price: str) -> dict[str, Any]:
    instrument = venue.exchange.instruments[name]
    body: dict[str, Any] = {
        "complete": candle.close_ns <= venue.time_ns,
        "volume": candle.volume,
        "time": to_rfc3339(candle.open_ns),
    }
    middle = [(bid + ask) / 2 for bid, ask in zip(candle.bid, candle.ask, strict=True)]
    for letter, key, values in (("B", "bid", candle.bid), ("M", "mid", middle), ("A", "ask", candle.ask)):
        if letter in price:
            body[key] = {part: instrument.format_price(value) for part, value in zip("ohlc", values, strict=True)}
    if venue.exchange.book.quotes[name].simulated:
        body["simulated"] = True
    return body
