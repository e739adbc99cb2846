"""When a pending order is due, as pure functions of the quote."""

import math
from collections.abc import Iterable
from decimal import Decimal

from trading.matching.book import Order

# (bid above, bid below, ask above, ask below): inside, no order of an instrument is due and no trailing stop moves.
Window = tuple[float, float, float, float]

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


def window(orders: Iterable[tuple[Order, bool]], tick: float) -> Window:
    """Return the quotes that leave every one of these orders (with its side, buying or not) as it is.

    The bounds are drawn in by half a tick, the most that rounding a quote to the instrument's precision can move it, so
    that a quote inside needs no look at the orders; one outside may still turn out to touch none.
    """
    bid_floor = ask_floor = -math.inf
    bid_ceiling = ask_ceiling = math.inf
    for order, buying in orders:
        level = order.trailing_stop_value if order.type == "TRAILING_STOP_LOSS" else order.price
        if level is None:
            return math.inf, -math.inf, math.inf, -math.inf
        falling = buying == (order.type in _FAVOURABLE)
        if order.type == "MARKET_IF_TOUCHED":
            start = order.initial_market_price
            if start is None or start == level:
                return math.inf, -math.inf, math.inf, -math.inf
            falling = level < start
        low, high = -math.inf, math.inf
        if falling:
            low = float(level) + tick / 2
        else:
            high = float(level) - tick / 2
        if order.type == "TRAILING_STOP_LOSS" and order.distance is not None:
            # The other bound is where the stop begins to follow.
            if buying:
                low = float(level - order.distance) + tick / 2
            else:
                high = float(level + order.distance) - tick / 2
        # The middle lies between bid and ask: it can only fall to a level the bid has fallen to, or rise to the ask's.
        condition = order.trigger_condition
        by_ask = condition == "ASK" or (condition not in ("BID", "MID") and buying != (condition == "INVERSE"))
        if by_ask or condition == "MID":
            ask_ceiling = min(ask_ceiling, high)
        if not by_ask or condition == "MID":
            bid_floor = max(bid_floor, low)
        if by_ask:
            ask_floor = max(ask_floor, low)
        elif condition != "MID":
            bid_ceiling = min(bid_ceiling, high)
    return bid_floor, bid_ceiling, ask_floor, ask_ceiling
