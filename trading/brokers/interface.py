"""What every broker adapter offers the loop. Adapters pass one inherited contract test (``tests/contract``).

Rules that hold for all of them:

* ``submit``, ``amend`` and ``cancel`` return the broker's own events, which may arrive again on ``events()``: the
  consumer drops what it has seen by ``transaction_id``. Id 0 means that the broker made no transaction of it.
* A request whose reply was lost raises ``OutcomeUnknownError``; the adapter never sends it again by itself. The
  consumer asks ``resolve`` what became of it.
* A request that certainly did not reach the broker raises ``UnavailableError``; a refusal is an event, no exception.
* Every transaction of the account gives exactly one event on ``events()`` and in ``transactions_since``, in id order;
  one that moves neither order nor balance is an ``AccountChanged`` with amount 0 and the broker's word in ``kind``.
* Streams end only by ``close``: an adapter reconnects by itself, and after each reconnect ``events()`` first yields
  what was missed since the last id.
* The client id of an order attached on fill is ``attached_order_id(parent, type)``. An order without a client id, made
  by somebody else, is named ``broker:<its id at the broker>`` in requests.
"""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Protocol

from core.domain import (
    AccountState,
    Bar,
    BrokerEvent,
    Heartbeat,
    Instrument,
    OpenOrder,
    OrderRequest,
    OrderType,
    Position,
    Quote,
)

NAMED_BY_BROKER = "broker:"
_ATTACHED_SUFFIX = {
    OrderType.STOP_LOSS: "stop_loss",
    OrderType.TAKE_PROFIT: "take_profit",
    OrderType.TRAILING_STOP_LOSS: "trailing_stop",
}


def attached_order_id(parent: str, order_type: OrderType) -> str:
    """Return the client id of the stop or target that ``parent`` brings along: ``<parent>.stop_loss`` and so on."""
    return f"{parent}.{_ATTACHED_SUFFIX[order_type]}"


class Broker(Protocol):
    """One account at one broker."""

    @property
    def name(self) -> str:
        """``paper``, ``oanda``, …"""
        ...

    async def connect(self) -> None:
        """Open sessions and check credentials.

        Raises:
            UnavailableError: the broker does not answer.
            ConfigurationError: wrong token, forbidden, account in another currency.
        """
        ...

    async def close(self) -> None:
        """Stop streams and close sessions. Open orders and positions stay as they are."""
        ...

    async def instruments(self) -> dict[str, Instrument]:
        """The tradable instruments by name."""
        ...

    async def account(self) -> AccountState: ...

    async def positions(self) -> dict[str, Position]:
        """Open positions by instrument."""
        ...

    async def open_orders(self) -> list[OpenOrder]: ...

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        """Send one order, once.

        The events are, in id order, ``OrderAccepted`` and what followed at once (a fill, a cancellation with its
        ``reject_reason``), or one ``OrderRejected``. Attached orders may be among them or come on ``events()`` only.
        A cancelled await does not take the order back: treat it as an unknown outcome.
        """
        ...

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        """Cancel an open order.

        An order that is not open gives one ``OrderRejected`` with ``BROKER_UNKNOWN_ORDER``: it refuses the request
        and says nothing about the order, which may have been filled a moment ago. On ``events()`` the same refusal
        is an ``AccountChanged`` of kind ``ORDER_CANCEL_REJECT``.
        """
        ...

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        """Replace an open order at once: ``OrderCancelled`` (``replaced_by``: broker id) and ``OrderAccepted``.

        An order that is not open is answered as ``cancel`` answers it. A replacement that the broker refuses is an
        ``OrderRejected`` with the replacement's client id; the old order stays.
        """
        ...

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        """Reduce the position by ``units`` (unsigned); never opens the other side."""
        ...

    async def resolve(self, client_order_id: str, since_transaction_id: int = 0) -> list[BrokerEvent]:
        """Ask what became of an order whose outcome is unknown.

        Args:
            client_order_id: the id the order was sent with.
            since_transaction_id: the last transaction known before it was sent; it bounds the search. 0: what the
                adapter remembers of its own submission, or else everything the broker still has.

        Returns:
            All events of that order so far. Empty: the broker has no trace of it, asked twice with a pause in
            between, so that a request still under way had time to arrive.
        """
        ...

    async def transactions_since(self, transaction_id: int) -> list[BrokerEvent]:
        """Everything after ``transaction_id``, in order."""
        ...

    async def candles(self, instrument: str, granularity_seconds: int, start_ns: int, end_ns: int) -> list[Bar]:
        """Complete bars with ``start_ns <= open < end_ns``, oldest first."""
        ...

    def quotes(self, instruments: Sequence[str]) -> AsyncIterator[Quote | Heartbeat]:
        """Subscribe at this call (not at the first await) and return the stream.

        It starts with the standing quote of each instrument. A new call ends the stream of the former one.
        """
        ...

    async def quotes_ready(self, timeout_seconds: float = 10.0) -> None:
        """Wait until the last ``quotes`` call is subscribed and has its standing quotes: no later tick is missed.

        Raises:
            UnavailableError: not in ``timeout_seconds``.
            ConfigurationError: the broker refuses the subscription.
        """
        ...

    def events(self, since_transaction_id: int) -> AsyncIterator[BrokerEvent]:
        """Yield what happened after ``since_transaction_id``, then what happens: each transaction once, in id order."""
        ...
