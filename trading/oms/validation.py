"""Requests that make no sense are refused before they are written: no broker has to explain them.

Limits on risk are not looked at here, nor what only the broker can know.

Rounding: a price is rounded to the instrument's precision, half to even, where that is what rounding means: float
noise behind the last decimal. A size is never rounded (another size is another order), and a price, bound or distance
that rounding would make 0 is refused.
"""

from decimal import Decimal

import msgspec

from core.domain import Instrument, OrderRequest, OrderType, Quote, RejectReason, TimeInForce
from trading.oms.identity import MAXIMUM_LENGTH
from trading.oms.order import PROTECTIVE, Order

Refusal = tuple[RejectReason, str]

_PRICES = ("price", "price_bound", "stop_loss_price", "take_profit_price", "trailing_stop_distance")
_PRICED = frozenset({OrderType.LIMIT, OrderType.STOP, OrderType.MARKET_IF_TOUCHED})
_BOUNDED = frozenset({OrderType.MARKET, OrderType.STOP, OrderType.MARKET_IF_TOUCHED})
_RESTING = frozenset({TimeInForce.GTC, TimeInForce.GTD})
_TIMES: dict[OrderType, frozenset[TimeInForce]] = {
    OrderType.MARKET: frozenset({TimeInForce.FOK, TimeInForce.IOC}),
    OrderType.LIMIT: frozenset(TimeInForce),
    OrderType.STOP: frozenset(TimeInForce),
    OrderType.MARKET_IF_TOUCHED: _RESTING,
    OrderType.TAKE_PROFIT: _RESTING,
    OrderType.STOP_LOSS: _RESTING,
    OrderType.TRAILING_STOP_LOSS: _RESTING,
}


def rounded(order: OrderRequest, instrument: Instrument) -> OrderRequest:
    """Return the order with prices of the instrument's precision; the same object where nothing changes."""
    changes: dict[str, Decimal] = {}
    for field in _PRICES:
        value: Decimal | None = getattr(order, field)
        if value is not None and value.is_finite() and not _fits(value, instrument.display_precision):
            nearest = instrument.round_price(value)
            if nearest != value and nearest > 0:
                changes[field] = nearest
    return msgspec.structs.replace(order, **changes) if changes else order


def refusal(order: OrderRequest, instrument: Instrument, quote: Quote | None, now_ns: int) -> Refusal | None:
    """Return why an order cannot be one, in words too, or None.

    Args:
        order: with prices already ``rounded``.
        instrument: what is traded.
        quote: the standing one; None leaves out the sides of a market order's stop and target.
        now_ns: the time that a GTD order must outlive.
    """
    if order.order_type in PROTECTIVE:
        return RejectReason.INVALID_ORDER, f"a {order.order_type} belongs to a trade: attach it to an opening order"
    return (
        _identity(order)
        or _size(order, instrument)
        or _numbers(order, instrument)
        or _form(order)
        or _life(order, now_ns)
        or _sides(order, quote)
    )


def amendment_refusal(
    old: Order, replacement: OrderRequest, instrument: Instrument, quote: Quote | None, now_ns: int
) -> Refusal | None:
    """Return why ``replacement`` cannot take the place of an open order, or None.

    A stop or target is replaced by one of its kind and its trade; one that the market has reached already is refused,
    for it would be executed at once.
    """
    invalid = RejectReason.INVALID_ORDER
    if replacement.instrument != old.instrument:
        return invalid, f"an order in {old.instrument} cannot become one in {replacement.instrument}"
    if not old.protective:
        if replacement.order_type is OrderType.MARKET:
            return invalid, "an open order cannot become a MARKET order: cancel it and send one"
        return refusal(replacement, instrument, quote, now_ns)
    if replacement.order_type is not old.order_type:
        return invalid, f"a {old.order_type} can only be replaced by another {old.order_type}"
    trailing = replacement.order_type is OrderType.TRAILING_STOP_LOSS
    if (replacement.trailing_stop_distance if trailing else replacement.price) is None:
        return RejectReason.INVALID_PRICE, f"a {old.order_type} needs a {'distance' if trailing else 'price'}"
    found = _identity(replacement) or _numbers(replacement, instrument) or _life(replacement, now_ns)
    if found is not None or quote is None or trailing or replacement.price is None:
        return found
    closing_long = old.units < 0
    market = Decimal(str(quote.bid if closing_long else quote.ask))
    below = (old.order_type is OrderType.STOP_LOSS) == closing_long
    if (replacement.price >= market) if below else (replacement.price <= market):
        return RejectReason.INVALID_PRICE, f"{old.order_type} at {replacement.price}: the market is at {market} already"
    return None


