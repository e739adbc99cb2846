"""The orders that a plan sends: market orders with a bound, and limit orders at the near touch."""

from decimal import Decimal

import msgspec

from core.domain import Instrument, OrderRequest, OrderType, Quote, TimeInForce
from trading.execution.parameters import ExecutionParameters
from trading.execution.plan import ExecutionPlan
from trading.execution.progress import child_id

# Our own cancellation at the time limit comes first; the broker's expiry is for the case that we are gone.
GRACE_NS = 2_000_000_000


def touch(plan: ExecutionPlan, quote: Quote) -> Decimal:
    """Return the price at which the plan would trade at once: the ask for a buyer, the bid for a seller."""
    return Decimal(str(quote.ask if plan.parent.units > 0 else quote.bid))


def within_limit(plan: ExecutionPlan, price: Decimal) -> bool:
    """Whether a price is not beyond the plan's limit."""
    limit = plan.price_limit
    return limit is None or (price <= limit if plan.parent.units > 0 else price >= limit)


def passive_price(plan: ExecutionPlan, instrument: Instrument, quote: Quote) -> Decimal:
    """Return the near touch (the bid for a buyer), not beyond the plan's limit."""
    buys = plan.parent.units > 0
    near = instrument.round_price(quote.bid if buys else quote.ask)
    if plan.price_limit is None:
        return near
    return min(near, plan.price_limit) if buys else max(near, plan.price_limit)


def marketable_child(
    plan: ExecutionPlan,
    leg: int,
    units: Decimal,
    instrument: Instrument,
    quote: Quote,
    parameters: ExecutionParameters,
) -> OrderRequest:
    """Return a market order that is filled no worse than the bound behind the touch and the plan's limit."""
    buys = units > 0
    room = Decimal(str(parameters.price_bound_pips)) * instrument.pip
    price = touch(plan, quote)
    bound = instrument.round_price(price + room if buys else price - room)
    if plan.price_limit is not None:
        bound = min(bound, plan.price_limit) if buys else max(bound, plan.price_limit)
    return _child(plan, leg, units, OrderType.MARKET, parameters.time_in_force, price_bound=bound)


def passive_child(plan: ExecutionPlan, leg: int, units: Decimal, instrument: Instrument, quote: Quote) -> OrderRequest:
    """Return a limit order at the near touch that the broker forgets after the plan's end if we do not."""
    return _child(
        plan,
        leg,
        units,
        OrderType.LIMIT,
        TimeInForce.GTD,
        price=passive_price(plan, instrument, quote),
        good_till_ns=plan.end_ns + GRACE_NS,
    )


def _child(
    plan: ExecutionPlan,
    leg: int,
    units: Decimal,
    order_type: OrderType,
    time_in_force: TimeInForce,
    price: Decimal | None = None,
    price_bound: Decimal | None = None,
    good_till_ns: int | None = None,
) -> OrderRequest:
    """Stops and targets are the parent's prices: each protects the units that its own child opens."""
    return msgspec.structs.replace(
        plan.parent,
        client_order_id=child_id(plan, leg),
        units=units,
        order_type=order_type,
        time_in_force=time_in_force,
        price=price,
        price_bound=price_bound,
        good_till_ns=good_till_ns,
        comment=f"part {leg}",
    )
