"""What is no price is refused with its reason; what is a large but real move is believed after a few quotes."""

import math

import pytest

from core.domain import Quote
from core.errors import BadInputError
from trading.feeds.guard import GuardParameters, QuoteGuard

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


def quote(bid: float, ask: float, time_ns: int = NOW, name: str = "EUR_USD") -> Quote:
    return Quote(name, time_ns, time_ns, bid, ask)


def guard(jumps: bool = True, **bounds: float) -> QuoteGuard:
    return QuoteGuard(("EUR_USD", "USD_JPY"), GuardParameters(**bounds), jumps)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bid", "ask", "reason"),
    [
        (math.nan, 1.1, "NOT_A_NUMBER"),
        (1.1, math.nan, "NOT_A_NUMBER"),
        (1.1, math.inf, "NOT_A_NUMBER"),
        (-math.inf, 1.1, "NOT_A_NUMBER"),
        (0.0, 1.1, "NOT_POSITIVE"),
        (-1.1, -1.0, "NOT_POSITIVE"),
        (1.1002, 1.1001, "CROSSED"),
    ],
)
def test_what_cannot_be_a_price_is_refused(bid: float, ask: float, reason: str) -> None:
    refusal = guard().refusal(quote(bid, ask), NOW)
    assert refusal is not None
    assert (refusal.reason, refusal.instrument, refusal.time_ns) == (reason, "EUR_USD", NOW)
    assert "bid" in refusal.words


def test_a_price_passes_also_without_a_spread() -> None:
    assert guard().refusal(quote(1.1, 1.1), NOW) is None


def test_unknown_instruments_and_wrong_times_are_refused() -> None:
    looked = guard(future_seconds=2.0)
    unknown = looked.refusal(quote(1.1, 1.2, name="XAU_USD"), NOW)
    assert unknown is not None
    assert unknown.reason == "UNKNOWN_INSTRUMENT"
    assert looked.refusal(quote(1.1, 1.2, NOW + 2 * SECOND), NOW) is None
    ahead = looked.refusal(quote(1.1, 1.2, NOW + 2 * SECOND + 1), NOW)
    assert ahead is not None
    assert (ahead.reason, "ahead of the clock" in ahead.words) == ("CLOCK_JUMP", True)
    back = looked.refusal(quote(1.1, 1.2, NOW + SECOND), NOW)
    assert back is not None
    assert (back.reason, "older than the one before" in back.words) == ("CLOCK_JUMP", True)
    assert looked.refusal(quote(150.0, 150.1, NOW, "USD_JPY"), NOW) is None, "times are those of each instrument"


def test_a_spike_is_refused_and_a_new_level_believed() -> None:
    looked = guard(maximum_jump=0.05, confirming_quotes=3)
    assert looked.refusal(quote(1.2, 1.2001), NOW) is None
    spike = looked.refusal(quote(0.12, 0.1201), NOW)
    assert spike is not None
    assert spike.reason == "SPIKE"
    assert looked.refusal(quote(1.2001, 1.2002), NOW) is None
    # The level changes for good: the third quote around it is believed, a stray one in between begins anew.
    levels = [1.0, 0.7, 1.0, 1.001, 1.002, 1.003]
    refused = [looked.refusal(quote(level, level + 0.0001), NOW) is not None for level in levels]
    assert refused == [True, True, True, True, False, False]


def test_where_quotes_may_be_days_apart_no_move_is_bounded() -> None:
    looked = guard(jumps=False)
    assert looked.refusal(quote(1.2, 1.2001), NOW) is None
    assert looked.refusal(quote(0.6, 0.6001), NOW) is None


def test_bounds_come_from_the_parameters_and_are_checked() -> None:
    assert GuardParameters.from_params({}) == GuardParameters()
    assert GuardParameters.from_params({"feed": {"maximum_jump": 0}}).maximum_jump == 0
    assert GuardParameters().at_speed(60.0).future_seconds == 120.0
    for wrong in ({"maximum_jump": -1}, {"confirming_quotes": 0}, {"future_seconds": "soon"}, {"jump": 1}):
        with pytest.raises(BadInputError, match="feed parameters"):
            GuardParameters.from_params({"feed": wrong})
