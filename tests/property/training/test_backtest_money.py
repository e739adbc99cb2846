"""Whole numbers of the backtester against the exchange's ``Decimal``, rounded at the same places."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from hypothesis import given, settings
from hypothesis import strategies as st

from trading.matching.wire import money
from training.backtest.kernel.money import profit_money

_FACTOR = Decimal(10) ** -12


@settings(max_examples=300, deadline=None)
@given(
    ticks=st.integers(-(10**6), 10**6),
    units=st.integers(1, 10**7),
    quote=st.integers(50_000, 400_000),
    home=st.booleans(),
    decimals=st.sampled_from((3, 5)),
)
def test_profit_is_what_the_exchange_books(ticks: int, units: int, quote: int, home: bool, decimals: int) -> None:
    """Profit at home, or converted over the pair itself: a gain is sold at 1 / ask, a loss bought at 1 / bid."""
    tick = Decimal(1).scaleb(-decimals)
    bid, ask = quote * tick, (quote + 13) * tick
    factors = (Decimal(1), Decimal(1))
    if not home:
        factors = ((1 / ask).quantize(_FACTOR, ROUND_HALF_EVEN), (1 / bid).quantize(_FACTOR, ROUND_HALF_EVEN))
    amount = ticks * tick * units
    expected = money(amount * (factors[0] if amount > 0 else factors[1]))
    gain, loss = (int(factor.scaleb(12)) for factor in factors)
    assert Decimal(int(profit_money(ticks * units, gain, loss, decimals))).scaleb(-4) == expected


@settings(max_examples=300, deadline=None)
@given(halves=st.integers(-(10**9), 10**9), factor=st.integers(1, 10**13).filter(lambda value: value != 10**12))
def test_ties_go_to_even(halves: int, factor: int) -> None:
    """Exact ties, which random prices hardly ever make, and products of more than 64 bits."""
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(halves) * Decimal(5) * factor * Decimal(10) ** -13
        expected = exact.quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
        tied = Decimal(halves) / 2 * Decimal("0.0001")
        rounded_tie = tied.quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
    assert Decimal(int(profit_money(halves * 5, factor, factor, 1))).scaleb(-4) == expected
    assert Decimal(int(profit_money(halves * 5, 10**12, 10**12, 5))).scaleb(-4) == rounded_tie
    # 10^12 takes the short way; the long one must round the same ties.
    assert Decimal(int(profit_money(halves * 25, 2 * 10**11, 2 * 10**11, 5))).scaleb(-4) == rounded_tie
