"""Instruments: what a pair is called, how its prices and units are written, what margin it needs."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

import msgspec

from core.errors import BadInputError


class Instrument(msgspec.Struct, frozen=True):
    """One tradable pair, named as OANDA does: ``EUR_USD``.

    ``pip_location`` is the power of ten of one pip (−4, for JPY −2), ``display_precision`` the decimals of a price,
    ``units_precision`` the decimals of a size, ``margin_rate`` the fraction of the notional held as margin.
    """

    name: str
    pip_location: int
    display_precision: int
    units_precision: int = 0
    minimum_units: Decimal = Decimal(1)
    maximum_order_units: Decimal = Decimal(100_000_000)
    margin_rate: Decimal = Decimal("0.0333")
    kind: str = "CURRENCY"

    @property
    def base(self) -> str:
        """The currency that is bought and sold."""
        return self.name.partition("_")[0]

    @property
    def quote(self) -> str:
        """The currency prices and profits are in."""
        return self.name.partition("_")[2]

    @property
    def pip(self) -> Decimal:
        """One pip as a price difference."""
        return Decimal(1).scaleb(self.pip_location)

    @property
    def tick(self) -> Decimal:
        """The smallest price step."""
        return Decimal(1).scaleb(-self.display_precision)

    @property
    def unit_step(self) -> Decimal:
        """The smallest step of a size."""
        return Decimal(1).scaleb(-self.units_precision)

    def round_price(self, price: Decimal | float) -> Decimal:
        """Round to this instrument's precision, half to even."""
        return Decimal(str(price)).quantize(self.tick, rounding=ROUND_HALF_EVEN)

    def format_price(self, price: Decimal | float) -> str:
        """Write a price with exactly ``display_precision`` decimals, as the broker demands."""
        return f"{self.round_price(price):f}"

    def round_units(self, units: Decimal | float) -> Decimal:
        """Round a signed size towards zero to this instrument's step: rounding never adds risk."""
        return Decimal(str(units)).quantize(self.unit_step, rounding=ROUND_DOWN)

    def format_units(self, units: Decimal) -> str:
        """Write a size with exactly ``units_precision`` decimals."""
        return f"{self.round_units(units):f}"


# OANDA's practice environment, standard margin: majors 2 to 3.33 %, others 5 %. The broker's own answer replaces this.
_MAJOR_CURRENCIES = frozenset({"EUR", "USD", "JPY", "GBP", "CHF", "CAD", "AUD", "NZD"})
_TWO_DECIMAL_QUOTES = frozenset({"JPY", "HUF", "THB", "KRW", "INR", "PHP", "CZK"})
_METALS = {"XAU": 3, "XAG": 5}


def default_instrument(name: str) -> Instrument:
    """Build the instrument for a pair name from the broker's conventions.

    Raises:
        BadInputError: the name is not of the form ``EUR_USD``.
    """
    base, _, quote = name.partition("_")
    if not (len(base) == len(quote) == 3 and (base + quote).isalpha() and name.isupper() and base != quote):
        raise BadInputError(f"unknown instrument {name!r}: write pairs like EUR_USD")
    if base in _METALS:
        precision = _METALS[base]
        pip_location = -2 if base == "XAU" else -4
        return Instrument(name, pip_location, precision, margin_rate=Decimal("0.05"), kind="METAL")
    two_decimals = quote in _TWO_DECIMAL_QUOTES
    major = base in _MAJOR_CURRENCIES and quote in _MAJOR_CURRENCIES
    return Instrument(
        name,
        pip_location=-2 if two_decimals else -4,
        display_precision=3 if two_decimals else 5,
        margin_rate=Decimal("0.0333") if major else Decimal("0.05"),
    )


def normalise_name(text: str) -> str:
    """Return ``EUR_USD`` for ``eurusd``, ``EUR/USD``, ``EUR-USD`` or ``EUR_USD``.

    Raises:
        BadInputError: the text names no pair.
    """
    letters = "".join(character for character in text if character.isalpha()).upper()
    name = f"{letters[:3]}_{letters[3:]}"
    return default_instrument(name).name
