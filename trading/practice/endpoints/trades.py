"""Trades: list, look up, close, their orders and labels."""

from typing import Any

import msgspec

from trading.matching.book import Trade
from trading.matching.commands import CloseTrade, ModifyTradeExtensions, SetTradeOrders
from trading.matching.transactions import (
    ClientExtensions,
    OnFillDetails,
    OrderCancel,
    OrderFill,
    OrderTransaction,
    TradeClientExtensionsModifyReject,
)
from trading.matching.wire import FrozenWire
from trading.practice import views
from trading.practice.call import Call, decimal, ids_of, next_page, with_last
from trading.practice.endpoints.orders import name_transactions, rejection
from trading.practice.replies import ProtocolError, Reply, invalid
from trading.practice.venue import Venue

_NAMES = {
    "TAKE_PROFIT": "takeProfit",
    "STOP_LOSS": "stopLoss",
    "TRAILING_STOP_LOSS": "trailingStopLoss",
}


class _Close(FrozenWire, frozen=True, kw_only=True):
    units: str | int | float = "ALL"
    client_extensions: ClientExtensions | None = None


class _Labels(FrozenWire, frozen=True, kw_only=True):
    client_extensions: ClientExtensions | None = None


class _Orders(FrozenWire, frozen=True, kw_only=True):
    take_profit: OnFillDetails | msgspec.UnsetType | None = msgspec.UNSET
    stop_loss: OnFillDetails | msgspec.UnsetType | None = msgspec.UNSET
    trailing_stop_loss: OnFillDetails | msgspec.UnsetType | None = msgspec.UNSET


def _find(venue: Venue, call: Call) -> Trade:
    trade = venue.exchange.log.find_trade(call.path["tradeSpecifier"])
    if trade is None:
        raise ProtocolError(404, "The trade ID specified does not exist", "NO_SUCH_TRADE")
    return trade


def listed(venue: Venue, call: Call) -> Reply:
    """List trades by state, instrument and ids, newest first."""
    state = call.query.get("state", "OPEN")
    if state not in ("OPEN", "CLOSED", "CLOSE_WHEN_TRADEABLE", "ALL"):
        raise invalid("state")
    ids = call.names("ids")
    wanted = None if ids is None else set(ids)
    instrument = call.query.get("instrument")
    count = call.number("count", 50, 1) or 50
    before = call.number("beforeID")
    chosen: list[Trade] = []
    for item in reversed(venue.exchange.book.trades.values()):
        if len(chosen) == min(count, 500):
            break
        if wanted is not None and item.id not in wanted:
            continue
        if wanted is None and state not in ("ALL", "OPEN" if item.units else "CLOSED"):
            continue
        if instrument is not None and item.instrument not in instrument.split(","):
            continue
        if before is None or int(item.id) < before:
            chosen.append(item)
    reply = with_last(venue, {"trades": [views.trade(venue.exchange, item, nested=True) for item in chosen]})
    if len(chosen) == min(count, 500):
        reply.headers["Link"] = next_page(venue, call, chosen[-1].id)
    return reply


def open_trades(venue: Venue, call: Call) -> Reply:
    """List open trades."""
    exchange = venue.exchange
    trades = [views.trade(exchange, item, nested=True) for item in views.open_trades(exchange)]
    return with_last(venue, {"trades": trades})


def details(venue: Venue, call: Call) -> Reply:
    """Return one trade by id or ``@client id``."""
    return with_last(venue, {"trade": views.trade(venue.exchange, _find(venue, call), nested=True)})


def close(venue: Venue, call: Call) -> Reply:
    """Close a trade or part of it."""
    wanted = call.body(_Close)
    units = None if wanted.units == "ALL" else decimal(str(wanted.units), "units")
    command = CloseTrade(
        time_ns=venue.time_ns,
        trade=call.path["tradeSpecifier"],
        units=units,
        client_extensions=wanted.client_extensions,
    )
    made = venue.apply(command)
    first = next(item for item in made if isinstance(item, OrderTransaction))
    if first.reject_reason is not None:
        return rejection(venue, made, first.reject_reason, {"orderRejectTransaction": first})
    return Reply(200, name_transactions(made, first.id) | ids_of(venue, made))


def set_orders(venue: Venue, call: Call) -> Reply:
    """Create, replace or cancel (null) the orders of a trade."""
    wanted = call.body(_Orders)
    given = {
        "TAKE_PROFIT": wanted.take_profit,
        "STOP_LOSS": wanted.stop_loss,
        "TRAILING_STOP_LOSS": wanted.trailing_stop_loss,
    }
    placed = {kind: item for kind, item in given.items() if isinstance(item, OnFillDetails)}
    trade = _find(venue, call)
    before = {number: kind for kind, number in trade.order_ids.items()}
    command = SetTradeOrders(
        time_ns=venue.time_ns,
        trade=call.path["tradeSpecifier"],
        take_profit=placed.get("TAKE_PROFIT"),
        stop_loss=placed.get("STOP_LOSS"),
        trailing_stop_loss=placed.get("TRAILING_STOP_LOSS"),
        cancel=tuple(kind for kind, item in given.items() if item is None),
    )
    made = venue.apply(command)
    body: dict[str, Any] = {}
    kinds = dict(before)
    refused: str | None = None
    for item in made:
        if isinstance(item, OrderTransaction):
            kind = item.kind.partition("_ORDER")[0]
            if item.reject_reason is not None:
                refused = refused or item.reject_reason
                body[f"{_NAMES[kind]}OrderRejectTransaction"] = item
            else:
                kinds[item.id] = kind
                body[f"{_NAMES[kind]}OrderTransaction"] = item
        elif isinstance(item, OrderCancel) and item.order_id in kinds:
            word = "Cancel" if item.order_id in before else "CreatedCancel"
            body.setdefault(f"{_NAMES[kinds[item.order_id]]}Order{word}Transaction", item)
        elif isinstance(item, OrderFill) and item.order_id in kinds:
            body[f"{_NAMES[kinds[item.order_id]]}OrderFillTransaction"] = item
    if refused is not None:
        return rejection(venue, made, refused, body)
    return Reply(200, body | ids_of(venue, made))


def label(venue: Venue, call: Call) -> Reply:
    """Change the client's labels of a trade."""
    command = ModifyTradeExtensions(
        time_ns=venue.time_ns,
        trade=call.path["tradeSpecifier"],
        client_extensions=call.body(_Labels).client_extensions,
    )
    made = venue.apply(command)
    item = made[-1]
    if isinstance(item, TradeClientExtensionsModifyReject):
        fields = {"tradeClientExtensionsModifyRejectTransaction": item}
        return rejection(venue, made, item.reject_reason, fields)
    return Reply(200, {"tradeClientExtensionsModifyTransaction": item} | ids_of(venue, made))
