"""The transaction log of the exchange and the indexes over the book that its operations keep up to date."""

from collections.abc import Mapping
from typing import Any, TypeVar

from core.clock import to_rfc3339
from core.domain import Instrument
from trading.matching.book import Book, Order, Trade
from trading.matching.market import Market
from trading.matching.schedule import expiry
from trading.matching.transactions import AnyTransaction, OrderCancel, Transaction
from trading.matching.triggers import Window

TransactionType = TypeVar("TransactionType", bound=Transaction)

_REQUEST_BASE = 42_000_000_000_000_000  # request ids look like the recorded ones and follow the log


class TransactionLog:
    """A book, its market, what happened in the running batch, and who is pending or open where."""

    def __init__(self, book: Book, instruments: Mapping[str, Instrument]) -> None:
        self.book = book
        self.instruments = instruments
        self.market = Market(instruments, book)
        self.pending: dict[str, dict[str, Order]] = {}
        self.open_trades: dict[str, dict[str, Trade]] = {}
        self.expiries: dict[str, int] = {}
        self.windows: dict[str, Window] = {}  # by instrument: the quotes that no resting order cares about
        self.trades_version = 0  # moves with every change of an open trade
        self.batch: list[AnyTransaction] = []
        self._batch_id: str | None = None
        self._request_id: str | None = None
        self._time: tuple[int, str] = (book.time_ns, to_rfc3339(book.time_ns))
        for order in book.orders.values():
            if order.state == "PENDING":
                self.add_pending(order)
        for trade in book.trades.values():
            if trade.units:
                self.open_trades.setdefault(trade.instrument, {})[trade.id] = trade

    @property
    def next_id(self) -> str:
        """The id of the next transaction."""
        return str(len(self.book.transactions) + 1)

    @property
    def last_id(self) -> str:
        """The id of the last transaction."""
        return str(len(self.book.transactions))

    @property
    def time(self) -> str:
        """Now, as the protocol writes it."""
        if self._time[0] != self.book.time_ns:
            self._time = (self.book.time_ns, to_rfc3339(self.book.time_ns))
        return self._time[1]

    def move_to(self, time_ns: int) -> None:
        """Move the exchange's time; it never runs back."""
        if time_ns > self.book.time_ns:
            self.book.time_ns = time_ns

    def begin(self, by_client: bool) -> None:
        """Open a new batch: transactions that belong together share its id; a client's request has a request id."""
        self._batch_id = None
        self._request_id = str(_REQUEST_BASE + len(self.book.transactions) + 1) if by_client else None

    def write(self, kind: type[TransactionType], **fields: Any) -> TransactionType:
        """Append a transaction."""
        number = self.next_id
        if self._batch_id is None:
            self._batch_id = number
        configuration = self.book.configuration
        transaction = kind(
            id=number,
            account_id=configuration.account_id,
            user_id=configuration.user_id,
            batch_id=self._batch_id,
            time=self.time,
            request_id=self._request_id,
            **fields,
        )
        self.book.transactions.append(transaction)  # pyright: ignore[reportArgumentType] - every subclass is in the union
        self.batch.append(transaction)  # pyright: ignore[reportArgumentType]
        return transaction

    def take_batch(self) -> list[AnyTransaction]:
        """Return what was written since the last call."""
        written, self.batch = self.batch, []
        return written

    def instrument_of(self, order: Order) -> str:
        """Return the instrument an order is in; orders on a trade are in the trade's."""
        if order.instrument is not None:
            return order.instrument
        return self.book.trades[order.trade_id or ""].instrument

    def add_pending(self, order: Order) -> None:
        """Enter a resting order into the indexes."""
        name = self.instrument_of(order)
        self.pending.setdefault(name, {})[order.id] = order
        self.windows.pop(name, None)
        due = expiry(order)
        if due is not None:
            self.expiries[order.id] = due

    def drop_pending(self, order: Order) -> None:
        """Take an order that no longer rests out of the indexes."""
        self.expiries.pop(order.id, None)
        name = self.instrument_of(order)
        self.windows.pop(name, None)
        orders = self.pending.get(name)
        if orders is not None:
            orders.pop(order.id, None)
            if not orders:
                del self.pending[name]

    def cancel(self, order: Order, reason: str, replaced_by: str | None = None) -> OrderCancel:
        """Cancel an order for ``reason``."""
        self.drop_pending(order)
        transaction = self.write(
            OrderCancel,
            order_id=order.id,
            client_order_id=order.client_id,
            reason=reason,
            replaced_by_order_id=replaced_by,
        )
        order.state = "CANCELLED"
        order.cancelling_transaction_id = transaction.id
        order.cancelled_time = transaction.time
        order.replaced_by_order_id = replaced_by
        return transaction

    def quote_time(self, name: str) -> str:
        """Return when the standing quote was made, as the protocol writes it."""
        return to_rfc3339(self.book.quotes[name].time_ns)

    def remember_client_id(self, order: Order) -> None:
        """Note the client id of a new order; the oldest ids beyond the memory are forgotten."""
        if order.client_id is None:
            return
        known = self.book.client_order_ids
        known.pop(order.client_id, None)
        known[order.client_id] = order.id
        if len(known) > self.book.configuration.client_id_memory:
            for client_id, number in known.items():
                if self.book.orders[number].state != "PENDING":
                    del known[client_id]
                    break

    def find_order(self, specifier: str) -> Order | None:
        """Return the order with this id, or with this client id after ``@`` (the newest that had it)."""
        number = self.book.client_order_ids.get(specifier[1:], "") if specifier.startswith("@") else specifier
        return self.book.orders.get(number)

    def find_trade(self, specifier: str) -> Trade | None:
        """Return the trade with this id, or the newest open one with this client id after ``@``."""
        if not specifier.startswith("@"):
            return self.book.trades.get(specifier)
        for trade in reversed(self.book.trades.values()):
            if trade.client_id == specifier[1:]:
                return trade
        return None
