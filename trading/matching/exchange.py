"""The exchange: commands in, transactions out. Same commands in the same order give the same log, byte for byte.

``apply`` is the one entry; what it is given can be journalled and applied again to rebuild the state, or the state can
be taken whole with ``snapshot`` and put back with ``Exchange.restore``.

Per quote: do what is due by then (expiries, financing, the end of a halt) at its own time, move trailing stops, execute
due orders in the order of their ids, check margin. A stop executes at the quote that reached it, so a gap costs what it
costs. A quote that no resting order cares about and that brings no open trade near its margin costs a few float
comparisons: ``Decimal`` work begins where something may happen.

Simplifications, beside those of ``execution``, ``financing`` and ``validation``: one account; a client order id stays
taken after the order is done (v20 only refuses ids of pending orders), so that a client may always find out what became
of an order.
"""

import math
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from core.clock import to_rfc3339
from core.domain import Instrument, Quote
from core.errors import BadInputError
from trading.matching import administration, labels
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
    SetLiquidity,
    SetTradeOrders,
    Submit,
    Ticks,
)
from trading.matching.execution import Execution
from trading.matching.financing import Financing
from trading.matching.log import TransactionLog
from trading.matching.margin import MarginWatch
from trading.matching.orders import OrderDesk
from trading.matching.transactions import AnyTransaction, Create
from trading.matching.triggers import Window, trail, triggered, window
from trading.matching.validation import TRADE_TYPES
from trading.matching.valuation import Valuation, value_account

