"""Positions and profit against an independent model: lots in whole numbers of ten-thousandths, nothing of the exchange.

The model knows only what was traded (side, size, price in points) and the account kind; the exchange must agree with it
on every lot, on realised and unrealised profit and on margin, to the last decimal.
"""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import from_rfc3339
from core.domain import Quote, default_instrument
from trading.matching.book import AccountConfiguration
from trading.matching.commands import OrderSpecification, SetLiquidity, Submit
from trading.matching.exchange import Exchange
from trading.matching.transactions import OrderFill

START = from_rfc3339("2024-03-05T10:00:00Z")
RATE = Fraction("0.0333")
steps = st.lists(
    st.tuples(
        st.integers(-300, 300),  # points the middle moves
        st.integers(1, 30),  # half spread in points
        st.integers(-40, 40).filter(bool),  # thousand units
        st.sampled_from(["DEFAULT", "REDUCE_FIRST", "REDUCE_ONLY", "OPEN_ONLY"]),
        st.sampled_from([None, 5, 17]),  # thousand units a quote is good for
    ),
    min_size=1,
    max_size=25,
)


class Model:
    """Lots of one USD-quoted pair, oldest first: [signed units, price in points]."""

    def __init__(self, hedging: bool) -> None:
        self.hedging = hedging
        self.lots: list[list[int]] = []
        self.realised = Fraction(0)  # rounded as money part by part

    def trade(self, units: int, points: int, action: str) -> int:
        """Return what was traded: 0 if the order cannot be."""
        opposite = [lot for lot in self.lots if lot[0] * units < 0]
        if action == "DEFAULT":
            action = "OPEN_ONLY" if self.hedging else "REDUCE_FIRST"
        if action == "OPEN_ONLY" and opposite and not self.hedging:
            return 0
        done = 0
        if action != "OPEN_ONLY":
            for lot in opposite:
                size = min(abs(units - done), abs(lot[0]))
                part = size if lot[0] > 0 else -size
                profit = Fraction(part * (points - lot[1]), 100_000)
                self.realised += Fraction(round(profit * 10_000), 10_000)
                lot[0] -= part
                done -= part
            self.lots = [lot for lot in self.lots if lot[0]]
        if action != "REDUCE_ONLY" and done != units:
            self.lots.append([units - done, points])
            done = units
        return done

    def unrealised(self, bid: int, ask: int) -> Fraction:
        values = [Fraction(units * ((bid if units > 0 else ask) - price), 100_000) for units, price in self.lots]
        return sum((Fraction(round(value * 10_000), 10_000) for value in values), Fraction(0))

    def margin(self, bid: int, ask: int) -> Fraction:
        long = sum(units for units, _ in self.lots if units > 0)
        short = -sum(units for units, _ in self.lots if units < 0)
        used = Fraction(max(long, short)) * Fraction(bid + ask, 200_000) * RATE
        return Fraction(round(used * 10_000), 10_000)


@settings(max_examples=120)
@given(steps, st.booleans())
def test_the_exchange_agrees_with_the_model(script: list[tuple[int, int, int, str, int | None]], hedging: bool) -> None:
    instruments = {"EUR_USD": default_instrument("EUR_USD")}
    start_money = 50_000_000
    exchange = Exchange(instruments, AccountConfiguration(balance=Decimal(start_money), hedging=hedging), START)
    model = Model(hedging)
    middle, now = 110_000, START
    for move, half, thousands, action, bound in script:
        middle, now = middle + move, now + 10**9
        bid, ask = middle - half, middle + half
        exchange.apply(SetLiquidity(time_ns=now, units=None if bound is None else Decimal(bound * 1000)))
        exchange.on_quote(Quote("EUR_USD", now, now, bid / 1e5, ask / 1e5))
        units = thousands * 1000
        spec = OrderSpecification(instrument="EUR_USD", units=Decimal(units), position_fill=action, time_in_force="IOC")
        made = exchange.apply(Submit(time_ns=now, order=spec))
        wanted = units if bound is None else max(-bound * 1000, min(bound * 1000, units))
        before = model.realised
        expected = model.trade(wanted, ask if units > 0 else bid, action)
        fills = [item for item in made if isinstance(item, OrderFill)]
        assert [int(fill.units) for fill in fills] == ([expected] if expected else [])
        if fills:
            assert Fraction(fills[0].pl) == model.realised - before
        held = [[int(t.units), round(t.price * 100_000)] for t in exchange.log.open_trades.get("EUR_USD", {}).values()]
        assert held == model.lots
        value = exchange.valuation()
        assert Fraction(exchange.book.balance) == start_money + model.realised
        assert Fraction(value.unrealized_pl) == model.unrealised(bid, ask)
        assert Fraction(value.nav) == start_money + model.realised + model.unrealised(bid, ask)
        assert Fraction(value.margin_used) == model.margin(bid, ask)
