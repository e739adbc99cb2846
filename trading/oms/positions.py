"""Positions in ``Decimal``, worked out from fills alone: the model the broker's positions are reconciled with.

Which trades a fill closes, in this order of authority:

* the trades the broker names in the fill (v20 ``tradesClosed``, ``tradeReduced``);
* for an attached stop or target, the trade it belongs to (v20 ``tradeID``);
* on a netting account, first in, first out (the rule NFA 2-43(b) of the United States, v20's default elsewhere);
* on a hedging account nothing, unless the order was to reduce: both sides stand side by side.
"""

from decimal import Decimal

import msgspec

from core.domain import Fill, Position

_ZERO = Decimal(0)


class Lot(msgspec.Struct):
    """What is left of one opening fill."""

    transaction_id: int  # of the opening fill; 0 for a position that stood before the session
    units: Decimal  # signed
    price: Decimal
    time_ns: int
    trade_id: str = ""


class Closing(msgspec.Struct, frozen=True):
    """A closed part of a lot: one round trip."""

    instrument: str
    units: Decimal  # signed as the lot was
    open_price: Decimal
    close_price: Decimal
    open_ns: int
    close_ns: int
    profit: Decimal  # quote currency
    transaction_id: int
    reason: str


class PositionBook:
    """Open lots by instrument and the profit of what was closed.

    Attributes:
        hedging: whether long and short lots of one instrument may coexist.
        realised: profit of what was closed, in quote currency, by instrument.
    """

    def __init__(self) -> None:
        self.hedging = False
        self.realised: dict[str, Decimal] = {}
        self._lots: dict[str, list[Lot]] = {}  # oldest first
        self._units: dict[str, Decimal] = {}  # net, of the instruments with open lots, by name
        self._valued: dict[str, list[tuple[float, float]]] = {}  # units and average price of each side that is open

    def take_over(self, position: Position, time_ns: int) -> None:
        """Take over a position that stood before the session: one lot for each side."""
        sides = ((position.long_units, position.long_price), (position.short_units, position.short_price))
        if not (position.long_units and position.short_units):
            sides = ((position.units, position.average_price),)
        lots = [Lot(0, units, price, time_ns) for units, price in sides if units]
        if lots:
            self._lots[position.instrument] = lots
            self._count(position.instrument)

    def apply(self, fill: Fill, lot_transaction: int = 0, reduces: bool = False) -> list[Closing]:
        """Apply one execution and return what it closed.

        Args:
            fill: the execution; what does not close a lot opens one.
            lot_transaction: the lot to close first (an attached stop's own), 0 for first in, first out.
            reduces: on a hedging account, whether the order was to lower the other side.
        """
        lots = self._lots.setdefault(fill.instrument, [])
        closings: list[Closing] = []
        rest = fill.units
        named = sum((abs(trade.units) for trade in fill.closed_trades), _ZERO)
        for trade in fill.closed_trades:
            # A trade of before the session has no lot of its own: it is in the lot taken over.
            number = int(trade.trade_id) if trade.trade_id.isdigit() else -1
            order = sorted(lots, key=lambda lot: (not _is(lot, trade.trade_id, number), lot.transaction_id != 0))
            rest += self._close(order, abs(trade.units).copy_sign(-fill.units), fill, closings)
        if not named and (not self.hedging or reduces or lot_transaction):
            order = sorted(lots, key=lambda lot: lot.transaction_id != lot_transaction)  # stable: else oldest first
            rest += self._close(order, -fill.units, fill, closings)
        remaining = [lot for lot in lots if lot.units]
        if rest:
            remaining.append(Lot(fill.transaction_id, rest, fill.price, fill.time_ns, fill.opened_trade))
        self._lots[fill.instrument] = remaining
        self._count(fill.instrument)
        return closings

    def _close(self, lots: list[Lot], wanted: Decimal, fill: Fill, closings: list[Closing]) -> Decimal:
        """Close up to ``wanted`` units (signed as the lots) in this order; return how much was."""
        done = _ZERO
        for lot in lots:
            left = wanted - done
            if not left:
                break
            if lot.units * wanted <= 0:
                continue
            closed = left if abs(left) <= abs(lot.units) else lot.units
            profit = closed * (fill.price - lot.price)
            closings.append(
                Closing(
                    instrument=fill.instrument,
                    units=closed,
                    open_price=lot.price,
                    close_price=fill.price,
                    open_ns=lot.time_ns,
                    close_ns=fill.time_ns,
                    profit=profit,
                    transaction_id=fill.transaction_id,
                    reason=fill.reason,
                )
            )
            self.realised[fill.instrument] = self.realised.get(fill.instrument, _ZERO) + profit
            lot.units -= closed
            done += closed
        return done

    def _count(self, instrument: str) -> None:
        lots = self._lots[instrument]
        self._units.pop(instrument, None)
        self._valued.pop(instrument, None)
        if lots:
            self._units[instrument] = sum((lot.units for lot in lots), _ZERO)
            self._units = dict(sorted(self._units.items()))

    def lots(self, instrument: str) -> list[Lot]:
        """Open lots, oldest first. To look at."""
        return list(self._lots.get(instrument, ()))

    def units(self, instrument: str) -> Decimal:
        """Signed open units, net."""
        return self._units.get(instrument, _ZERO)

    def sides(self, instrument: str) -> tuple[Decimal, Decimal]:
        """Long and short units; the short ones are not positive."""
        lots = self._lots.get(instrument, [])
        return (
            sum((lot.units for lot in lots if lot.units > 0), _ZERO),
            sum((lot.units for lot in lots if lot.units < 0), _ZERO),
        )

    def average_price(self, instrument: str) -> Decimal:
        """Average price of the open units; 0 when flat. Where both sides stand, that of the larger (long if equal)."""
        long, short = self.sides(instrument)
        return self._side_price(instrument, long if long >= -short else short)

    def _side_price(self, instrument: str, total: Decimal) -> Decimal:
        lots = self._lots.get(instrument, [])
        return sum((lot.units * lot.price for lot in lots if lot.units * total > 0), _ZERO) / total if total else _ZERO

    def held(self) -> dict[str, Decimal]:
        """Signed units by instrument, without the flat ones; 0 where long and short of the same size stand."""
        return dict(self._units)

    def unrealised(self, instrument: str, bid: float, ask: float) -> float:
        """Profit in quote currency if closed at these prices."""
        if instrument not in self._units:
            return 0.0
        sides = self._valued.get(instrument)
        if sides is None:
            sides = self._valued[instrument] = [
                (float(units), float(self._side_price(instrument, units))) for units in self.sides(instrument) if units
            ]
        total = 0.0
        for units, average in sides:
            total += units * ((bid if units > 0 else ask) - average)
        return total


def _is(lot: Lot, trade_id: str, number: int) -> bool:
    return lot.trade_id == trade_id or (not lot.trade_id and lot.transaction_id == number)
