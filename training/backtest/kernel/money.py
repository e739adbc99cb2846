"""Exact money in whole numbers: what ``trading.matching`` computes in ``Decimal``, rounded at the same places.

A price is a number of ticks (10^-d), a size a number of unit steps (10^-u), money a number of 10^-4 of the account
currency (OANDA keeps accounts in four decimals), a conversion factor a number of 10^-12 (fills report factors with
twelve decimals). A profit is then ``round_half_even(ticks * steps * factor * 10^-(d + u + 12 - 4))``: one rounding, as
``wire.money`` does it. Products of up to 10^36 are held in limbs of 10^9. ``Decimal`` itself keeps 28 digits, so both
agree as long as a profit before rounding has no more: below about 10^11 units of account currency.
"""

from training.backtest.kernel.compilation import compiled, entry, whole

MONEY_DECIMALS = 4
FACTOR_DECIMALS = 12
FACTOR_ONE = 10**FACTOR_DECIMALS
_LIMB = 10**9
_TWO_LIMBS = 10**18


@compiled
def power(exponent: int) -> int:
    """Return ten to the power of 0 to 18."""
    value = 1
    for _ in range(exponent):
        value *= 10
    return value


@compiled
def rounded_quotient(numerator: int, denominator: int) -> int:
    """Divide whole numbers, half to even; ``denominator`` above 0, ``numerator`` at least 0."""
    quotient = numerator // denominator
    twice = 2 * (numerator - quotient * denominator)
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


@compiled
def rounded_product(first: int, second: int, divisor: int, places: int) -> int:
    """Return ``first * second / (divisor * 10**places)`` rounded half to even.

    Args:
        first: of any sign, below 10^18.
        second: at least 0, below 10^18.
        divisor: 1 to 10^9.
        places: 0 to 36.
    """
    size = abs(first)
    high, low = size // _LIMB, size % _LIMB
    other_high, other_low = second // _LIMB, second % _LIMB
    limb0 = low * other_low
    limb1 = high * other_low + low * other_high + limb0 // _LIMB
    limb0 %= _LIMB
    limb2 = high * other_high + limb1 // _LIMB
    limb1 %= _LIMB
    left = False  # whether the division by the divisor left anything
    if divisor > 1:
        rest = limb2 % divisor
        limb2 //= divisor
        limb1 += rest * _LIMB
        rest = limb1 % divisor
        limb1 //= divisor
        limb0 += rest * _LIMB
        left = limb0 % divisor != 0
        limb0 //= divisor
    lower = limb1 * _LIMB + limb0
    if places <= 18:
        unit = power(places)
        quotient = limb2 * power(18 - places) + lower // unit
        twice = 2 * (lower % unit)
        above, equal = twice > unit, twice == unit
    else:
        unit = power(places - 18)
        quotient = limb2 // unit
        twice_low = 2 * lower
        twice = 2 * (limb2 % unit) + twice_low // _TWO_LIMBS
        twice_low %= _TWO_LIMBS
        above = twice > unit or (twice == unit and twice_low > 0)
        equal = twice == unit and twice_low == 0
    if above or (equal and (left or quotient & 1)):
        quotient += 1
    return quotient if first >= 0 else -quotient


@entry
def profit_money(ticks: int, gain: int, loss: int, decimals: int) -> int:
    """Return what ``ticks`` (price difference times units) are worth at home.

    Args:
        ticks: price difference in ticks times steps of a unit, signed.
        gain, loss: conversion factor of a gain and of a loss.
        decimals: of price and size together.
    """
    factor = gain if ticks > 0 else loss
    if factor == FACTOR_ONE:
        if decimals <= MONEY_DECIMALS:
            return ticks * power(MONEY_DECIMALS - decimals)
        value = rounded_quotient(abs(ticks), power(decimals - MONEY_DECIMALS))
        return value if ticks >= 0 else -value
    return rounded_product(ticks, factor, whole(1), decimals + FACTOR_DECIMALS - MONEY_DECIMALS)


@compiled
def commission_money(
    units: int, bid: int, ask: int, gain: int, loss: int, rate: int, rate_decimals: int, decimals: int
) -> int:
    """Return the commission of trading ``units`` (unsigned): notional at the middle times a rate per million."""
    if rate == 0:
        return 0
    places = decimals + FACTOR_DECIMALS + rate_decimals + 6 - MONEY_DECIMALS
    return rounded_product(units * (bid + ask) * rate, gain + loss, whole(4), places)


@compiled
def financing_money(
    units: int, bid: int, ask: int, gain: int, loss: int, rate: int, rate_decimals: int, days: int, decimals: int
) -> int:
    """Return what holding ``units`` (unsigned) for ``days`` earns (or costs, negative) at a signed annual rate."""
    if rate == 0 or days == 0:
        return 0
    factor = gain if rate > 0 else loss
    places = decimals + FACTOR_DECIMALS + rate_decimals - MONEY_DECIMALS
    return rounded_product(units * (bid + ask) * rate * days, factor, whole(2 * 365), places)
