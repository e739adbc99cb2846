"""Accounts: list, whole, summary, instruments, changes, configuration."""

from decimal import Decimal
from typing import Any

from trading.matching.book import Order
from trading.matching.commands import Configure
from trading.matching.transactions import (
    ClientConfigureReject,
    DailyFinancing,
    OrderCancel,
    OrderFill,
    OrderTransaction,
)
from trading.matching.wire import FrozenWire
from trading.practice import views
from trading.practice.call import Call, ids_of, with_last
from trading.practice.replies import ProtocolError, Reply, invalid, message_of
from trading.practice.venue import Venue


def accounts(venue: Venue, call: Call) -> Reply:
    """List the one account of the token."""
    return Reply(200, {"accounts": [{"id": venue.config.account_id, "tags": []}]})


def account(venue: Venue, call: Call) -> Reply:
    """Return the account with its orders, trades and positions."""
    return with_last(venue, {"account": views.account(venue.exchange)})


def summary(venue: Venue, call: Call) -> Reply:
    """Return the account's figures."""
    return with_last(venue, {"account": views.summary(venue.exchange)})


def instruments(venue: Venue, call: Call) -> Reply:
    """List the tradable instruments."""
    known = venue.exchange.instruments
    names = call.names("instruments")
    if names is not None and any(name not in known for name in names):
        raise invalid("instruments")
    chosen = [known[name] for name in (sorted(known) if names is None else names)]
    return with_last(venue, {"instruments": [views.instrument(venue.exchange, item) for item in chosen]})


def changes(venue: Venue, call: Call) -> Reply:
    """Return what happened since a transaction, and the figures that move with prices."""
    exchange = venue.exchange
    since = call.number("sinceTransactionID")
    if since is None:
        raise invalid("sinceTransactionID")
    if since > exchange.last_transaction_id:
        raise ProtocolError(416, "The transaction ID specified is out of range")
    book = exchange.book
    transactions = exchange.transactions[since:]
    orders: dict[str, list[Order]] = {"created": [], "cancelled": [], "filled": []}
    opened: list[str] = []
    reduced: list[str] = []
    closed: list[str] = []
    touched: set[str] = set()
    for item in transactions:
        if isinstance(item, OrderTransaction) and item.reject_reason is None:
            orders["created"].append(book.orders[item.id])
        elif isinstance(item, OrderCancel):
            orders["cancelled"].append(book.orders[item.order_id])
        elif isinstance(item, OrderFill):
            orders["filled"].append(book.orders[item.order_id])
            touched.add(item.instrument)
            opened += [item.trade_opened.trade_id] if item.trade_opened else []
            reduced += [item.trade_reduced.trade_id] if item.trade_reduced else []
            closed += [part.trade_id for part in item.trades_closed or ()]
        elif isinstance(item, DailyFinancing):
            touched.update(part.instrument for part in item.position_financings)
    body: dict[str, Any] = {
        "ordersCreated": [order for order in orders["created"] if order.state == "PENDING"],
        "ordersCancelled": orders["cancelled"],
        "ordersFilled": orders["filled"],
        "ordersTriggered": [],
        "positions": [views.position(exchange, name) for name in sorted(touched)],
        "transactions": transactions,
    }
    for key, ids in (("tradesOpened", opened), ("tradesReduced", reduced), ("tradesClosed", closed)):
        body[key] = [views.trade(exchange, book.trades[number], nested=False) for number in ids]
    trades = [views.trade(exchange, item, nested=False) for item in views.open_trades(exchange)]
    positions = [views.position(exchange, name) for name in sorted(exchange.log.open_trades)]
    state = views.valuation(exchange.valuation()) | {
        "orders": [
            {"id": order.id, "trailingStopValue": order.trailing_stop_value}
            for order in views.pending_orders(exchange)
            if order.trailing_stop_value is not None
        ],
        "trades": [{key: item[key] for key in ("id", "unrealizedPL", "marginUsed")} for item in trades],
        "positions": [
            {
                "instrument": item["instrument"],
                "netUnrealizedPL": item["unrealizedPL"],
                "longUnrealizedPL": item["long"]["unrealizedPL"],
                "shortUnrealizedPL": item["short"]["unrealizedPL"],
                "marginUsed": item["marginUsed"],
            }
            for item in positions
        ],
    }
    return with_last(venue, {"changes": body, "state": state | views.totals(exchange)})


class _Configuration(FrozenWire, frozen=True, kw_only=True):
    alias: str | None = None
    margin_rate: Decimal | None = None


def configure(venue: Venue, call: Call) -> Reply:
    """Change the account's name or margin rate."""
    wanted = call.body(_Configuration)
    made = venue.apply(Configure(time_ns=venue.time_ns, alias=wanted.alias, margin_rate=wanted.margin_rate))
    last = {"lastTransactionID": venue.exchange.log.last_id}
    for item in made:
        if isinstance(item, ClientConfigureReject):
            body = {
                "clientConfigureRejectTransaction": item,
                "errorCode": item.reject_reason,
                "errorMessage": message_of(item.reject_reason),
            }
            return Reply(400, body | last)
    return Reply(200, {"clientConfigureTransaction": made[-1]} | ids_of(venue, made))
