"""Transactions: pages, ranges, since, one; the stream is in ``streaming``."""

from typing import Any

from core.clock import to_rfc3339
from trading.matching.transactions import AnyTransaction, OrderTransaction
from trading.practice.call import Call, with_last
from trading.practice.replies import ProtocolError, Reply, invalid
from trading.practice.venue import Venue

_ORDER_KINDS = frozenset({"ORDER_FILL", "ORDER_CANCEL", "ORDER_CANCEL_REJECT"})
_FUNDING = frozenset({"TRANSFER_FUNDS", "TRANSFER_FUNDS_REJECT"})
_ADMIN = frozenset({"CREATE", "CLOSE", "REOPEN", "CLIENT_CONFIGURE", "CLIENT_CONFIGURE_REJECT"})
_RANGE = 1000  # the real server gives at most so many at once


def _matches(item: AnyTransaction, kinds: list[str] | None) -> bool:
    if kinds is None or item.kind in kinds:
        return True
    if "ORDER" in kinds and (isinstance(item, OrderTransaction) or item.kind in _ORDER_KINDS):
        return True
    return ("FUNDING" in kinds and item.kind in _FUNDING) or ("ADMIN" in kinds and item.kind in _ADMIN)


def pages(venue: Venue, call: Call) -> Reply:
    """Return the addresses of the pages of a time range."""
    size = call.number("pageSize", 100, 1) or 100
    if size > _RANGE:
        raise invalid("pageSize")
    exchange = venue.exchange
    first, last = call.query.get("from"), call.query.get("to")
    start, end = call.time("from"), call.time("to")
    kinds = call.names("type")
    ids = [
        item.number
        for item in exchange.transactions
        if (first is None or start is None or item.time >= to_rfc3339(start))
        and (last is None or end is None or item.time <= to_rfc3339(end))
    ]
    base = f"{venue.base_url}/v3/accounts/{venue.config.account_id}/transactions/idrange"
    suffix = f"&type={'%2C'.join(kinds)}" if kinds else ""
    links: list[str] = []
    if ids:
        for begin in range(ids[0], ids[-1] + 1, size):
            links.append(f"{base}?from={begin}&to={min(begin + size - 1, ids[-1])}{suffix}")
    body: dict[str, Any] = {
        "from": exchange.book.created_time if start is None else to_rfc3339(start),
        "to": exchange.log.time if end is None else to_rfc3339(end),
        "pageSize": size,
        "count": len(ids),
        "pages": links,
    }
    if kinds:
        body["type"] = kinds
    return with_last(venue, body)


def id_range(venue: Venue, call: Call) -> Reply:
    """Return the transactions of an id range."""
    first, last = call.number("from", least=1), call.number("to", least=1)
    if first is None or last is None or last < first:
        raise invalid("from" if first is None else "to")
    _in_range(venue, first)
    _in_range(venue, last)
    kinds = call.names("type")
    chosen = [item for item in venue.exchange.transactions[first - 1 : last] if _matches(item, kinds)]
    return with_last(venue, {"transactions": chosen})


def since(venue: Venue, call: Call) -> Reply:
    """Return the transactions after an id."""
    after = call.number("id")
    if after is None:
        raise invalid("id")
    _in_range(venue, after)
    kinds = call.names("type")
    chosen = [item for item in venue.exchange.transactions[after : after + _RANGE] if _matches(item, kinds)]
    return with_last(venue, {"transactions": chosen})


def details(venue: Venue, call: Call) -> Reply:
    """Return one transaction."""
    text = call.path["transactionID"]
    if not (text.isascii() and text.isdigit()):
        raise invalid("transactionID")
    number = int(text)
    if not 1 <= number <= venue.exchange.last_transaction_id:
        raise ProtocolError(404, "The transaction ID specified does not exist", "NO_SUCH_TRANSACTION")
    return with_last(venue, {"transaction": venue.exchange.transactions[number - 1]})


def _in_range(venue: Venue, number: int) -> None:
    if number > venue.exchange.last_transaction_id:
        raise ProtocolError(416, "The transaction ID specified is out of range", "INVALID_TRANSACTION_ID_RANGE")