def _fits(value: Decimal, decimals: int) -> bool:
    """Whether a finite number is written with no more decimals: the usual case, cheap to see."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and -exponent <= decimals


def _identity(order: OrderRequest) -> Refusal | None:
    name = order.client_order_id
    if not 0 < len(name) <= MAXIMUM_LENGTH or not name.isascii() or not name.isprintable():
        return RejectReason.INVALID_ORDER, f"client order id {name!r}: it must have 1 to {MAXIMUM_LENGTH} characters"
    return None


def _size(order: OrderRequest, instrument: Instrument) -> Refusal | None:
    units = order.units
    invalid = RejectReason.INVALID_UNITS
    if not units.is_finite() or units == 0:
        return invalid, f"{units} units: give a number that is not 0, negative to sell"
    if not _fits(units, instrument.units_precision) and instrument.round_units(units) != units:
        return invalid, f"{units} units: {instrument.name} is traded in steps of {instrument.unit_step}"
    if abs(units) < instrument.minimum_units:
        return invalid, f"{units} units: the broker takes no less than {instrument.minimum_units}"
    if abs(units) > instrument.maximum_order_units:
        return invalid, f"{units} units: the broker takes no more than {instrument.maximum_order_units}"
    return None


def _numbers(order: OrderRequest, instrument: Instrument) -> Refusal | None:
    for field in _PRICES:
        value: Decimal | None = getattr(order, field)
        if value is None:
            continue
        words = field.replace("_", " ")
        if not value.is_finite() or value <= 0:
            return RejectReason.INVALID_PRICE, f"{words} {value}: give a number above 0"
        if not _fits(value, instrument.display_precision) and instrument.round_price(value) != value:
            return RejectReason.INVALID_PRICE, f"{words} {value}: {instrument.name} has steps of {instrument.tick}"
    return None


def _form(order: OrderRequest) -> Refusal | None:
    kind = order.order_type
    if kind in _PRICED and order.price is None:
        return RejectReason.INVALID_PRICE, f"a {kind} order needs a price"
    if kind is OrderType.MARKET and order.price is not None:
        return RejectReason.INVALID_PRICE, "a MARKET order has no price: give a price bound or send a LIMIT order"
    if order.price_bound is not None and kind not in _BOUNDED:
        return RejectReason.INVALID_PRICE, f"a {kind} order has no price bound: its price is the bound"
    return None


def _life(order: OrderRequest, now_ns: int) -> Refusal | None:
    invalid = RejectReason.INVALID_TIME
    force, until = order.time_in_force, order.good_till_ns
    if order.order_type in PROTECTIVE:  # it lives until cancelled, or until the time given
        return (invalid, "the order would end in the past") if until is not None and until <= now_ns else None
    if force not in _TIMES[order.order_type]:
        return invalid, f"a {order.order_type} order cannot be {force}"
    if force is TimeInForce.GTD and until is None:
        return invalid, "a GTD order needs the time it is good till"
    if force is not TimeInForce.GTD and until is not None:
        return invalid, f"a {force} order has no time it is good till: make it GTD"
    if until is not None and until <= now_ns:
        return invalid, "the order would end in the past"
    return None


def _sides(order: OrderRequest, quote: Quote | None) -> Refusal | None:
    """Check bound, stop and target against the price the order would trade at."""
    stop, target, bound = order.stop_loss_price, order.take_profit_price, order.price_bound
    if stop is None and target is None and bound is None:
        return None
    buying = order.units > 0
    entry = order.price
    if entry is None and quote is not None:
        entry = Decimal(str(quote.ask if buying else quote.bid))
    if entry is None:
        return None
    invalid = RejectReason.INVALID_PRICE
    if stop is not None and (stop >= entry if buying else stop <= entry):
        return invalid, f"stop loss {stop} on the wrong side of the entry {entry}"
    if target is not None and (target <= entry if buying else target >= entry):
        return invalid, f"take profit {target} on the wrong side of the entry {entry}"
    if bound is not None and order.price is not None and (bound < order.price if buying else bound > order.price):
        return invalid, f"price bound {bound} is better than the price {order.price}: the order could never be filled"
    return None
