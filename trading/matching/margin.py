"""Margin call and margin close-out, checked at every quote while something is open.

At 100 % of the margin call percentage the log says so; at 100 % of the close-out percentage (net asset value at the
middle below half of the margin used) everything that can be traded is closed, oldest instrument first.
"""

from decimal import Decimal

from trading.matching.book import Order
from trading.matching.execution import Execution
from trading.matching.log import TransactionLog
from trading.matching.transactions import MarginCallEnter, MarginCallExit, MarginCloseoutDetails, MarketOrder
from trading.matching.valuation import value_account
from trading.matching.wire import ZERO

_ONE = Decimal(1)


class MarginWatch:
    """Looks after the margin of one account."""

    def __init__(self, log: TransactionLog, execution: Execution) -> None:
        self.log = log
        self.execution = execution

    def check(self) -> None:
        """Write margin calls, close out when it must be."""
        if not self._near():
            return
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

    def _near(self) -> bool:
        """Estimate in floats whether the margin call percentage may be above 90 %: then the exact sum is needed."""
        log = self.log
        if log.book.margin_call_since is not None:
            return True
        equity = float(log.book.balance)
        margin = 0.0
        quotes = log.book.quotes
        for name, trades in log.open_trades.items():
            instrument = log.instruments[name]
            quote = quotes[name]
            middle = (quote.bid + quote.ask) / 2
            factor = float(log.market.middle_factor(instrument.quote))
            units = 0.0
            for trade in trades.values():
                size = float(trade.units)
                units += size
                equity += (middle - float(trade.price)) * size * factor
            margin += abs(units) * middle * factor * float(max(instrument.margin_rate, log.book.margin_rate))
        return margin > 0.9 * equity

    def _close_out(self) -> None:
        log = self.log
        for name in list(log.open_trades):
            if not log.market.tradeable(name):
                continue
            units = -sum((trade.units for trade in log.open_trades[name].values()), ZERO)
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
