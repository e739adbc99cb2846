"""How our field names and numbers become the JSON of the v20 protocol.

Every struct that goes on the wire holds ``Decimal`` values already quantised to the precision the protocol writes them
with (price: ``display_precision``, money: 4 decimals, percentages: 5, conversion factors of prices: 8), because msgspec
writes a ``Decimal`` as its exact text. Times are RFC 3339 strings with nine decimals, ids are strings.
"""

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

_SPECIAL = {"id": "ID", "ids": "IDs", "pl": "PL", "vwap": "VWAP"}

ZERO = Decimal(0)
_MONEY = Decimal("0.0001")
_PERCENT = Decimal("0.00001")
_FACTOR = Decimal("0.00000001")
ZERO_MONEY = Decimal("0.0000")


def v20_name(field: str) -> str:
    """Return the protocol's name of a field: ``realized_pl`` is ``realizedPL``, ``trade_ids`` is ``tradeIDs``."""
    if field == "nav":
        return "NAV"
    head, *rest = field.split("_")
    return head + "".join(_SPECIAL.get(word, word.capitalize()) for word in rest)


class Wire(msgspec.Struct, kw_only=True, omit_defaults=True, rename=v20_name):
    """Base of everything the protocol writes: unset fields are left out."""


class FrozenWire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=v20_name):
    """The same for values that never change once made."""


def money(value: Decimal) -> Decimal:
    """Round to the four decimals OANDA keeps accounts in, half to even."""
    return value.quantize(_MONEY, rounding=ROUND_HALF_EVEN)


def percent(value: Decimal) -> Decimal:
    """Round a ratio to five decimals."""
    return value.quantize(_PERCENT, rounding=ROUND_HALF_EVEN)


def price_factor(value: Decimal) -> Decimal:
    """Round a conversion factor to the eight decimals of the pricing endpoint."""
    return value.quantize(_FACTOR, rounding=ROUND_HALF_EVEN)


def plain(value: Decimal) -> Decimal:
    """Drop trailing zeros without an exponent: conversion factors of fills are written like that (``1``)."""
    short = value.normalize()
    exponent = short.as_tuple().exponent
    return short.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else short
