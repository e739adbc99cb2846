"""Everything that can move money: sent once, from a thread of its own, and asked about when its reply is lost."""

import asyncio
import contextlib
from collections import OrderedDict
from decimal import Decimal
from typing import Any, cast
from urllib.parse import quote

import msgspec
from oandapyV20.endpoints.orders import OrderCancel, OrderCreate, OrderDetails, OrderReplace
from oandapyV20.endpoints.positions import OpenPositions, PositionClose

from core.clock import Clock
from core.domain import BrokerEvent, OrderFilled, OrderRejected, OrderRequest, Position, RejectReason
from core.errors import BadInputError, OutcomeUnknownError
from trading.brokers.oanda.connection import Connection, entries
from trading.brokers.oanda.order_channel import TradingEndpoint
from trading.brokers.oanda.replies import Reply
from trading.brokers.oanda.secrecy import clean
from trading.brokers.v20.rejects import reason_of_message, reject_reason
from trading.brokers.v20.translate import position_of
from trading.brokers.v20.wire import ATTACHED_TYPES, closeout_body, order_body, order_specifier, trade_order_body

_REMEMBERED = 10_000  # orders whose fate may still be asked for without a transaction id


class OrderEntry:
    """Orders of one account.

    Args:
        connection: the account.
        clock: stamps refusals the broker gives no time for.
        settle_seconds: pause between the two questions of ``resolve``.
    """

    def __init__(self, connection: Connection, clock: Clock, settle_seconds: float) -> None:
        self._connection = connection
        self._account_id = connection.account_id
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._prepared: tuple[OrderRequest, OrderCreate, bytes] | None = None  # the newest order written out ahead
        self._sent: OrderedDict[str, int] = OrderedDict()  # client order id -> last transaction before it was sent

    async def positions(self) -> dict[str, Position]:
        """Read the open positions."""
        body = await self._connection.read(OpenPositions(self._account_id), "open positions")
        positions = [position_of(entry) for entry in entries(body, "positions")]
        return {position.instrument: position for position in positions if position.long_units or position.short_units}

    def prepare(self, order: OrderRequest) -> None:
        """Write out an order's request, so that its bytes are there when it may leave; nothing is sent.

        What cannot be written is said by ``submit``.
        """
        self._prepared = None
        with contextlib.suppress(BadInputError):
            endpoint = self._creation(order)
            self._prepared = order, endpoint, self._connection.orders.encode(endpoint)

    def _creation(self, order: OrderRequest) -> OrderCreate:
        body = {"order": order_body(order, self._connection.instruments.get(order.instrument))}
        return OrderCreate(self._account_id, data=body)

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        """Send one order, once."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] is order:
            endpoint, content = prepared[1:]
        else:
            endpoint, content = self._creation(order), None
        return await self._trade(endpoint, f"order {order.client_order_id}", order.client_order_id, content)

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        """Cancel an open order."""
        return await self._trade(
            OrderCancel(self._account_id, orderID=_specifier(client_order_id)),
            f"cancel of {client_order_id}",
            client_order_id,
        )

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        """Replace an open order; one attached to a trade by another of its kind."""
        instrument = self._connection.instruments.get(replacement.instrument)
        if replacement.order_type in ATTACHED_TYPES:
            trade_id = await self._connection.reading(lambda: self._trade_of(client_order_id))
            if not trade_id:
                return [self._refused(client_order_id, "ORDER_DOESNT_EXIST")]
            body = {"order": trade_order_body(replacement, trade_id, instrument)}
        else:
            body = {"order": order_body(replacement, instrument)}
        return await self._trade(
            OrderReplace(self._account_id, orderID=_specifier(client_order_id), data=body),
            f"replacement of {client_order_id}",
            replacement.client_order_id,
        )

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        """Reduce the position by ``units`` (unsigned); the broker refuses more than there is."""
        if units <= 0:
            raise BadInputError(f"closing {units} of {instrument}: give a positive number of units")
        position = (await self.positions()).get(instrument)
        if position is None:
            return [self._refused(client_order_id, "CLOSEOUT_POSITION_DOESNT_EXIST")]
        body = closeout_body(position.units, units, client_order_id, self._connection.instruments.get(instrument))
        return await self._trade(
            PositionClose(self._account_id, instrument=quote(instrument, safe=""), data=body),
            f"closing order {client_order_id}",
            client_order_id,
        )

    async def resolve(self, client_order_id: str, since_transaction_id: int = 0) -> list[BrokerEvent]:
        """Ask the order and the transactions what became of an order."""
        for last_try in (False, True):
            events = await self._connection.reading(lambda: self._find(client_order_id, since_transaction_id))
            if events or last_try:
                return events
            await asyncio.sleep(self._settle_seconds)  # real time: the request may still be on its way
        raise AssertionError("unreachable")

    async def _trade(
        self, endpoint: TradingEndpoint, what: str, client_order_id: str, content: bytes | None = None
    ) -> list[BrokerEvent]:
        # The first time counts: a later cancel must not move the start of the search past the order itself.
        self._sent.setdefault(client_order_id, self._connection.last_transaction)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        reply = await self._connection.orders.trade(endpoint, what, content)
        return self._events_of(reply, what, client_order_id)

    def _events_of(self, reply: Reply, what: str, client_order_id: str) -> list[BrokerEvent]:
        last = str(reply.body.get("lastTransactionID", ""))
        try:
            events = self._connection.translator.reply_events(reply.body, client_order_id)
        except BadInputError as error:
            raise OutcomeUnknownError(f"{what}: the reply cannot be read ({error.message}); ask") from None
        if reply.accepted and not events:
            raise OutcomeUnknownError(f"{what}: accepted without a transaction; ask what became of it")
        if last.isdigit():
            self._connection.saw_transaction(int(last))
        if not events:
            return [self._refused(client_order_id, reply.error, str(reply.body.get("errorMessage", "")))]
        return [
            msgspec.structs.replace(event, client_order_id=client_order_id)
            if isinstance(event, OrderRejected) and not event.client_order_id
            else event
            for event in events
        ]

    def _refused(self, client_order_id: str, broker_reason: str, message: str = "") -> OrderRejected:
        reason = reject_reason(broker_reason)
        if reason is RejectReason.BROKER_OTHER and message:
            reason = reason_of_message(clean(message))
        return OrderRejected(0, client_order_id, self._clock.time_ns(), reason, broker_reason)

    def _find(self, client_order_id: str, since_transaction_id: int) -> list[BrokerEvent]:
        start = since_transaction_id or self._sent.get(client_order_id, 0)
        if not start:
            reply = self._connection.client.read(
                OrderDetails(self._account_id, _specifier(client_order_id)), "order by client id"
            )
            order = cast(dict[str, Any], reply.body.get("order") or {})
            start = int(str(order.get("id", "1"))) - 1
        return [event for event in self._connection.history.since(start) if _belongs_to(event, client_order_id)]

    def _trade_of(self, client_order_id: str) -> str:
        reply = self._connection.client.read(
            OrderDetails(self._account_id, _specifier(client_order_id)), "order by client id"
        )
        order = cast(dict[str, Any], reply.body.get("order") or {})
        return str(order.get("tradeID", "")) if order.get("state", "PENDING") == "PENDING" else ""


def _specifier(client_order_id: str) -> str:
    """Return v20's form of a client order id, safe inside a URL."""
    return quote(order_specifier(client_order_id), safe="@")


def _belongs_to(event: BrokerEvent, client_order_id: str) -> bool:
    if isinstance(event, OrderFilled):
        return event.fill.client_order_id == client_order_id
    return getattr(event, "client_order_id", None) == client_order_id
