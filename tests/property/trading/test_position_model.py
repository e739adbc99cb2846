"""Position arithmetic against an independent model: a list of single units, closed first in, first out."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import Fill
from trading.oms.positions import PositionBook

FILLS = st.lists(
    st.tuples(st.integers(-12, 12).filter(lambda units: units != 0), st.integers(90_000, 120_000)), max_size=25
)


@settings(max_examples=200, deadline=None)
@given(FILLS)
def test_lots_against_single_units(fills: list[tuple[int, int]]) -> None:
    book = PositionBook()
    queue: list[tuple[int, Decimal]] = []  # (side, price) of each single open unit, oldest first
    profit = Decimal(0)
    for number, (units, points) in enumerate(fills, 1):
        price = Decimal(points).scaleb(-5)
        closed_profit = Decimal(0)
        side = 1 if units > 0 else -1
        for _ in range(abs(units)):
            if queue and queue[0][0] == -side:
                held, opened = queue.pop(0)
                closed_profit += held * (price - opened)
            else:
                queue.append((side, price))
        closings = book.apply(Fill(number, "a", "b", "EUR_USD", Decimal(units), price, number))
        profit += closed_profit
        assert sum((closing.profit for closing in closings), Decimal(0)) == closed_profit
        assert book.units("EUR_USD") == sum(held for held, _ in queue)
        if queue:
            average = sum((price for _, price in queue), Decimal(0)) / len(queue)
            assert abs(book.average_price("EUR_USD") - average) < Decimal("1e-20")
        else:
            assert book.average_price("EUR_USD") == 0
        assert book.realised.get("EUR_USD", Decimal(0)) == profit
        held = float(book.units("EUR_USD"))
        marked = book.unrealised("EUR_USD", 1.0, 1.1)
        expected = held * ((1.0 if held > 0 else 1.1) - float(book.average_price("EUR_USD"))) if held else 0.0
        assert marked == expected


def test_a_stop_closes_its_own_lot() -> None:
    book = PositionBook()
    for number, price in ((1, "1.10"), (2, "1.20")):
        book.apply(Fill(number, "a", "b", "EUR_USD", Decimal(10), Decimal(price), number))
    closings = book.apply(Fill(3, "", "c", "EUR_USD", Decimal(-10), Decimal("1.15"), 3), lot_transaction=2)
    assert [closing.open_price for closing in closings] == [Decimal("1.20")]
    assert book.average_price("EUR_USD") == Decimal("1.10")
