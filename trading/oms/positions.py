"""Positions in ``Decimal``, worked out from fills alone: the model the broker's positions are reconciled with.

Netting accounts close lots first in, first out; an attached stop closes the lot it belongs to (v20 ``tradeID``).
"""

from decimal import Decimal

import msgspec

from core.domain import Fill

_ZERO = Decimal(0)


class Lot(msgspec.Struct):
    """What is left of one opening fill."""

    transaction_id: int
    units: Decimal  # signed
    price: Decimal
    time_ns: int


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
    """Open lots by instrument and the profit of what was closed."""

    def __init__(self) -> None:
        self._lots: dict[str, list[Lot]] = {}
        self._units: dict[str, Decimal] = {}  # of the instruments that are not flat, by name
        self.realised: dict[str, Decimal] = {}  # quote currency, by instrument

    def open_at(self, instrument: str, units: Decimal, price: Decimal, time_ns: int) -> None:
        """Take over a position that stood before the session, as one lot."""
        if units:
            self._lots[instrument] = [Lot(0, units, price, time_ns)]
            self._count(instrument)

    def apply(self, fill: Fill, lot_transaction: int = 0) -> list[Closing]:
        """Apply one execution and return what it closed.

        Args:
            fill: the execution; its units lower opposite lots before the rest opens a new one.
            lot_transaction: the lot to close first (an attached stop's own), 0 for first in, first out.
        """
        lots = self._lots.setdefault(fill.instrument, [])
        rest = fill.units
        closings: list[Closing] = []
        queue = sorted(lots, key=lambda lot: lot.transaction_id != lot_transaction)  # stable: else in order
        for lot in queue:
            if rest == 0 or lot.units * rest > 0:
                break
            closed = -rest if abs(rest) <= abs(lot.units) else lot.units
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
            rest += closed
        remaining = [lot for lot in lots if lot.units]
        if rest:
            remaining.append(Lot(fill.transaction_id, rest, fill.price, fill.time_ns))
        self._lots[fill.instrument] = remaining
        self._count(fill.instrument)
        return closings

    def _count(self, instrument: str) -> None:
        total = sum((lot.units for lot in self._lots[instrument]), _ZERO)
        self._units.pop(instrument, None)
        if total:
            self._units[instrument] = total
            self._units = dict(sorted(self._units.items()))

    def units(self, instrument: str) -> Decimal:
        """Signed open units."""
        return self._units.get(instrument, _ZERO)

    def average_price(self, instrument: str) -> Decimal:
        """Average price of the open units; 0 when flat."""
        lots = self._lots.get(instrument, [])
        total = sum((lot.units for lot in lots), _ZERO)
        return sum((lot.units * lot.price for lot in lots), _ZERO) / total if total else _ZERO

    def held(self) -> dict[str, Decimal]:
        """Signed units by instrument, without the flat ones."""
        return dict(self._units)

    def unrealised(self, instrument: str, bid: float, ask: float) -> float:
        """Profit in quote currency if closed at these prices."""
        units = self.units(instrument)
        if not units:
            return 0.0
        return float(units) * ((bid if units > 0 else ask) - float(self.average_price(instrument)))
