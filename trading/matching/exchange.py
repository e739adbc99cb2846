"""The exchange: commands in, transactions out. Same commands in the same order give the same log, byte for byte.

``apply`` is the one entry; what it is given can be journalled and applied again to rebuild the state, or the state can
be taken whole with ``snapshot`` and put back with ``Exchange.restore``.

Per quote: expire orders that are due, move trailing stops, execute due orders in the order of their ids, check margin.
A stop executes at the quote that reached it, so a gap costs what it costs.

Simplifications, beside those of ``execution`` and ``validation``: one account; no financing, no weekend or maintenance
halts (the feed says ``tradeable=False``, or ``Halt`` is applied); a client order id stays taken after the order is done
(v20 only refuses ids of pending orders), so that a client may always find out what became of an order.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from core.clock import to_rfc3339
from core.domain import Instrument, Quote
from core.errors import BadInputError
from trading.matching.book import AccountConfiguration, Book, Order, Trade
from trading.matching.commands import (
    AnyCommand,
    Cancel,
    ClosePosition,
    CloseTrade,
    Configure,
    Halt,
    ModifyOrderExtensions,
    ModifyTradeExtensions,
    MoveFunds,
    RejectNext,
    Replace,
    SetTradeOrders,
    Submit,
    Ticks,
)
from trading.matching.execution import Execution
from trading.matching.log import TransactionLog
from trading.matching.margin import MarginWatch
from trading.matching.orders import OrderDesk
from trading.matching.transactions import (
    AnyTransaction,
    ClientConfigure,
    ClientConfigureReject,
    ClientExtensions,
    Create,
    OrderClientExtensionsModify,
    OrderClientExtensionsModifyReject,
    TradeClientExtensionsModify,
    TradeClientExtensionsModifyReject,
    TransferFunds,
)
from trading.matching.triggers import trail, triggered
from trading.matching.validation import TRADE_TYPES
from trading.matching.valuation import Valuation, value_account
from trading.matching.wire import money


class Exchange:
    """One account on one market."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        configuration: AccountConfiguration,
        start_ns: int,
        book: Book | None = None,
    ) -> None:
        """Open an account, or take over a ``book``."""
        opening = book is None
        self.instruments = dict(instruments)
        self.book = book or Book(
            configuration=configuration,
            created_time=to_rfc3339(start_ns),
            time_ns=start_ns,
            alias=configuration.alias,
            margin_rate=configuration.margin_rate,
        )
        self.log = TransactionLog(self.book, self.instruments)
        self.market = self.log.market
        self.execution = Execution(self.log)
        self.desk = OrderDesk(self.log, self.execution)
        self.margin = MarginWatch(self.log, self.execution)
        if opening:
            self._open_account()

    def _open_account(self) -> None:
        configuration = self.book.configuration
        self.log.begin(by_client=True)
        self.log.write(
            Create,
            division_id=1,
            site_id=101,
            account_user_id=configuration.user_id,
            account_number=1,
            home_currency=configuration.currency,
        )
        self._move_funds(configuration.balance)
        self.log.take_batch()

    # -- state ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Return the whole state."""
        return msgspec.json.encode(self.book)

    @classmethod
    def restore(cls, instruments: Mapping[str, Instrument], snapshot: bytes) -> "Exchange":
        """Rebuild an exchange from ``snapshot``.

        Raises:
            BadInputError: the bytes are no snapshot.
        """
        try:
            book = msgspec.json.decode(snapshot, type=Book)
        except (msgspec.DecodeError, ValueError) as error:
            raise BadInputError(f"not a snapshot of the exchange: {error}; start with a fresh state folder") from None
        return cls(instruments, book.configuration, book.time_ns, book)

    @property
    def transactions(self) -> list[AnyTransaction]:
        """The whole log; transaction ``k`` is at index ``k - 1``."""
        return self.book.transactions

    @property
    def last_transaction_id(self) -> int:
        """The id of the newest transaction."""
        return len(self.book.transactions)

    def valuation(self) -> Valuation:
        """Value the account at the standing quotes."""
        return value_account(self.book, self.market, self.log.open_trades)

    # -- commands ------------------------------------------------------------------------------------------------

    def apply(self, command: AnyCommand) -> list[AnyTransaction]:
        """Carry out one command and return the transactions it made, in order."""
        if isinstance(command, Ticks):
            for quote in command.quotes:
                self._quote(quote)
            self._expire(command.time_ns)
            return self.log.take_batch()
        self._expire(command.time_ns)
        self.log.begin(by_client=True)
        match command:
            case Submit():
                self.desk.submit(command.order)
            case Cancel():
                self.desk.cancel(command.order)
            case Replace():
                self.desk.replace(command.order, command.replacement)
            case CloseTrade():
                self.desk.close_trade(command)
            case ClosePosition():
                self.desk.close_position(command)
            case SetTradeOrders():
                self.desk.set_trade_orders(command)
            case ModifyOrderExtensions():
                self._modify_order(command)
            case ModifyTradeExtensions():
                self._modify_trade(command)
            case Configure():
                self._configure(command)
            case MoveFunds():
                self._move_funds(command.amount)
            case Halt():
                self._halt(command)
            case RejectNext():
                self.book.reject_reasons += [command.reason] * command.count
        return self.log.take_batch()

    def on_quote(self, quote: Quote) -> list[AnyTransaction]:
        """Match one quote; its time becomes the exchange's time."""
        self._quote(quote)
        return self.log.take_batch()

    # -- quotes --------------------------------------------------------------------------------------------------

    def _quote(self, quote: Quote) -> None:
        name = quote.instrument
        if name not in self.instruments:
            raise BadInputError(f"a quote for {name}, which this exchange does not list")
        if not 0 < quote.bid <= quote.ask:
            raise BadInputError(f"crossed or empty quote for {name}: bid {quote.bid}, ask {quote.ask}")
        self._expire(quote.time_ns)
        self.market.update(quote)
        if not self.market.tradeable(name):
            return
        if name in self.log.pending:
            self._match(name)
        if self.log.open_trades:
            self.margin.check()

    def _match(self, name: str) -> None:
        bid, ask = self.market.price(name)
        due: list[Order] = []
        for order in self.log.pending[name].values():
            buying = self._buying(order)
            if order.type == "TRAILING_STOP_LOSS":
                trail(order, buying, bid, ask)
            if triggered(order, buying, bid, ask):
                due.append(order)
        for order in sorted(due, key=lambda item: int(item.id)):
            if order.state == "PENDING":  # an earlier one may have closed its trade
                self.log.begin(by_client=False)
                self.execution.execute(order, f"{order.type}_ORDER", self._trade(order))

    def _trade(self, order: Order) -> Trade | None:
        return self.book.trades[order.trade_id or ""] if order.type in TRADE_TYPES else None

    def _buying(self, order: Order) -> bool:
        trade = self._trade(order)
        return trade.units < 0 if trade is not None else (order.units or Decimal(0)) > 0

    def _expire(self, time_ns: int) -> None:
        """Move to ``time_ns``, cancelling on the way what expires by then, at its own time."""
        expiries = self.log.expiries
        if expiries:
            for number, due in sorted(expiries.items(), key=lambda item: (item[1], int(item[0]))):
                if due > time_ns:
                    break
                self.log.move_to(due)
                order = self.book.orders[number]
                if order.state == "PENDING":
                    self.log.begin(by_client=False)
                    self.log.cancel(order, "TIME_IN_FORCE_EXPIRED")
        self.log.move_to(time_ns)

    # -- the rest ------------------------------------------------------------------------------------------------

    def _halt(self, command: Halt) -> None:
        halted = self.book.halted
        if command.halted and command.instrument not in halted:
            halted.append(command.instrument)
        elif not command.halted and command.instrument in halted:
            halted.remove(command.instrument)

    def _move_funds(self, amount: Decimal) -> None:
        self.book.balance += money(amount)
        self.log.write(
            TransferFunds, amount=money(amount), funding_reason="CLIENT_FUNDING", account_balance=self.book.balance
        )

    def _configure(self, command: Configure) -> None:
        rate = command.margin_rate
        fields: dict[str, Any] = {"alias": command.alias, "margin_rate": rate}
        if rate is not None and not (rate.is_finite() and 0 < rate <= 1):
            self.log.write(ClientConfigureReject, reject_reason="MARGIN_RATE_INVALID", **fields)
        elif rate is None and command.alias is None:
            self.log.write(ClientConfigureReject, reject_reason="CLIENT_CONFIGURE_DATA_MISSING", **fields)
        else:
            self.book.margin_rate = self.book.margin_rate if rate is None else rate
            self.book.alias = self.book.alias if command.alias is None else command.alias
            self.log.write(ClientConfigure, **fields)

    def _modify_order(self, command: ModifyOrderExtensions) -> None:
        order = self.log.find_order(command.order)
        fields: dict[str, Any] = {
            "client_extensions_modify": command.client_extensions,
            "trade_client_extensions_modify": command.trade_client_extensions,
        }
        if order is None or order.state != "PENDING":
            by_client_id = command.order.startswith("@")
            self.log.write(
                OrderClientExtensionsModifyReject,
                order_id=None if by_client_id else command.order,
                client_order_id=command.order[1:] if by_client_id else None,
                reject_reason="ORDER_DOESNT_EXIST",
                **fields,
            )
            return
        wanted = command.client_extensions.id if command.client_extensions else None
        reason = None
        if command.client_extensions is None and command.trade_client_extensions is None:
            reason = "CLIENT_EXTENSIONS_DATA_MISSING"
        elif wanted is not None and wanted != order.client_id and wanted in self.book.client_order_ids:
            reason = "CLIENT_ORDER_ID_ALREADY_EXISTS"
        fields |= {"order_id": order.id, "client_order_id": order.client_id}
        if reason is not None:
            self.log.write(OrderClientExtensionsModifyReject, reject_reason=reason, **fields)
            return
        self.log.write(OrderClientExtensionsModify, **fields)
        order.client_extensions = _merged(order.client_extensions, command.client_extensions)
        order.trade_client_extensions = _merged(order.trade_client_extensions, command.trade_client_extensions)
        self.log.remember_client_id(order)

    def _modify_trade(self, command: ModifyTradeExtensions) -> None:
        trade = self.log.find_trade(command.trade)
        extensions = command.client_extensions
        if trade is None or extensions is None:
            self.log.write(
                TradeClientExtensionsModifyReject,
                trade_id=None if command.trade.startswith("@") else command.trade,
                client_trade_id=command.trade[1:] if command.trade.startswith("@") else None,
                trade_client_extensions_modify=extensions,
                reject_reason="TRADE_DOESNT_EXIST" if trade is None else "CLIENT_EXTENSIONS_DATA_MISSING",
            )
            return
        self.log.write(
            TradeClientExtensionsModify,
            trade_id=trade.id,
            client_trade_id=trade.client_id,
            trade_client_extensions_modify=extensions,
        )
        trade.client_extensions = _merged(trade.client_extensions, extensions)


def _merged(old: ClientExtensions | None, new: ClientExtensions | None) -> ClientExtensions | None:
    """Return ``old`` with what ``new`` sets."""
    if old is None or new is None:
        return new or old
    return ClientExtensions(
        id=old.id if new.id is None else new.id,
        tag=old.tag if new.tag is None else new.tag,
        comment=old.comment if new.comment is None else new.comment,
    )
