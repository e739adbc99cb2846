"""What is no price never becomes one: each quote is looked at before bars, exchange and decisions see it.

A refused quote is a ``QuoteRefused`` record and a count in the metrics. A jump beyond the bound is believed when the
quotes after it agree with it: the Swiss franc of January 2015 was real.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from core.clock import NANOSECONDS
from core.domain import Quote
from core.errors import BadInputError
from core.params import section
from trading.records import QuoteRefused


class GuardParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of what counts as a price.

    Attributes:
        future_seconds: how far a quote's time may lie ahead of the clock. 2 s: a machine kept by NTP is within
            milliseconds, and a quote from further ahead would close bars early.
        maximum_jump: relative move of the middle from one quote of an instrument to the next that is believed at once;
            0 believes every move. 0.05: EUR/USD has not moved 1 % between two ticks outside of a weekend; the largest
            real jump of a major pair (EUR/CHF, 15 January 2015) took many ticks.
        confirming_quotes: so many quotes in a row around the new level (within the bound of each other) are believed.
            3: a bad tick comes alone or in pairs.
    """

    future_seconds: float = 2.0
    maximum_jump: float = 0.05
    confirming_quotes: int = 3

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "GuardParameters":
        """Build from a whole ``params.yaml``, section ``feed``.

        Raises:
            BadInputError: a value is of the wrong type or out of range, or a name is unknown.
        """
        found = section(params, "feed", cls)
        found.check()
        return found

    def at_speed(self, speed: float) -> "GuardParameters":
        """Return the same bounds for a market that runs ``speed`` times as fast as the machine."""
        return msgspec.structs.replace(self, future_seconds=self.future_seconds * max(speed, 1.0))

    def check(self) -> None:
        """Refuse bounds that let nothing through.

        Raises:
            BadInputError: naming the bound.
        """
        if not self.future_seconds >= 0 or not self.maximum_jump >= 0 or self.confirming_quotes < 1:
            raise BadInputError("feed parameters must not be negative, and confirming_quotes at least 1")


class QuoteGuard:
    """Looks at each quote of a session, in order.

    Args:
        instruments: those of the session; others are refused.
        parameters: the bounds.
        jumps: whether moves are bounded at all: not where two quotes may be a day apart (fixings).

    Attributes:
        jump: the bound of a move in force; 0: none.
        seen: what was seen of each instrument.
    """

    def __init__(self, instruments: Iterable[str], parameters: GuardParameters, jumps: bool) -> None:
        self._future_ns = round(parameters.future_seconds * NANOSECONDS)
        self.jump = parameters.maximum_jump if jumps else 0.0
        self._needed = parameters.confirming_quotes
        self.seen = {name: Seen() for name in instruments}

    def refusal(self, quote: Quote, now_ns: int) -> QuoteRefused | None:
        """Return why a quote is no price, or None where it is one.

        Args:
            quote: the next one.
            now_ns: the session's time.
        """
        seen = self.seen.get(quote.instrument)
        if seen is None:
            return _refused(quote, now_ns, "UNKNOWN_INSTRUMENT", "it is none of the session's instruments")
        bid, ask, time_ns = quote.bid, quote.ask, quote.time_ns
        if not 0.0 < bid <= ask < math.inf:
            return _refused(quote, now_ns, *_not_a_price(bid, ask))
        if time_ns < seen.newest_ns:
            words = f"it is {(seen.newest_ns - time_ns) / 1e9:.3f} s older than the one before"
            return _refused(quote, now_ns, "CLOCK_JUMP", words)
        if time_ns > now_ns + self._future_ns:
            return _refused(quote, now_ns, "CLOCK_JUMP", f"it is {(time_ns - now_ns) / 1e9:.3f} s ahead of the clock")
        if self.jump:
            middle = (bid + ask) / 2.0
            if abs(middle - seen.middle) <= self.jump * seen.middle:
                seen.middle, seen.doubtful = middle, 0
            else:
                words = self._spike(seen, middle)
                if words:
                    return _refused(quote, now_ns, "SPIKE", words)
        seen.newest_ns = time_ns
        return None

    def _spike(self, seen: "Seen", middle: float) -> str:
        """Doubt a level beyond the bound until enough quotes agree; nothing where it is believed."""
        near = seen.doubtful and abs(middle - seen.level) <= self.jump * seen.level
        seen.level, seen.doubtful = middle, seen.doubtful + 1 if near else 1
        if not seen.middle or seen.doubtful >= self._needed:
            seen.middle, seen.doubtful = middle, 0
            return ""
        return (
            f"middle {middle:g} after {seen.middle:g}: believed after {self._needed} quotes there, "
            f"this is {seen.doubtful}"
        )


class Seen:
    """What was seen of one instrument."""

    __slots__ = ("doubtful", "level", "middle", "newest_ns")

    def __init__(self) -> None:
        self.newest_ns = 0
        self.middle = 0.0  # of the newest quote that was believed; 0: none yet
        self.level = 0.0  # of the newest one beyond the bound
        self.doubtful = 0  # how many in a row were around that level


def _not_a_price(bid: float, ask: float) -> tuple[str, str]:
    words = f"bid {bid:g}, ask {ask:g}"
    if not (math.isfinite(bid) and math.isfinite(ask)):
        return "NOT_A_NUMBER", words
    return ("CROSSED", words) if bid > 0 and ask > 0 else ("NOT_POSITIVE", words)


def _refused(quote: Quote, now_ns: int, reason: str, words: str) -> QuoteRefused:
    return QuoteRefused(quote.instrument, now_ns, reason, words)
