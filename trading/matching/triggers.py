"""When a pending order is due, as pure functions of the quote."""

from decimal import Decimal

from trading.matching.book import Order

# Order types that trigger when the price comes down to them (for a buy) and those it must rise to.
_FAVOURABLE = frozenset({"LIMIT", "TAKE_PROFIT"})


def trigger_price(order: Order, buying: bool, bid: Decimal, ask: Decimal) -> Decimal:
    """Return the price an order watches: the side it would trade at, unless it asked for another."""
    condition = order.trigger_condition
    if condition == "MID":
        return (bid + ask) / 2
    if condition == "BID":
        return bid
    if condition == "ASK":
        return ask
    return ask if buying != (condition == "INVERSE") else bid


def triggered(order: Order, buying: bool, bid: Decimal, ask: Decimal) -> bool:
    """Return whether the order executes at this quote. ``buying``: the side of the execution."""
    level = order.trailing_stop_value if order.type == "TRAILING_STOP_LOSS" else order.price
    if level is None:
        return False
    watched = trigger_price(order, buying, bid, ask)
    falling = buying == (order.type in _FAVOURABLE)  # due when the watched price is at or below the level
    if order.type == "MARKET_IF_TOUCHED":
        start = order.initial_market_price
        if start is None or level == start:
            return True
        falling = level < start
    return watched <= level if falling else watched >= level


def trail(order: Order, buying: bool, bid: Decimal, ask: Decimal) -> bool:
    """Move a trailing stop after the price; return whether it moved. It never moves against the trade."""
    if order.distance is None:
        return False
    watched = trigger_price(order, buying, bid, ask)
    value = watched + order.distance if buying else watched - order.distance
    old = order.trailing_stop_value
    if old is not None and (value >= old if buying else value <= old):
        return False
    order.trailing_stop_value = value
    return True
