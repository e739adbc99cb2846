"""Checks of an order before it exists, each with the protocol's own reject reason.

Order of the checks: what is missing or malformed first, then price, time and identity. An order that passes may be
cancelled when it cannot be executed (margin, bounds, halted market): that is an ``ORDER_CANCEL``, not a reject.

Simplifications: guaranteed stop-losses are refused (the account's mode is DISABLED) and the account locks of v20 do not
exist; ``STOP`` orders take GTC, GTD and GFD only; a maximum distance is enforced for trailing stops only (the
instrument's own limits).
"""

from decimal import Decimal

from core.domain import Instrument
from trading.matching.commands import OrderSpecification
from trading.matching.schedule import parse_time
from trading.matching.transactions import ClientExtensions, OnFillDetails

ENTRY_TYPES = frozenset({"LIMIT", "STOP", "MARKET_IF_TOUCHED"})
TRADE_TYPES = frozenset({"TAKE_PROFIT", "STOP_LOSS", "TRAILING_STOP_LOSS"})
ORDER_TYPES = ENTRY_TYPES | TRADE_TYPES | {"MARKET"}
_TIMES_IN_FORCE = {
    "MARKET": frozenset({"FOK", "IOC"}),
    "LIMIT": frozenset({"GTC", "GTD", "GFD", "FOK", "IOC"}),
}
_RESTING = frozenset({"GTC", "GTD", "GFD"})
_POSITION_FILLS = frozenset({"DEFAULT", "OPEN_ONLY", "REDUCE_FIRST", "REDUCE_ONLY"})
_TRIGGERS = frozenset({"DEFAULT", "INVERSE", "BID", "ASK", "MID"})
_LONGEST = {"id": 128, "tag": 128, "comment": 128}


def default_time_in_force(order_type: str) -> str:
    """Return what v20 takes when the client says nothing."""
    return "FOK" if order_type == "MARKET" else "GTC"


def precision_exceeded(value: Decimal, decimals: int) -> bool:
    """Return whether a number needs more decimals than allowed; trailing zeros say nothing."""
    exponent = value.normalize().as_tuple().exponent
    return isinstance(exponent, int) and -exponent > decimals


def trailing_limits(instrument: Instrument) -> tuple[Decimal, Decimal]:
    """Return the smallest and largest trailing distance: 5 and 10,000 pips, as in the recordings."""
    return instrument.pip * 5, instrument.pip * 10_000


def _extensions_reason(extensions: ClientExtensions | None, prefix: str) -> str | None:
    if extensions is None:
        return None
    for field, longest in _LONGEST.items():
        value = getattr(extensions, field)
        if value is not None and (len(value) > longest or (field == "id" and value == "")):
            return f"{prefix}_{field.upper()}_INVALID"
    return None


def _gtd_reason(time_in_force: str | None, gtd_time: str | None, now_ns: int, prefix: str) -> str | None:
    if time_in_force != "GTD":
        return None
    if gtd_time is None:
        return f"{prefix}GTD_TIMESTAMP_MISSING"
    try:
        past = parse_time(gtd_time) <= now_ns
    except ValueError:
        return f"{prefix}GTD_TIMESTAMP_MISSING"  # there is none that can be read
    return f"{prefix}GTD_TIMESTAMP_IN_PAST" if past else None


def _on_fill_reason(details: OnFillDetails | None, prefix: str, instrument: Instrument, now_ns: int) -> str | None:
    """Check attached orders; ``prefix`` is TAKE_PROFIT, STOP_LOSS or TRAILING_STOP_LOSS."""
    if details is None:
        return None
    name = f"{prefix}_ON_FILL"
    if details.guaranteed:
        return "STOP_LOSS_ON_FILL_GUARANTEED_NOT_ALLOWED"
    if details.trigger_condition is not None and details.trigger_condition not in _TRIGGERS:
        return f"{name}_TRIGGER_CONDITION_INVALID"
    decimals = instrument.display_precision
    if prefix == "STOP_LOSS":
        if details.price is not None and details.distance is not None:
            return f"{name}_PRICE_AND_DISTANCE_BOTH_SPECIFIED"
        if details.price is None and details.distance is None:
            return f"{name}_PRICE_AND_DISTANCE_BOTH_MISSING"
    if prefix == "TAKE_PROFIT" and details.price is None:
        return f"{name}_PRICE_MISSING"
    if prefix == "TRAILING_STOP_LOSS" and details.distance is None:
        return f"{name}_PRICE_DISTANCE_MISSING"
    if details.price is not None:
        if not details.price.is_finite() or details.price <= 0:
            return f"{name}_PRICE_INVALID"
        if precision_exceeded(details.price, decimals):
            return f"{name}_PRICE_PRECISION_EXCEEDED"
    if details.distance is not None:
        word = "PRICE_DISTANCE" if prefix == "TRAILING_STOP_LOSS" else "DISTANCE"
        if not details.distance.is_finite() or details.distance <= 0:
            return f"{name}_{word}_INVALID"
        if precision_exceeded(details.distance, decimals):
            return f"{name}_{word}_PRECISION_EXCEEDED"
        if prefix == "TRAILING_STOP_LOSS":
            smallest, largest = trailing_limits(instrument)
            if details.distance < smallest:
                return f"{name}_{word}_MINIMUM_NOT_MET"
            if details.distance > largest:
                return f"{name}_{word}_MAXIMUM_EXCEEDED"
    if (details.time_in_force or "GTC") not in _RESTING:
        return f"{name}_TIME_IN_FORCE_INVALID"
    return _gtd_reason(details.time_in_force, details.gtd_time, now_ns, f"{name}_") or _extensions_reason(
        details.client_extensions, f"{name}_CLIENT_ORDER"
    )


