"""What every broker adapter offers the loop. Adapters pass one inherited contract test (``tests/contract``).

Rules that hold for all of them:

* ``submit``, ``amend`` and ``cancel`` return the broker's own events, which may arrive again on ``events()``: the
  consumer drops what it has seen by ``transaction_id``.
* A request whose reply was lost raises ``OutcomeUnknownError``; the adapter never sends it again by itself.
* A request that certainly did not reach the broker raises ``UnavailableError``; a refusal is an event, no exception.
* Streams end only by ``close``: an adapter reconnects by itself, and after each reconnect ``events()`` first yields
  what was missed since the last id.
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
    Position,
    Quote,
)


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

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]: ...

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]: ...

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]: ...

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        """Reduce the position by ``units`` (unsigned); never opens the other side."""
        ...

    async def transactions_since(self, transaction_id: int) -> list[BrokerEvent]:
        """Everything after ``transaction_id``, in order."""
        ...

    async def candles(self, instrument: str, granularity_seconds: int, start_ns: int, end_ns: int) -> list[Bar]: ...

    def quotes(self, instruments: Sequence[str]) -> AsyncIterator[Quote | Heartbeat]: ...

    def events(self, since_transaction_id: int) -> AsyncIterator[BrokerEvent]: ...
