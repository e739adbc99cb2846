"""Executing an order at the standing quote: how much of it, at what price, against what, or why not.

Rules:

* A buy trades at the ask, a sell at the bid: one price a side, good for ``AccountConfiguration.liquidity`` units, which
  what trades on the quote uses up. FOK takes all or nothing, IOC what there is; a resting entry order trades what there
  is and keeps resting for the remainder under its id. A take-profit, a stop of a trade and a margin close-out are not
  bounded: a protection that is half executed protects nobody.
* Netting account: an opposite fill closes the oldest trades first; the rest opens a trade with the id of the fill.
  ``OPEN_ONLY`` against an opposite position is cancelled (FIFO_VIOLATION).
* Hedging account: ``DEFAULT`` means ``OPEN_ONLY``, both sides coexist; ``REDUCE_FIRST`` closes opposite trades first.
* ``REDUCE_ONLY`` without an opposite position is cancelled (POSITION_CLOSEOUT_FAILED), and reduces at most to flat.
* A fill that raises the margin used must leave it covered by the net asset value after spread and commission.
"""

from decimal import Decimal

from trading.matching import fifo
from trading.matching.attached import Attached
from trading.matching.book import Order, Trade
from trading.matching.fills import Fills
from trading.matching.log import TransactionLog
from trading.matching.refusal import RefusalError, WaitError
from trading.matching.valuation import held_units, margin_per_unit, value_account
from trading.matching.wire import ZERO

_RESTING = frozenset({"GTC", "GTD", "GFD"})


class Execution:
    """Fills orders on a book."""

    def __init__(self, log: TransactionLog) -> None:
        self.log = log
        self.attached = Attached(log)
        self.fills = Fills(log, self.attached)

    def execute(self, order: Order, reason: str, only_trade: Trade | None = None) -> bool:
        """Fill ``order``, in part or whole, or cancel it; return whether anything was filled.

        Args:
            order: a market order, or a pending order that is due.
            reason: the fill's reason, such as ``MARKET_ORDER``.
            only_trade: close (part of) this trade instead of the oldest ones.
        """
        try:
            price, closing, opening, partly = self._plan(order, reason, only_trade)
        except WaitError:
            return False
        except RefusalError as refusal:
            self.log.cancel(order, str(refusal))
            return False
        if not partly:
            self.log.drop_pending(order)
        self.fills.book(order, reason, price, closing, opening, partly)
        return True

    def _plan(
        self, order: Order, reason: str, only_trade: Trade | None
    ) -> tuple[Decimal, list[tuple[Trade, Decimal]], Decimal, bool]:
        """Return price, the signed parts of trades that are closed, the units to open, and whether some are left."""
        log = self.log
        name = log.instrument_of(order)
        if not log.market.tradeable(name) or log.market.factors(log.instruments[name].quote) is None:
            raise RefusalError("MARKET_HALTED")
        if log.book.reject_reasons and order.type == "MARKET":
            raise RefusalError(log.book.reject_reasons.pop(0))
        units = -only_trade.units if order.units is None and only_trade is not None else order.open_units
        bid, ask = log.market.price(name)
        price = ask if units > 0 else bid
        if order.price_bound is not None and (price > order.price_bound if units > 0 else price < order.price_bound):
            raise RefusalError("BOUNDS_VIOLATION")
        partly = False
        if order.units is not None and reason != "MARKET_ORDER_MARGIN_CLOSEOUT":
            there = log.market.liquidity(name, units > 0)
            if abs(units) > there:
                partly = order.time_in_force in _RESTING
                units = self._bounded(order, units, there)
        closing, opening = self._net(order, name, units, only_trade)
        if log.book.configuration.fifo:
            fifo.check(log, order, name, closing, opening, only_trade)
        if opening:
            self._check_margin(name, closing, opening, bid, ask)
            self.attached.check(order, opening, price, bid, ask)
        return price, closing, opening, partly

    def _bounded(self, order: Order, units: Decimal, there: Decimal) -> Decimal:
        """Return what of ``units`` can be traded when only ``there`` are."""
        if order.time_in_force == "FOK" or (not there and order.time_in_force == "IOC"):
            raise RefusalError("INSUFFICIENT_LIQUIDITY")
        if not there:
            raise WaitError
        return there.copy_sign(units)

    def _net(
        self, order: Order, name: str, units: Decimal, only_trade: Trade | None
    ) -> tuple[list[tuple[Trade, Decimal]], Decimal]:
        """Split ``units`` into signed parts of opposite trades that are closed, oldest first, and a rest to open."""
        if only_trade is not None:
            part = min(abs(units), abs(only_trade.units)).copy_sign(only_trade.units)
            return [(only_trade, part)], ZERO
        hedging = self.log.book.configuration.hedging
        action = order.position_fill
        if action in (None, "DEFAULT"):
            action = "OPEN_ONLY" if hedging else "REDUCE_FIRST"
        opposite = [t for t in self.log.open_trades.get(name, {}).values() if (t.units > 0) != (units > 0)]
        if action == "OPEN_ONLY":
            if opposite and not hedging:
                raise RefusalError("FIFO_VIOLATION")
            return [], units
        rest = units
        closing: list[tuple[Trade, Decimal]] = []
        for trade in opposite:
            if not rest:
                break
            part = min(abs(rest), abs(trade.units)).copy_sign(trade.units)
            closing.append((trade, part))
            rest += part
        if action == "REDUCE_ONLY":
            if not closing:
                raise RefusalError("POSITION_CLOSEOUT_FAILED")
            rest = ZERO
        return closing, rest

    def _check_margin(
        self, name: str, closing: list[tuple[Trade, Decimal]], opening: Decimal, bid: Decimal, ask: Decimal
    ) -> None:
        log = self.log
        value = value_account(log.book, log.market, log.open_trades)
        per_unit = margin_per_unit(log.book, log.market, name)
        long, short = held_units(log.open_trades.get(name, {}))
        closed = sum((abs(part) for _, part in closing), ZERO)
        if opening > 0:
            after_long, after_short = long + opening, short - closed
        else:
            after_long, after_short = long - closed, short - opening
        margin = value.margin_used + (max(after_long, after_short) - max(long, short)) * per_unit
        factors = log.market.factors(log.instruments[name].quote)
        spread = (ask - bid) * abs(opening) * (factors[1] if factors else ZERO)
        after = value.nav - spread - self.fills.commission(name, abs(opening) + closed)
        if margin > value.margin_used and margin > after:
            raise RefusalError("INSUFFICIENT_MARGIN")
