"""Margin call and margin close-out, checked at every quote while something is open.

At 100 % of the margin call percentage the log says so; at 100 % of the close-out percentage (net asset value at the
middle below half of the margin used) everything that can be traded is closed, the instrument with the oldest open trade
first; what is halted stays until it trades again, as OANDA documents its close-outs.
"""

import math
from decimal import Decimal

from trading.matching.book import Order
from trading.matching.execution import Execution
from trading.matching.log import TransactionLog
from trading.matching.transactions import MarginCallEnter, MarginCallExit, MarginCloseoutDetails, MarketOrder
from trading.matching.valuation import held_units, value_account

_ONE = Decimal(1)
_ROOMS = (0.02, 0.005, 0.001)  # moves that are tried
_NEAR = 0.9  # share of the margin call from which on the exact sum is needed
# Instrument, chain of pairs home, and what its share of (margin - _NEAR * equity) is: a slope over bid + ask, and the
# rest. Both in the quote currency.
Held = tuple[str, list[tuple[str, bool]], float, float]


class MarginWatch:
    """Looks after the margin of one account."""

    def __init__(self, log: TransactionLog, execution: Execution) -> None:
        self.log = log
        self.execution = execution
        self._version = -1
        self._balance = log.book.balance
        self._slack = 0.0  # _NEAR times the balance
        self._held: list[Held] = []

    def check(self) -> None:
        """Write margin calls, close out when it must be. Needed where ``near`` says so."""
        log = self.log
        value = value_account(log.book, log.market, log.open_trades)
        if value.call_percent >= _ONE and log.book.margin_call_since is None:
            log.begin(by_client=False)
            log.book.margin_call_since = log.write(MarginCallEnter).time
        if value.closeout_percent >= _ONE or (value.closeout_nav <= 0 and value.margin_used > 0):
            self._close_out()
            value = value_account(log.book, log.market, log.open_trades)
        if value.call_percent < _ONE and log.book.margin_call_since is not None:
            log.begin(by_client=False)
            log.write(MarginCallExit)
            log.book.margin_call_since = None

    def near(self) -> bool:
        """Estimate in floats whether the margin call percentage may be above 90 %: then the exact sum is needed."""
        log, book = self.log, self.log.book
        if book.margin_call_since is not None:
            return True
        if self._version != log.trades_version or self._balance is not book.balance:
            self._version, self._held = log.trades_version, self._aggregate()
            self._balance = book.balance
            self._slack = _NEAR * float(self._balance)
        excess = 0.0  # margin less _NEAR times unrealised profit
        quotes = book.quotes
        for name, factor_path, slope, rest in self._held:
            quote = quotes[name]
            share = (quote.bid + quote.ask) * slope + rest
            for pair, selling in factor_path:
                other = quotes[pair]
                middle = (other.bid + other.ask) / 2
                share = share * middle if selling else share / middle
            excess += share
        return excess > self._slack

    def room(self) -> float:
        """Return by what share every price may move, either way, with ``near`` staying false; 0: not at all."""
        log = self.log
        if not log.open_trades:
            return math.inf
        if self.near():
            return 0.0
        for share in _ROOMS:
            if self._most(share) <= self._slack:
                return share
        return 0.0

    def _most(self, move: float) -> float:
        """Return the largest excess with every price of every instrument within ``move`` of where it is."""
        quotes, most = self.log.book.quotes, 0.0
        for name, factor_path, slope, rest in self._held:
            total = quotes[name].bid + quotes[name].ask
            share = total * slope + abs(total * slope) * move + rest
            for pair, selling in factor_path:
                middle = (quotes[pair].bid + quotes[pair].ask) / 2
                low, high = middle * (1 - move), middle * (1 + move)
                first, second = (share * low, share * high) if selling else (share / low, share / high)
                share = max(first, second)
            most += share
        return most

    def _aggregate(self) -> list[Held]:
        """Sum up what is open, until the next trade."""
        log = self.log
        held: list[Held] = []
        for name, trades in log.open_trades.items():
            instrument = log.instruments[name]
            long, short = held_units(trades)
            cost = sum(float(trade.units) * float(trade.price) for trade in trades.values())
            rate = float(max(instrument.margin_rate, log.book.margin_rate))
            path = log.market.path(instrument.quote) or []
            slope = (float(max(long, short)) * rate - _NEAR * float(long - short)) / 2
            held.append((name, path, slope, _NEAR * cost))
        return held

    def _close_out(self) -> None:
        log = self.log
        oldest = {name: min(map(int, trades)) for name, trades in log.open_trades.items()}
        for name in sorted(oldest, key=oldest.__getitem__):
            if not log.market.tradeable(name):
                continue
            long, short = held_units(log.open_trades[name])
            for units in (-long, short):
                if units:
                    self._close(name, units)

    def _close(self, name: str, units: Decimal) -> None:
        log = self.log
        log.begin(by_client=False)
        details = MarginCloseoutDetails(reason="MARGIN_CHECK_VIOLATION")
        transaction = log.write(
            MarketOrder,
            instrument=name,
            units=units,
            time_in_force="FOK",
            position_fill="REDUCE_ONLY",
            reason="MARGIN_CLOSEOUT",
            margin_closeout=details,
        )
        order = Order(
            id=transaction.id,
            create_time=transaction.time,
            type="MARKET",
            state="PENDING",
            instrument=name,
            units=units,
            time_in_force="FOK",
            position_fill="REDUCE_ONLY",
        )
        log.book.orders[order.id] = order
        self.execution.execute(order, "MARKET_ORDER_MARGIN_CLOSEOUT")