_NEVER = 2**62
_ANYWHERE = (-math.inf, math.inf, -math.inf, math.inf)


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
        self.financing = Financing(self.log)
        self._due_ns: int | None = None  # when something happens by itself, None: to be found out
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
        if configuration.balance:
            administration.move_funds(self.log, configuration.balance)
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
            made: list[AnyTransaction] = []
            for quote in command.quotes:
                made += self.on_quote(quote)
            self._move_to(command.time_ns)
            return made + self.log.take_batch()
        self._move_to(command.time_ns)
        self._due_ns = None
        self.log.begin(by_client=True)
        match command:
            case Submit():
                self.desk.submit(command.order)
            case Cancel():
                self.desk.cancel(command.order)
            case Replace():
                self.desk.replace(command.order, command.replacement)
            case CloseTrade():
                self.desk.closing.close_trade(command)
            case ClosePosition():
                self.desk.closing.close_position(command)
            case SetTradeOrders():
                self.desk.dependent.set_trade_orders(command)
            case ModifyOrderExtensions():
                labels.modify_order(self.log, command)
            case ModifyTradeExtensions():
                labels.modify_trade(self.log, command)
            case Configure():
                administration.configure(self.log, command)
            case MoveFunds():
                administration.move_funds(self.log, command.amount)
            case Halt():
                administration.halt(self.log, command)
            case SetLiquidity():
                administration.set_liquidity(self.log, command)
            case RejectNext():
                self.book.reject_reasons += [command.reason] * command.count
        return self.log.take_batch()

    def on_quote(self, quote: Quote) -> list[AnyTransaction]:
        """Match one quote; its time becomes the exchange's time.

        Raises:
            BadInputError: it is no price, or of an instrument that is not listed.
        """
        name, bid, ask = quote.instrument, quote.bid, quote.ask
        if name not in self.instruments:
            raise BadInputError(f"a quote for {name}, which this exchange does not list")
        if not 0 < bid <= ask < math.inf:
            raise BadInputError(f"crossed or empty quote for {name}: bid {bid}, ask {ask}")
        log, market, time_ns = self.log, self.market, quote.time_ns
        if self._due_ns is None or time_ns >= self._due_ns:
            self._move_to(time_ns)
        elif time_ns > self.book.time_ns:
            self.book.time_ns = time_ns
        market.update(quote)
        # Whether the market is open is asked only where it may be closed: each quote comes through here.
        shut = (market.halted or market.limited) and not market.tradeable(name)
        if (log.pending or log.open_trades) and quote.tradeable and not shut:
            if name in log.pending:
                bounds = log.windows.get(name)
                if bounds is None or not (bounds[0] < bid < bounds[1] and bounds[2] < ask < bounds[3]):
                    self._match(name)
            if log.open_trades and self.margin.near():
                self.margin.check()
        return log.take_batch() if log.batch else []

    def quiet_until(self) -> int | None:
        """Return up to when nothing happens but through prices or commands; None: the next quote may change more."""
        market = self.market
        if market.halted or market.limited or self.book.liquidity_taken or self._due_ns is None:
            return None
        return self._due_ns

    def quiet_bounds(self, name: str) -> Window | None:
        """Return what the quotes of an instrument may be with no order due and no margin call near; None: not known.

        It holds as long as the quotes of every instrument stay within theirs.
        """
        quote, room = self.book.quotes.get(name), self.margin.room()
        bounds = self.log.windows.get(name) if name in self.log.pending else _ANYWHERE
        if quote is None or bounds is None or room == 0.0:
            return None
        if room == math.inf:
            return bounds
        return (
            max(bounds[0], quote.bid * (1.0 - room)),
            min(bounds[1], quote.bid * (1.0 + room)),
            max(bounds[2], quote.ask * (1.0 - room)),
            min(bounds[3], quote.ask * (1.0 + room)),
        )

    def pass_over(self, quote: Quote) -> None:
        """Let the last of some quotes stand that stayed within the bounds."""
        self.book.time_ns = max(self.book.time_ns, quote.time_ns)
        self.market.update(quote)

    # -- quotes --------------------------------------------------------------------------------------------------

    def _match(self, name: str) -> None:
        log = self.log
        bid, ask = self.market.price(name)
        due: list[Order] = []
        for order in log.pending[name].values():
            buying = self._buying(order)
            if order.type == "TRAILING_STOP_LOSS":
                trail(order, buying, bid, ask)
            if triggered(order, buying, bid, ask):
                due.append(order)
        for order in sorted(due, key=lambda item: int(item.id)):
            if order.state == "PENDING":  # an earlier one may have closed its trade
                log.begin(by_client=False)
                self.execution.execute(order, f"{order.type}_ORDER", self._trade(order))
                self._due_ns = None
        resting = log.pending.get(name, {}).values()
        sides = [(order, self._buying(order)) for order in resting]
        log.windows[name] = window(sides, float(self.instruments[name].tick))

    def _trade(self, order: Order) -> Trade | None:
        return self.book.trades[order.trade_id or ""] if order.type in TRADE_TYPES else None

    def _buying(self, order: Order) -> bool:
        trade = self._trade(order)
        return trade.units < 0 if trade is not None else (order.units or Decimal(0)) > 0

    # -- time ----------------------------------------------------------------------------------------------------

    def _move_to(self, time_ns: int) -> None:
        """Move to ``time_ns``, doing on the way what happens by itself, each at its own time."""
        due = self._due_ns
        if due is None:
            due = self._due_ns = self.next_due_ns()
        while due <= time_ns:
            self._happen(due)
            due = self._due_ns = self.next_due_ns()
        self.log.move_to(time_ns)

    def next_due_ns(self) -> int:
        """Return when something happens by itself: an expiry, a charge, the end of a halt; far ahead for never."""
        moments = [*self.log.expiries.values(), *self.book.halted_until.values()]
        charged = self.financing.due_ns()
        return min(moments if charged is None else [*moments, charged], default=_NEVER)

    def _happen(self, due: int) -> None:
        """Do what is due at one moment: halts end, then orders expire in the order of their ids, then financing."""
        log, book = self.log, self.book
        log.move_to(due)
        for name in [name for name, until in book.halted_until.items() if until <= due]:
            administration.halt(log, Halt(time_ns=due, instrument=name, halted=False))
        for number in sorted((number for number, moment in log.expiries.items() if moment <= due), key=int):
            log.begin(by_client=False)
            log.cancel(book.orders[number], "TIME_IN_FORCE_EXPIRED")
        charged = self.financing.due_ns()
        if charged is not None and charged <= due:
            self.financing.charge()
