"""What one row of a series is: a quote (``tick``), a bar of some length (``M1``, ``H1``, ``D``) or a ``fixing``."""

import re

import msgspec

from core.clock import NANOSECONDS
from core.domain import BarKind
from core.errors import BadInputError

SECOND = NANOSECONDS
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_UNITS = {"S": SECOND, "M": MINUTE, "H": HOUR}
_PATTERN = re.compile(r"([SMH])([1-9]\d{0,4})")


class Granularity(msgspec.Struct, frozen=True):
    """A row kind by its OANDA name. ``length_ns`` is the nominal bar length; 0 for quotes and fixings."""

    name: str
    length_ns: int

    @property
    def is_quote(self) -> bool:
        """Whether rows are single quotes."""
        return self.name == "tick"

    @property
    def is_fixing(self) -> bool:
        """Whether rows are one price a business day."""
        return self.name == "fixing"

    @property
    def kind(self) -> BarKind:
        """What a panel made of these rows holds."""
        return BarKind.FIXING if self.is_fixing else BarKind.BAR


TICK = Granularity("tick", 0)
FIXING = Granularity("fixing", 0)
DAILY = Granularity("D", DAY)
_NAMED = {
    "tick": TICK,
    "fixing": FIXING,
    "D": DAILY,
    "W": Granularity("W", 7 * DAY),
    "M": Granularity("M", 30 * DAY),  # a calendar month; the source that delivers one knows its true close
}


def parse_granularity(name: str) -> Granularity:
    """Return the granularity called ``tick``, ``fixing``, ``S<n>``, ``M<n>``, ``H<n>``, ``D``, ``W`` or ``M``.

    Raises:
        BadInputError: there is no such granularity, or its bars do not divide a day.
    """
    if name in _NAMED:
        return _NAMED[name]
    match = _PATTERN.fullmatch(name)
    if match is None:
        raise BadInputError(f"unknown granularity {name!r}: use tick, fixing, S<n>, M<n>, H<n>, D, W or M")
    length_ns = _UNITS[match[1]] * int(match[2])
    if DAY % length_ns or length_ns == DAY:
        raise BadInputError(f"bars of {name} do not divide a day: use a length like M5, H4 or D")
    return Granularity(name, length_ns)