def _units_reason(units: Decimal | None, instrument: Instrument) -> str | None:
    if units is None:
        return "UNITS_MISSING"
    if not units.is_finite() or units == 0:
        return "UNITS_INVALID"
    if precision_exceeded(units, instrument.units_precision):
        return "UNITS_PRECISION_EXCEEDED"
    if abs(units) > instrument.maximum_order_units:
        return "UNITS_LIMIT_EXCEEDED"
    return "UNITS_MIMIMUM_NOT_MET" if abs(units) < instrument.minimum_units else None  # the protocol's own spelling


def _price_reason(price: Decimal | None, instrument: Instrument, prefix: str, required: bool) -> str | None:
    if price is None:
        return f"{prefix}_MISSING" if required else None
    if not price.is_finite() or price <= 0:
        return f"{prefix}_INVALID"
    return f"{prefix}_PRECISION_EXCEEDED" if precision_exceeded(price, instrument.display_precision) else None


def _distance_reason(spec: OrderSpecification, instrument: Instrument) -> str | None:
    distance = spec.distance
    if spec.type == "STOP_LOSS":
        if distance is not None and spec.price is not None:
            return "STOP_LOSS_ORDER_PRICE_AND_DISTANCE_BOTH_SPECIFIED"
        if distance is None and spec.price is None:
            return "STOP_LOSS_ORDER_PRICE_AND_DISTANCE_BOTH_MISSING"
    elif spec.type == "TRAILING_STOP_LOSS" and distance is None:
        return "PRICE_DISTANCE_MISSING"
    if distance is None:
        return None
    if not distance.is_finite() or distance <= 0:
        return "PRICE_DISTANCE_INVALID"
    if precision_exceeded(distance, instrument.display_precision):
        return "PRICE_DISTANCE_PRECISION_EXCEEDED"
    if spec.type == "TRAILING_STOP_LOSS":
        smallest, largest = trailing_limits(instrument)
        if distance < smallest:
            return "PRICE_DISTANCE_MINIMUM_NOT_MET"
        if distance > largest:
            return "PRICE_DISTANCE_MAXIMUM_EXCEEDED"
    return None


def reject_reason(spec: OrderSpecification, instrument: Instrument, now_ns: int) -> str | None:
    """Return why a specification cannot become an order, None when it can.

    Whether the trade, the client ids and earlier orders exist is for the order desk: this looks at the values only.
    """
    time_in_force = spec.time_in_force or default_time_in_force(spec.type)
    reason: str | None = None
    if spec.guaranteed:
        reason = "STOP_LOSS_ORDER_GUARANTEED_NOT_ALLOWED"
    elif spec.guaranteed_stop_loss_on_fill is not None:
        reason = "STOP_LOSS_ON_FILL_GUARANTEED_NOT_ALLOWED"
    elif spec.type not in TRADE_TYPES:
        reason = _units_reason(spec.units, instrument)
    if reason is None and spec.type != "MARKET":
        reason = _price_reason(spec.price, instrument, "PRICE", spec.type in ENTRY_TYPES or spec.type == "TAKE_PROFIT")
    reason = (
        reason
        or _distance_reason(spec, instrument)
        or _price_reason(spec.price_bound, instrument, "PRICE_BOUND", required=False)
    )
    if reason is None and time_in_force not in _TIMES_IN_FORCE.get(spec.type, _RESTING):
        reason = "TIME_IN_FORCE_INVALID"
    if reason is None and spec.position_fill not in _POSITION_FILLS:
        reason = "ORDER_FILL_POSITION_ACTION_INVALID"
    if reason is None and spec.trigger_condition not in _TRIGGERS:
        reason = "TRIGGER_CONDITION_INVALID"
    reason = reason or _gtd_reason(time_in_force, spec.gtd_time, now_ns, "TIME_IN_FORCE_")
    reason = reason or _extensions_reason(spec.client_extensions, "CLIENT_ORDER")
    reason = reason or _extensions_reason(spec.trade_client_extensions, "CLIENT_TRADE")
    for details, prefix in (
        (spec.take_profit_on_fill, "TAKE_PROFIT"),
        (spec.stop_loss_on_fill, "STOP_LOSS"),
        (spec.trailing_stop_loss_on_fill, "TRAILING_STOP_LOSS"),
    ):
        reason = reason or _on_fill_reason(details, prefix, instrument, now_ns)
    return reason
