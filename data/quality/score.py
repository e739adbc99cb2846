"""From counts to one number in [0, 1].

``score = Π (1 − weight · min(1, share / limit))`` over the checks below: a share of bad rows at its limit costs the
whole weight of the check, a smaller one a proportional part, and several faults multiply. With the default minimum of
0.9 any single check at half of its limit or less may still pass, and at its limit none does.
"""

from collections.abc import Mapping

import msgspec


class Check(msgspec.Struct, frozen=True):
    """How much one kind of fault counts: ``limit`` is the share of rows at which it costs its whole ``weight``."""

    limit: float
    weight: float
    words: str


# The limits: no clean file seen (LEAN OANDA, MetaTrader, HistData 2017, ECB) comes within a tenth of them; the known
# damaged ones (HistData 2023-06: a third of the hours missing; FXCM ticks: 9 % crossed) reach theirs.
CHECKS: dict[str, Check] = {
    "unreadable": Check(0.02, 1.0, "rows that could not be read, or lack a price"),
    "non_positive": Check(0.01, 1.0, "prices of zero or less"),
    "crossed": Check(0.05, 0.6, "ask below bid"),
    "bad_ohlc": Check(0.02, 0.8, "high or low inside the bar's other prices"),
    "duplicates": Check(0.05, 0.5, "second rows of one time"),
    "out_of_order": Check(0.05, 0.3, "rows that come after a later one"),
    "gaps": Check(0.30, 0.6, "open market without rows, in holes of at least 15 minutes"),
    "stale": Check(0.50, 0.3, "long runs of unchanged prices"),
    "spikes": Check(0.01, 0.6, "bad prints that were taken back"),
}

# Which reasons of quarantine a check counts. Reasons in no check (vendor filler while the market is closed, the candle
# that is still open) are quarantined without a penalty: they are no fault of the data.
REASONS: dict[str, tuple[str, ...]] = {
    "unreadable": ("malformed", "missing_price", "impossible_time", "fraction_of_a_point"),
    "non_positive": ("non_positive",),
    "crossed": ("crossed",),
    "bad_ohlc": ("bad_ohlc",),
    "duplicates": ("duplicate", "conflict"),
    "spikes": ("spike",),
}


class Penalty(msgspec.Struct, frozen=True):
    """What one check found and what it costs; ``factor`` multiplies the score."""

    check: str
    words: str
    share: float
    limit: float
    weight: float
    factor: float


def penalties(shares: Mapping[str, float]) -> tuple[Penalty, ...]:
    """Return one penalty a check, in the order of ``CHECKS``, from the share of rows each found."""
    return tuple(
        Penalty(
            name,
            check.words,
            shares.get(name, 0.0),
            check.limit,
            check.weight,
            1.0 - check.weight * min(1.0, shares.get(name, 0.0) / check.limit),
        )
        for name, check in CHECKS.items()
    )


def score(found: tuple[Penalty, ...]) -> float:
    """Return the product of the factors, rounded to six decimals so that it is the same on every machine."""
    result = 1.0
    for penalty in found:
        result *= penalty.factor
    return round(result, 6)
