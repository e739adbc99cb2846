"""Domain requests as v20 JSON. Values are written exactly: the adapter never changes a price or a size.

A value with fewer decimals than the instrument has is padded, as the broker demands; one with more is sent as it is,
and the broker's refusal (``PRICE_PRECISION_EXCEEDED``) shows the error instead of trading another amount.
"""

from decimal import Decimal
from typing import Any

from core.clock import to_rfc3339
from core.domain import Instrument, OrderRequest, OrderType
from core.errors import BadInputError
from trading.brokers.interface import NAMED_BY_BROKER, attached_order_id

Json = dict[str, Any]

_TEXT_LIMIT = 128  # ClientID, ClientTag and ClientComment of v20
_ID_LIMIT = _TEXT_LIMIT - 16  # room for the suffix of attached orders
ATTACHED_TYPES = frozenset({OrderType.STOP_LOSS, OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP_LOSS})
_PRICED = frozenset({OrderType.LIMIT, OrderType.STOP, OrderType.MARKET_IF_TOUCHED})
_BOUNDED = frozenset({OrderType.MARKET, OrderType.STOP, OrderType.MARKET_IF_TOUCHED})


def exact(value: Decimal, decimals: int) -> str:
    """Write ``value`` without exponent and with at least ``decimals`` decimals; it parses back to the same number.

    Raises:
        BadInputError: not a finite number.
    """
    if not value.is_finite():
        raise BadInputError(f"{value} is no price or size: nothing was sent")
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    trailing = 0
    while trailing < -exponent - decimals and trailing < len(digits) - 1 and digits[-1 - trailing] == 0:
        trailing += 1
    places = max(decimals, -exponent - trailing)
    text = f"{value:f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction[:places].ljust(places, "0")
    return f"{whole}.{fraction}" if places > 0 else whole


def order_body(order: OrderRequest, instrument: Instrument | None) -> Json:
    """Return the ``order`` object of a create or replace request.

    Args:
        order: what is to be sent.
        instrument: its precisions; ``None`` for a name the broker does not know, which it will refuse.

    Raises:
        BadInputError: the request cannot be written as a v20 order.
    """
    if not order.client_order_id or len(order.client_order_id) > _ID_LIMIT:
        raise BadInputError(f"client order id {order.client_order_id!r}: it must have 1 to {_ID_LIMIT} characters")
    prices = instrument.display_precision if instrument else 0
    body: Json = {
        "type": order.order_type.value,
        "instrument": order.instrument,
        "units": exact(order.units, instrument.units_precision if instrument else 0),
        "timeInForce": order.time_in_force.value,
        "positionFill": "REDUCE_ONLY" if order.reduce_only else order.position_fill.value,
        "clientExtensions": client_extensions(order, order.client_order_id),
    }
    if order.order_type in _PRICED:
        if order.price is None:
            raise BadInputError(f"order {order.client_order_id}: a {order.order_type} order needs a price")
        body["price"] = exact(order.price, prices)
    elif order.order_type is not OrderType.MARKET:
        raise BadInputError(
            f"order {order.client_order_id}: {order.order_type} belongs to a trade; attach it to an opening order"
        )
    if order.price_bound is not None:
        if order.order_type not in _BOUNDED:
            raise BadInputError(f"order {order.client_order_id}: a {order.order_type} order takes no price bound")
        body["priceBound"] = exact(order.price_bound, prices)
    if order.good_till_ns is not None:
        body["gtdTime"] = to_rfc3339(order.good_till_ns)
    _attach(body, "stopLossOnFill", "price", order.stop_loss_price, OrderType.STOP_LOSS, order, prices)
    _attach(body, "takeProfitOnFill", "price", order.take_profit_price, OrderType.TAKE_PROFIT, order, prices)
    _attach(
        body,
        "trailingStopLossOnFill",
        "distance",
        order.trailing_stop_distance,
        OrderType.TRAILING_STOP_LOSS,
        order,
        prices,
    )
    return body


def trade_order_body(order: OrderRequest, trade_id: str, instrument: Instrument | None) -> Json:
    """Return the ``order`` object of a stop or target of an open trade; it lives until cancelled or ``good_till_ns``.

    Raises:
        BadInputError: no price (or, for a trailing stop, no distance).
    """
    trailing = order.order_type is OrderType.TRAILING_STOP_LOSS
    value = order.trailing_stop_distance if trailing else order.price
    if value is None:
        missing = "trailing_stop_distance" if trailing else "price"
        raise BadInputError(f"order {order.client_order_id}: a {order.order_type} order needs a {missing}")
    body: Json = {
        "type": order.order_type.value,
        "tradeID": trade_id,
        "distance" if trailing else "price": exact(value, instrument.display_precision if instrument else 0),
        "timeInForce": "GTC" if order.good_till_ns is None else "GTD",
        "clientExtensions": client_extensions(order, order.client_order_id),
    }
    if order.good_till_ns is not None:
        body["gtdTime"] = to_rfc3339(order.good_till_ns)
    return body


def order_specifier(client_order_id: str) -> str:
    """Return how v20 is asked for an order: ``@`` and the client id, or the broker's own id of ``broker:<id>``."""
    own = client_order_id.removeprefix(NAMED_BY_BROKER)
    return own if own != client_order_id and own.isdigit() else f"@{client_order_id}"


def client_extensions(order: OrderRequest, client_id: str) -> Json:
    """Return id, tag (strategy) and comment (the decision, or the order's own comment)."""
    extensions: Json = {"id": client_id}
    if order.strategy:
        extensions["tag"] = order.strategy[:_TEXT_LIMIT]
    comment = order.comment or order.decision_id
    if comment:
        extensions["comment"] = comment[:_TEXT_LIMIT]
    return extensions


def closeout_body(position_units: Decimal, units: Decimal, client_order_id: str, instrument: Instrument | None) -> Json:
    """Return the body that takes ``units`` (unsigned) off a position of ``position_units`` (signed)."""
    side = "long" if position_units > 0 else "short"
    other = "short" if side == "long" else "long"
    precision = instrument.units_precision if instrument else 0
    return {
        f"{side}Units": "ALL" if units == abs(position_units) else exact(units, precision),
        f"{side}ClientExtensions": {"id": client_order_id},
        f"{other}Units": "NONE",
    }


def _attach(
    body: Json, key: str, field: str, value: Decimal | None, kind: OrderType, order: OrderRequest, decimals: int
) -> None:
    if value is not None:
        body[key] = {
            field: exact(value, decimals),
            "timeInForce": "GTC",
            "clientExtensions": client_extensions(order, attached_order_id(order.client_order_id, kind)),
        }
