"""Booking a fill: trades, profit, commission, balance, and the transaction that says so.

Profit of each closed part is rounded to four decimals; the balance is the exact sum of what the log shows. Financing is
0 in fills: it is charged daily, by its own transaction (``financing``).
"""

from decimal import Decimal

from trading.matching.attached import Attached
from trading.matching.book import Order, PositionTotals, Trade
from trading.matching.log import TransactionLog
from trading.matching.transactions import FullPrice, OrderFill, PriceBucket, TradeOpen, TradeReduce
from trading.matching.valuation import margin_per_unit
from trading.matching.wire import ZERO, ZERO_MONEY, money

_MILLION = Decimal(1_000_000)


class Fills:
    """Books what was executed."""

    def __init__(self, log: TransactionLog, attached: Attached) -> None:
        self.log = log
        self.attached = attached

    def commission(self, name: str, units: Decimal) -> Decimal:
        """Return what trading ``units`` (unsigned) costs."""
        rate = self.log.book.configuration.commission_per_million
        if not rate:
            return ZERO_MONEY
        market = self.log.market
        notional = units * market.middle(name) * market.middle_factor(market.instruments[name].quote)
        return money(notional * rate / _MILLION)

    def book(
        self,
        order: Order,
        reason: str,
        price: Decimal,
        closing: list[tuple[Trade, Decimal]],
        opening: Decimal,
        partly: bool,
    ) -> None:
        """Write a fill at ``price``.

        Args:
            order: what is executed.
            reason: the protocol's word for why.
            price: of the whole fill.
            closing: trades and the signed part of each that ends.
            opening: signed units of a new trade, 0 for none.
            partly: the order rests on for what is left.
        """
        log, book = self.log, self.log.book
        name = log.instrument_of(order)
        units = opening - sum((part for _, part in closing), ZERO)
        totals = book.positions.setdefault(name, PositionTotals())
        fill_id = log.next_id
        closed: list[TradeReduce] = []
        reduced: TradeReduce | None = None
        profit = ZERO_MONEY
        for trade, part in closing:
            item = self._close_part(trade, part, price, fill_id, totals)
            profit += item.realized_pl
            if trade.units:
                reduced = item
            else:
                closed.append(item)
        opened = self._open(order, name, price, opening, fill_id) if opening else None
        log.trades_version += 1
        commission = self.commission(name, abs(units))
        book.pl += profit
        book.commission += commission
        book.balance += profit - commission
        totals.commission += commission
        factors = log.market.factors(log.instruments[name].quote) or (ZERO, ZERO)
        fill = log.write(
            OrderFill,
            order_id=order.id,
            client_order_id=order.client_id,
            instrument=name,
            units=units,
            requested_units=units if order.units is None else order.open_units,
            price=price,
            full_vwap=price,
            pl=profit,
            financing=ZERO_MONEY,
            commission=commission,
            account_balance=book.balance,
            gain_quote_home_conversion_factor=factors[0],
            loss_quote_home_conversion_factor=factors[1],
            guaranteed_execution_fee=ZERO_MONEY,
            half_spread_cost=self._half_spread(name, abs(units)),
            reason=reason,
            full_price=self._full_price(name),
            trade_opened=opened,
            trades_closed=tuple(closed) or None,
            trade_reduced=reduced,
        )
        log.market.take_liquidity(name, units)
        book.last_fill_time = fill.time
        first = order.filled_units is None
        if partly or not first:
            order.filled_units = (order.filled_units or ZERO) + units
        if not partly:
            order.state = "FILLED"
            order.filling_transaction_id = fill.id
            order.filled_time = fill.time
        order.trade_opened_id = fill.id if opened else None
        order.trade_reduced_id = reduced.trade_id if reduced else None
        order.trade_closed_ids = tuple(item.trade_id for item in closed) or None
        if opened:
            self.attached.attach(order, book.trades[fill.id], first=first)
        for item in closed:
            self.attached.cancel_linked(book.trades[item.trade_id])

    def _half_spread(self, name: str, units: Decimal) -> Decimal:
        market = self.log.market
        bid, ask = market.price(name)
        return money((ask - bid) / 2 * units * market.middle_factor(market.instruments[name].quote))

    def _close_part(
        self, trade: Trade, part: Decimal, price: Decimal, fill_id: str, totals: PositionTotals
    ) -> TradeReduce:
        """Close ``part`` (signed like the trade) at ``price`` and book its profit."""
        log = self.log
        profit = money(log.market.to_home((price - trade.price) * part, log.instruments[trade.instrument].quote))
        trade.units -= part
        trade.realized_pl += profit
        trade.close_value += abs(part) * price
        trade.closing_transaction_ids.append(fill_id)
        side = totals.long if part > 0 else totals.short
        side.pl += profit
        if not trade.units:
            trade.close_time = log.time
            trades = log.open_trades[trade.instrument]
            del trades[trade.id]
            if not trades:
                del log.open_trades[trade.instrument]
        return TradeReduce(
            trade_id=trade.id,
            units=-part,
            realized_pl=profit,
            financing=ZERO_MONEY,
            price=price,
            guaranteed_execution_fee=ZERO_MONEY,
            half_spread_cost=self._half_spread(trade.instrument, abs(part)),
        )

    def _open(self, order: Order, name: str, price: Decimal, units: Decimal, fill_id: str) -> TradeOpen:
        log = self.log
        margin = money(abs(units) * margin_per_unit(log.book, log.market, name))
        trade = Trade(
            id=fill_id,
            instrument=name,
            price=price,
            open_time=log.time,
            initial_units=units,
            units=units,
            initial_margin_required=margin,
            client_extensions=order.trade_client_extensions,
        )
        log.book.trades[fill_id] = trade
        log.open_trades.setdefault(name, {})[fill_id] = trade
        return TradeOpen(
            price=price,
            trade_id=fill_id,
            units=units,
            guaranteed_execution_fee=ZERO_MONEY,
            half_spread_cost=self._half_spread(name, abs(units)),
            initial_margin_required=margin,
            client_extensions=order.trade_client_extensions,
        )

    def _full_price(self, name: str) -> FullPrice:
        log = self.log
        bid, ask = log.market.price(name)
        quote = log.book.quotes[name]
        size = f"{log.market.quoted_liquidity:f}"
        return FullPrice(
            closeout_bid=bid,
            closeout_ask=ask,
            timestamp=log.quote_time(name),
            bids=(PriceBucket(price=bid, liquidity=size),),
            asks=(PriceBucket(price=ask, liquidity=size),),
            simulated=True if quote.simulated else None,
        )
