"""Executing an order at the standing quote: netting, profit, margin, and the orders a fill brings along.

Rules:

* A buy trades at the ask, a sell at the bid. The whole size trades at the one quoted price (simplification: no depth;
  an order beyond ``AccountConfiguration.liquidity`` finds no liquidity, IOC takes what there is).
* Netting account: an opposite fill closes the oldest trades first; the rest opens a trade with the id of the fill.
* ``OPEN_ONLY`` against an opposite position is cancelled (FIFO_VIOLATION), ``REDUCE_ONLY`` without one too
  (POSITION_CLOSEOUT_FAILED), and reduces at most to flat otherwise.
* A fill that raises the margin used must leave it covered by the net asset value after spread and commission.
* Profit of each closed part is rounded to four decimals; the balance is the exact sum of what the log shows.
* Financing is 0 in fills: it is charged by its own transaction (a later addition to this core).
"""

from decimal import Decimal
from typing import Any

from trading.matching.book import Order, PositionTotals, Trade
from trading.matching.log import TransactionLog
from trading.matching.transactions import (
    ORDER_CREATED,
    FullPrice,
    OnFillDetails,
    OrderFill,
    PriceBucket,
    TradeOpen,
    TradeReduce,
)
from trading.matching.triggers import trail
from trading.matching.valuation import margin_per_unit, value_account
from trading.matching.wire import ZERO, ZERO_MONEY, money

_MILLION = Decimal(1_000_000)


class RefusalError(Exception):
    """Why an order cannot be executed, in the protocol's word."""


