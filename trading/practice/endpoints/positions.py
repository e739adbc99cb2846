"""Positions: list, look up, close."""

from typing import Any

from trading.matching.commands import ClosePosition
from trading.matching.transactions import ClientExtensions, OrderTransaction
from trading.matching.wire import FrozenWire
from trading.practice import views
from trading.practice.call import Call, decimal, ids_of, with_last
from trading.practice.endpoints.orders import name_transactions, rejection
from trading.practice.replies import Reply, invalid
from trading.practice.venue import Venue


class _Close(FrozenWire, frozen=True, kw_only=True):
    long_units: str | int | float | None = None
    short_units: str | int | float | None = None
    long_client_extensions: ClientExtensions | None = None
    short_client_extensions: ClientExtensions | None = None


def listed(venue: Venue, call: Call) -> Reply:
    """List the positions of every instrument ever traded."""
    names = sorted(venue.exchange.book.positions)
    return with_last(venue, {"positions": [views.position(venue.exchange, name) for name in names]})


def open_positions(venue: Venue, call: Call) -> Reply:
    """List open positions."""
    names = sorted(venue.exchange.log.open_trades)
    return with_last(venue, {"positions": [views.position(venue.exchange, name) for name in names]})


def details(venue: Venue, call: Call) -> Reply:
    """Return the position in one instrument."""
    name = _instrument(venue, call)
    return with_last(venue, {"position": views.position(venue.exchange, name)})


def close(venue: Venue, call: Call) -> Reply:
    """Close a position or part of it."""
    wanted = call.body(_Close)
    units: dict[str, str | None] = {}
    for field, value in (("longUnits", wanted.long_units), ("shortUnits", wanted.short_units)):
        text = None if value is None else str(value)
        units[field] = text if text in (None, "ALL", "NONE") else f"{decimal(text, field):f}"
    command = ClosePosition(
        time_ns=venue.time_ns,
        instrument=_instrument(venue, call),
        long_units=units["longUnits"],
        short_units=units["shortUnits"],
        long_client_extensions=wanted.long_client_extensions,
        short_client_extensions=wanted.short_client_extensions,
    )
    made = venue.apply(command)
    body: dict[str, Any] = {}
    reason: str | None = None
    for item in made:
        if not isinstance(item, OrderTransaction):
            continue
        prefix = "shortOrder" if item.short_position_closeout else "longOrder"
        if item.reject_reason is not None:
            reason = reason or item.reject_reason
            body[f"{prefix}RejectTransaction"] = item
        elif item.long_position_closeout or item.short_position_closeout:
            body |= name_transactions(made, item.id, prefix)
    if reason is not None:
        return rejection(venue, made, reason, body)
    return Reply(200, body | ids_of(venue, made))


def _instrument(venue: Venue, call: Call) -> str:
    name = call.path["instrument"]
    if name not in venue.exchange.instruments:
        raise invalid("instrument")
    return name
