"""Prices and sizes are written as the broker demands; names are read however people write them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import default_instrument, mid_price, normalise_name
from core.errors import BadInputError


@pytest.mark.parametrize("text", ["eurusd", "EUR/USD", "EUR-USD", "EUR_USD", "Eur usd"])
def test_names_are_normalised(text: str) -> None:
    assert normalise_name(text) == "EUR_USD"


@pytest.mark.parametrize("text", ["", "EUR", "EUREUR", "EURUSDX", "12", "EUR_US1"])
def test_what_is_no_pair_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        normalise_name(text)
    assert "EUR_USD" in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "price", "written"),
    [("EUR_USD", 1.1, "1.10000"), ("USD_JPY", 155.12349, "155.123"), ("XAU_USD", "1290.1", "1290.100")],
)
def test_prices_have_exactly_the_broker_precision(name: str, price: float, written: str) -> None:
    assert default_instrument(name).format_price(price) == written


@given(st.decimals(min_value=-1_000_000, max_value=1_000_000, allow_nan=False, places=4))
def test_rounding_units_never_adds_risk(units: Decimal) -> None:
    rounded = default_instrument("EUR_USD").round_units(units)
    assert abs(rounded) <= abs(units)
    assert rounded == rounded.to_integral_value()


@given(st.integers(min_value=1, max_value=500_000), st.integers(min_value=1, max_value=500), st.sampled_from([3, 5]))
def test_the_middle_of_a_symmetric_quote_is_the_stored_price(points: int, half: int, precision: int) -> None:
    points += 1_000
    stored = float(Decimal(points).scaleb(-precision))
    bid = float(Decimal(points - half).scaleb(-precision))
    ask = float(Decimal(points + half).scaleb(-precision))
    assert mid_price(bid, ask, precision) == stored