class Execution:
    """Fills orders on a book."""

    def __init__(self, log: TransactionLog) -> None:
        self.log = log

    def execute(self, order: Order, reason: str, only_trade: Trade | None = None) -> bool:
        """Fill ``order`` or cancel it; return whether it was filled.

        Args:
            order: a market order, or a pending order that is due.
            reason: the fill's reason, such as ``MARKET_ORDER``.
            only_trade: close (part of) this trade instead of the oldest ones.
        """
        try:
            price, units, closing, opening = self._plan(order, only_trade)
        except RefusalError as refusal:
            self.log.cancel(order, str(refusal))
            return False
        self.log.drop_pending(order)
        self._fill(order, reason, price, units, closing, opening)
        return True

    def _plan(
        self, order: Order, only_trade: Trade | None
    ) -> tuple[Decimal, Decimal, list[tuple[Trade, Decimal]], Decimal]:
        """Return price, units to trade, the parts of trades they close, and the units they open."""
        log = self.log
        name = log.instrument_of(order)
        if not log.market.tradeable(name) or log.market.factors(log.instruments[name].quote) is None:
            raise RefusalError("MARKET_HALTED")
        if log.book.reject_reasons and order.type == "MARKET":
            raise RefusalError(log.book.reject_reasons.pop(0))
        units = -only_trade.units if order.units is None and only_trade is not None else order.units or ZERO
        bid, ask = log.market.price(name)
        price = ask if units > 0 else bid
        if order.price_bound is not None and (price > order.price_bound if units > 0 else price < order.price_bound):
            raise RefusalError("BOUNDS_VIOLATION")
        liquidity = log.book.configuration.liquidity
        if abs(units) > liquidity:
            if order.time_in_force != "IOC":
                raise RefusalError("INSUFFICIENT_LIQUIDITY")
            units = liquidity.copy_sign(units)
        closing, opening = self._net(order, name, units, only_trade)
        units = opening - sum((part for _, part in closing), ZERO)
        if opening:
            self._check_margin(name, opening, bid, ask)
            self._check_attached(order, opening, price, bid, ask)
        return price, units, closing, opening

    def _net(
        self, order: Order, name: str, units: Decimal, only_trade: Trade | None
    ) -> tuple[list[tuple[Trade, Decimal]], Decimal]:
        """Split ``units`` into signed parts of opposite trades that are closed, oldest first, and a rest to open."""
        if only_trade is not None:
            part = min(abs(units), abs(only_trade.units)).copy_sign(only_trade.units)
            return [(only_trade, part)], ZERO
        opposite = [t for t in self.log.open_trades.get(name, {}).values() if (t.units > 0) != (units > 0)]
        if order.position_fill == "OPEN_ONLY" and opposite:
            raise RefusalError("FIFO_VIOLATION")
        rest = units
        closing: list[tuple[Trade, Decimal]] = []
        for trade in opposite:
            if not rest:
                break
            part = min(abs(rest), abs(trade.units)).copy_sign(trade.units)
            closing.append((trade, part))
            rest += part
        if order.position_fill == "REDUCE_ONLY":
            if not closing:
                raise RefusalError("POSITION_CLOSEOUT_FAILED")
            rest = ZERO
        return closing, rest

    def _check_margin(self, name: str, opening: Decimal, bid: Decimal, ask: Decimal) -> None:
        log = self.log
        value = value_account(log.book, log.market, log.open_trades)
        per_unit = margin_per_unit(log.book, log.market, name)
        held = sum((trade.units for trade in log.open_trades.get(name, {}).values()), ZERO)
        # Opposite trades are all closed when something is opened, so the new net is the opening alone then.
        net = opening + held if (held > 0) == (opening > 0) else opening
        margin = value.margin_used + (abs(net) - abs(held)) * per_unit
        factors = log.market.factors(log.instruments[name].quote)
        spread = (ask - bid) * abs(opening) * (factors[1] if factors else ZERO)
        after = value.nav - spread - self._commission(name, abs(opening) + (abs(held) if net == opening else ZERO))
        if margin > value.margin_used and margin > after:
            raise RefusalError("INSUFFICIENT_MARGIN")

    def _check_attached(self, order: Order, opening: Decimal, price: Decimal, bid: Decimal, ask: Decimal) -> None:
        """Refuse a fill whose stop or target would be executed at once, at a loss."""
        long = opening > 0
        close = bid if long else ask
        stop = order.stop_loss_on_fill
        if stop is not None:
            level = self._stop_level(stop, price, long)
            if level is not None and (close <= level if long else close >= level):
                raise RefusalError("STOP_LOSS_ON_FILL_LOSS")
        target = order.take_profit_on_fill
        if (
            target is not None
            and target.price is not None
            and (close >= target.price if long else close <= target.price)
        ):
            raise RefusalError("TAKE_PROFIT_ON_FILL_LOSS")
        taken = self.log.book.client_order_ids
        for details, prefix in (
            (target, "TAKE_PROFIT"),
            (stop, "STOP_LOSS"),
            (order.trailing_stop_loss_on_fill, "TRAILING_STOP_LOSS"),
        ):
            extensions = details.client_extensions if details else None
            if extensions and extensions.id is not None and extensions.id in taken:
                raise RefusalError(f"{prefix}_ON_FILL_CLIENT_ORDER_ID_ALREADY_EXISTS")

    def _stop_level(self, stop: OnFillDetails, price: Decimal, long: bool) -> Decimal | None:
        if stop.distance is None:
            return stop.price
        return price - stop.distance if long else price + stop.distance

    def _commission(self, name: str, units: Decimal) -> Decimal:
        rate = self.log.book.configuration.commission_per_million
        if not rate:
            return ZERO_MONEY
        market = self.log.market
        notional = units * market.middle(name) * market.middle_factor(market.instruments[name].quote)
        return money(notional * rate / _MILLION)

    def _fill(
        self,
        order: Order,
        reason: str,
        price: Decimal,
        units: Decimal,
        closing: list[tuple[Trade, Decimal]],
        opening: Decimal,
    ) -> None:
        log, book = self.log, self.log.book
        name = log.instrument_of(order)
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
        commission = self._commission(name, abs(units))
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
            requested_units=units if order.units is None else order.units,
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
        book.last_fill_time = fill.time
        order.state = "FILLED"
        order.filling_transaction_id = fill.id
        order.filled_time = fill.time
        order.trade_opened_id = fill.id if opened else None
        order.trade_reduced_id = reduced.trade_id if reduced else None
        order.trade_closed_ids = tuple(item.trade_id for item in closed) or None
        if opened:
            self._attach(order, book.trades[fill.id])
        for item in closed:
            self._cancel_linked(book.trades[item.trade_id])

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
        size = f"{log.book.configuration.liquidity:f}"
        return FullPrice(
            closeout_bid=bid,
            closeout_ask=ask,
            timestamp=log.quote_time(name),
            bids=(PriceBucket(price=bid, liquidity=size),),
            asks=(PriceBucket(price=ask, liquidity=size),),
            simulated=True if quote.simulated else None,
        )

    def _attach(self, order: Order, trade: Trade) -> None:
        for kind, details in (
            ("TAKE_PROFIT", order.take_profit_on_fill),
            ("STOP_LOSS", order.stop_loss_on_fill),
            ("TRAILING_STOP_LOSS", order.trailing_stop_loss_on_fill),
        ):
            if details is not None:
                self.create_trade_order(kind, trade, details, "ON_FILL", fill_id=trade.id)

    def create_trade_order(
        self,
        kind: str,
        trade: Trade,
        details: OnFillDetails,
        reason: str,
        fill_id: str | None = None,
        replaces: Order | None = None,
    ) -> Order:
        """Create a take-profit, stop-loss or trailing stop on a trade."""
        log = self.log
        long = trade.units > 0
        tick = log.instruments[trade.instrument].tick
        price = details.price if kind != "STOP_LOSS" else self._stop_level(details, trade.price, long)
        distance = None if details.distance is None else details.distance.quantize(tick)
        shared: dict[str, Any] = {
            "trade_id": trade.id,
            "client_trade_id": trade.client_id,
            "price": None if price is None or kind == "TRAILING_STOP_LOSS" else price.quantize(tick),
            "distance": distance,
            "time_in_force": details.time_in_force or "GTC",
            "gtd_time": details.gtd_time,
            "trigger_condition": details.trigger_condition or "DEFAULT",
            "trigger_mode": "TOP_OF_BOOK" if kind == "STOP_LOSS" else None,
            "guaranteed": False if kind == "STOP_LOSS" else None,
            "client_extensions": details.client_extensions,
            "replaces_order_id": replaces.id if replaces else None,
        }
        transaction = log.write(
            ORDER_CREATED[kind],
            reason=reason,
            order_fill_transaction_id=fill_id,
            cancelling_transaction_id=replaces.cancelling_transaction_id if replaces else None,
            **shared,
        )
        order = Order(id=transaction.id, create_time=transaction.time, type=kind, state="PENDING", **shared)
        if kind == "TRAILING_STOP_LOSS":
            bid, ask = log.market.price(trade.instrument)
            trail(order, not long, bid, ask)
        log.book.orders[order.id] = order
        log.remember_client_id(order)
        trade.order_ids[kind] = order.id
        log.add_pending(order)
        return order

    def _cancel_linked(self, trade: Trade) -> None:
        for number in sorted(trade.order_ids.values(), key=int):
            order = self.log.book.orders[number]
            if order.state == "PENDING":
                self.log.cancel(order, "LINKED_TRADE_CLOSED")
