"""Position arithmetic against an independent model: single units in fractions, closed one by one."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import Fill, Position, TradeClose
from trading.oms.positions import PositionBook

QUICK = settings(max_examples=120, deadline=None)
PRICES = st.integers(90_000, 120_000)
UNITS = st.integers(-12, 12).filter(lambda units: units != 0)
FILLS = st.lists(st.tuples(UNITS, PRICES), max_size=25)


class UnitModel:
    """Every open unit by itself: (number of the fill that opened it, side, price)."""

    def __init__(self) -> None:
        self.units: list[tuple[int, int, Fraction]] = []
        self.profit = Fraction(0)

    def open(self, number: int, units: int, price: Fraction) -> None:
        self.units += [(number, 1 if units > 0 else -1, price)] * abs(units)

    def close_one(self, index: int, price: Fraction) -> None:
        _, side, opened = self.units.pop(index)
        self.profit += side * (price - opened)

    def of_side(self, side: int) -> list[Fraction]:
        return [price for _, held, price in self.units if held == side]

    def check(self, book: PositionBook) -> None:
        long, short = self.of_side(1), self.of_side(-1)
        assert book.sides("EUR_USD") == (len(long), -len(short))
        assert book.units("EUR_USD") == len(long) - len(short)
        assert ("EUR_USD" in book.held()) == bool(self.units)
        larger = long if len(long) >= len(short) else short
        average = sum(larger, Fraction(0)) / len(larger) if larger else Fraction(0)
        assert abs(Fraction(book.average_price("EUR_USD")) - average) < Fraction(1, 10**20)
        assert Fraction(book.realised.get("EUR_USD", Decimal(0))) == self.profit
        marked = sum((Fraction(1) - price for price in long), Fraction(0))
        marked += sum((price - Fraction(11, 10) for price in short), Fraction(0))
        assert abs(book.unrealised("EUR_USD", 1.0, 1.1) - float(marked)) < 1e-9


def fill(number: int, units: int, points: int, **fields: object) -> Fill:
    price = Decimal(points).scaleb(-5)
    return Fill(number, "a", "b", "EUR_USD", Decimal(units), price, number, **fields)  # type: ignore[arg-type]


@QUICK
@given(FILLS)
def test_netting_closes_first_in_first_out(fills: list[tuple[int, int]]) -> None:
    book, model = PositionBook(), UnitModel()
    for number, (units, points) in enumerate(fills, 1):
        price = Fraction(points, 10**5)
        before = model.profit
        side = 1 if units > 0 else -1
        for _ in range(abs(units)):
            if model.units and model.units[0][1] == -side:
                model.close_one(0, price)
            else:
                model.open(number, side, price)
        closings = book.apply(fill(number, units, points))
        assert Fraction(sum((closing.profit for closing in closings), Decimal(0))) == model.profit - before
        model.check(book)


@QUICK
@given(FILLS, st.randoms(use_true_random=False), st.booleans())
def test_the_trades_the_broker_names_are_the_ones_closed(
    fills: list[tuple[int, int]], chance: object, hedging: bool
) -> None:
    """Any trades of the other side, in any order and size, on both kinds of account; the rest opens a trade."""
    book, model = PositionBook(), UnitModel()
    book.hedging = hedging
    for number, (units, points) in enumerate(fills, 1):
        price, side = Fraction(points, 10**5), 1 if units > 0 else -1
        named: dict[int, int] = {}
        closable = [unit for unit in model.units if unit[1] == -side]
        # A netting account closes all it can; a hedging one what it is told.
        wanted = min(abs(units), len(closable))
        if hedging:
            wanted = chance.randint(0, wanted)  # type: ignore[attr-defined]
        for unit in chance.sample(closable, wanted):  # type: ignore[attr-defined]
            named[unit[0]] = named.get(unit[0], 0) + 1
            model.close_one(model.units.index(unit), price)
        rest = units - side * wanted
        if rest:
            model.open(number, rest, price)
        book.apply(
            fill(
                number,
                units,
                points,
                closed_trades=tuple(TradeClose(str(n), Decimal(side * count)) for n, count in sorted(named.items())),
                opened_trade=str(number) if rest else "",
                opened_units=Decimal(rest),
            )
        )
        model.check(book)


@QUICK
@given(FILLS, st.lists(st.booleans(), min_size=25, max_size=25))
def test_hedging_without_named_trades_reduces_only_where_it_was_asked(
    fills: list[tuple[int, int]], reducing: list[bool]
) -> None:
    book, model = PositionBook(), UnitModel()
    book.hedging = True
    for number, ((units, points), reduces) in enumerate(zip(fills, reducing, strict=False), 1):
        price, side = Fraction(points, 10**5), 1 if units > 0 else -1
        for _ in range(abs(units)):
            other = next((i for i, unit in enumerate(model.units) if unit[1] == -side), None) if reduces else None
            if other is None:
                model.open(number, side, price)
            else:
                model.close_one(other, price)
        book.apply(fill(number, units, points), reduces=reduces)
        model.check(book)


def test_a_stop_closes_its_own_lot() -> None:
    book = PositionBook()
    for number, points in ((1, 110_000), (2, 120_000)):
        book.apply(fill(number, 10, points))
    closings = book.apply(fill(3, -10, 115_000), lot_transaction=2)
    assert [closing.open_price for closing in closings] == [Decimal("1.20000")]
    assert book.average_price("EUR_USD") == Decimal("1.10")


def test_what_stood_before_the_session_is_taken_over_side_by_side() -> None:
    book = PositionBook()
    book.hedging = True
    both = Position("EUR_USD", Decimal(3), Decimal("1.1"), Decimal(0), Decimal(5), Decimal("1.1"), Decimal(-2))
    book.take_over(both, 1)
    assert book.sides("EUR_USD") == (5, -2)
    # A trade of before the session is closed out of what was taken over.
    book.apply(fill(9, -4, 120_000, closed_trades=(TradeClose("3", Decimal(-4)),)))
    assert book.sides("EUR_USD") == (1, -2)
    netted = PositionBook()
    netted.take_over(Position("EUR_USD", Decimal(-7), Decimal("1.2")), 1)
    assert (netted.units("EUR_USD"), netted.average_price("EUR_USD")) == (-7, Decimal("1.2"))
