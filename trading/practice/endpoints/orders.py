"""Orders: create, list, look up, replace, cancel, label."""

from typing import Any

from trading.matching.book import Order
from trading.matching.commands import Cancel, ModifyOrderExtensions, OrderSpecification, RejectNext, Replace, Submit
from trading.matching.transactions import (
    AnyTransaction,
    ClientExtensions,
    OrderCancel,
    OrderCancelReject,
    OrderClientExtensionsModifyReject,
    OrderFill,
    OrderTransaction,
)
from trading.matching.validation import ORDER_TYPES
from trading.matching.wire import FrozenWire
from trading.practice import views
from trading.practice.call import Call, ids_of, next_page, with_last
from trading.practice.replies import ProtocolError, Reply, invalid, message_of
from trading.practice.venue import Venue

_NOT_FOUND = frozenset({"ORDER_DOESNT_EXIST", "TRADE_DOESNT_EXIST", "CLOSEOUT_POSITION_DOESNT_EXIST"})


class _Order(FrozenWire, frozen=True, kw_only=True):
    order: OrderSpecification


class _Labels(FrozenWire, frozen=True, kw_only=True):
    client_extensions: ClientExtensions | None = None
    trade_client_extensions: ClientExtensions | None = None


def rejection(venue: Venue, made: list[AnyTransaction], reason: str, fields: dict[str, Any]) -> Reply:
    """Return the reply to a request the exchange refused: 404 for what is not there, else 400."""
    body = fields | ids_of(venue, made) | {"errorCode": reason, "errorMessage": message_of(reason)}
    return Reply(404 if reason in _NOT_FOUND else 400, body)


def name_transactions(made: list[AnyTransaction], order_id: str, prefix: str = "order") -> dict[str, AnyTransaction]:
    """Return the create, fill and cancel transactions of one order under the protocol's names."""
    body: dict[str, AnyTransaction] = {}
    for item in made:
        if isinstance(item, OrderTransaction) and item.id == order_id:
            body[f"{prefix}CreateTransaction"] = item
        elif isinstance(item, OrderFill) and item.order_id == order_id:
            body[f"{prefix}FillTransaction"] = item
        elif isinstance(item, OrderCancel) and item.order_id == order_id:
            body[f"{prefix}CancelTransaction"] = item
    return body


def _specification(call: Call) -> OrderSpecification:
    spec = call.body(_Order).order
    if spec.type not in ORDER_TYPES:
        raise invalid("order.type")
    return spec


def create(venue: Venue, call: Call) -> Reply:
    """Create an order. One that cannot be executed answers 201 with a cancel transaction, as the real server does."""
    spec = _specification(call)
    fault = venue.faults.for_order() if venue.faults.armed else None
    if fault is not None:
        venue.apply(RejectNext(time_ns=venue.time_ns, reason=fault.reason))
    made = venue.apply(Submit(time_ns=venue.time_ns, order=spec))
    first = next(item for item in made if isinstance(item, OrderTransaction))
    if first.reject_reason is not None:
        return rejection(venue, made, first.reject_reason, {"orderRejectTransaction": first})
    body = name_transactions(made, first.id) | ids_of(venue, made)
    location = f"/v3/accounts/{venue.config.account_id}/orders/{first.id}"
    return Reply(201, body, {"Location": location})


def replace(venue: Venue, call: Call) -> Reply:
    """Replace a pending order."""
    specifier = call.path["orderSpecifier"]
    made = venue.apply(Replace(time_ns=venue.time_ns, order=specifier, replacement=_specification(call)))
    for item in made:
        if isinstance(item, OrderCancelReject):
            return rejection(venue, made, item.reject_reason, {"orderCancelRejectTransaction": item})
        if isinstance(item, OrderTransaction) and item.reject_reason is not None:
            return rejection(venue, made, item.reject_reason, {"orderRejectTransaction": item})
    created = next(item for item in made if isinstance(item, OrderTransaction) and item.replaces_order_id)
    body: dict[str, Any] = dict(name_transactions(made, created.id))
    if "orderCancelTransaction" in body:
        body["replacingOrderCancelTransaction"] = body.pop("orderCancelTransaction")
    body["orderCancelTransaction"] = next(
        item for item in made if isinstance(item, OrderCancel) and item.replaced_by_order_id == created.id
    )
    return Reply(201, body | ids_of(venue, made))


def cancel(venue: Venue, call: Call) -> Reply:
    """Cancel a pending order."""
    made = venue.apply(Cancel(time_ns=venue.time_ns, order=call.path["orderSpecifier"]))
    for item in made:
        if isinstance(item, OrderCancelReject):
            return rejection(venue, made, item.reject_reason, {"orderCancelRejectTransaction": item})
    return Reply(200, {"orderCancelTransaction": made[-1]} | ids_of(venue, made))


def label(venue: Venue, call: Call) -> Reply:
    """Change the client's labels of a pending order."""
    labels = call.body(_Labels)
    command = ModifyOrderExtensions(
        time_ns=venue.time_ns,
        order=call.path["orderSpecifier"],
        client_extensions=labels.client_extensions,
        trade_client_extensions=labels.trade_client_extensions,
    )
    made = venue.apply(command)
    for item in made:
        if isinstance(item, OrderClientExtensionsModifyReject):
            fields = {"orderClientExtensionsModifyRejectTransaction": item}
            return rejection(venue, made, item.reject_reason, fields)
    return Reply(200, {"orderClientExtensionsModifyTransaction": made[-1]} | ids_of(venue, made))


def pending(venue: Venue, call: Call) -> Reply:
    """List pending orders."""
    return with_last(venue, {"orders": views.pending_orders(venue.exchange)})


def listed(venue: Venue, call: Call) -> Reply:
    """List orders by state, instrument and ids, newest first."""
    state = call.query.get("state", "PENDING")
    if state not in ("PENDING", "FILLED", "TRIGGERED", "CANCELLED", "ALL"):
        raise invalid("state")
    ids = call.names("ids")
    wanted = None if ids is None else set(ids)
    instrument = call.query.get("instrument")
    count = call.number("count", 50, 1) or 50
    before = call.number("beforeID")
    log = venue.exchange.log
    orders: list[Order] = []
    for order in reversed(log.book.orders.values()):
        if len(orders) == min(count, 500):
            break
        if wanted is not None and order.id not in wanted:
            continue
        if wanted is None and state not in ("ALL", order.state):
            continue
        if instrument is not None and log.instrument_of(order) != instrument:
            continue
        if before is None or int(order.id) < before:
            orders.append(order)
    reply = with_last(venue, {"orders": orders})
    if len(orders) == min(count, 500):
        reply.headers["Link"] = next_page(venue, call, orders[-1].id)
    return reply


def details(venue: Venue, call: Call) -> Reply:
    """Return one order by id or ``@client id``."""
    order = venue.exchange.log.find_order(call.path["orderSpecifier"])
    if order is None:
        raise ProtocolError(404, "The order ID specified does not exist", "NO_SUCH_ORDER")
    return with_last(venue, {"order": order})
