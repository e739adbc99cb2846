"""Candles of the broker as bars: bid and ask, complete ones only, paged over long ranges."""

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from oandapyV20.endpoints.instruments import InstrumentsCandles

from core.clock import NANOSECONDS, from_rfc3339, to_datetime, to_ns, to_rfc3339
from core.domain import Bar
from core.errors import BadInputError, UnavailableError
from trading.brokers.oanda.session import RestClient

GRANULARITIES: dict[int, str] = {
    **{seconds: f"S{seconds}" for seconds in (5, 10, 15, 30)},
    **{minutes * 60: f"M{minutes}" for minutes in (1, 2, 4, 5, 10, 15, 30)},
    **{hours * 3600: f"H{hours}" for hours in (1, 2, 3, 4, 6, 8, 12)},
    86_400: "D",
    604_800: "W",
}
_PAGE = 4_000  # candles a request; the broker allows 5,000
_DAY = 86_400
_NEW_YORK = ZoneInfo("America/New_York")  # days and weeks of the broker run from 17:00 there


def read_candles(
    client: RestClient, instrument: str, granularity_seconds: int, start_ns: int, end_ns: int, arrival_ns: int
) -> list[Bar]:
    """Return the complete bars with ``start_ns <= open < end_ns``. Blocking; for worker threads.

    Raises:
        BadInputError: the broker has no such granularity or instrument.
        UnavailableError: no answer.
    """
    granularity = GRANULARITIES.get(granularity_seconds)
    if granularity is None:
        raise BadInputError(f"no candles of {granularity_seconds} s: choose one of {sorted(GRANULARITIES)}")
    bars: dict[int, Bar] = {}
    step = _PAGE * granularity_seconds * NANOSECONDS
    for page_start in range(start_ns, end_ns, step):
        page_end = min(page_start + step, end_ns)
        request = InstrumentsCandles(
            instrument,
            params={
                "granularity": granularity,
                "price": "BA",
                "from": to_rfc3339(page_start),
                "to": to_rfc3339(page_end),
            },
        )
        reply = client.read(request, f"candles of {instrument}")
        if not reply.accepted:
            raise BadInputError(f"candles of {instrument}: the broker refuses them ({reply.error})")
        for bar in bars_of(reply.body, granularity_seconds, arrival_ns):
            if start_ns <= bar.open_time_ns < end_ns:
                bars[bar.open_time_ns] = bar
    return [bars[time_ns] for time_ns in sorted(bars)]


def bars_of(payload: Mapping[str, Any], granularity_seconds: int, arrival_ns: int) -> Iterator[Bar]:
    """Yield the complete bars of one reply. A side that was not sent is NaN.

    Raises:
        UnavailableError: the reply is none.
        BadInputError: a candle cannot be read.
    """
    candles = payload.get("candles")
    name = payload.get("instrument")
    if not isinstance(candles, list) or not isinstance(name, str):
        raise UnavailableError("candles: the broker's answer has no list; try again")
    simulated = payload.get("simulated") is True
    for candle in cast(list[dict[str, Any]], candles):
        if not candle.get("complete", False):
            continue
        try:
            open_ns = from_rfc3339(str(candle["time"]))
            bid, ask = _prices(candle.get("bid")), _prices(candle.get("ask"))
            volume = float(candle["volume"])
        except (KeyError, TypeError, ValueError):
            raise BadInputError(f"candles of {name}: one cannot be read; none is used") from None
        close_ns = _close_ns(open_ns, granularity_seconds)
        yield Bar(name, open_ns, close_ns, *bid, *ask, volume, arrival_ns, simulated=simulated)


def _prices(side: object) -> tuple[float, float, float, float]:
    if side is None:
        return math.nan, math.nan, math.nan, math.nan
    prices = cast(Mapping[str, str], side)
    return float(prices["o"]), float(prices["h"]), float(prices["l"]), float(prices["c"])


def _close_ns(open_ns: int, granularity_seconds: int) -> int:
    """Add one bar. Days aligned to New York have 23 or 25 hours where its clocks change."""
    local = to_datetime(open_ns).astimezone(_NEW_YORK)
    if granularity_seconds < _DAY or local.hour != 17:
        return open_ns + granularity_seconds * NANOSECONDS
    wall = local.replace(tzinfo=None) + timedelta(seconds=granularity_seconds)
    return to_ns(wall.replace(tzinfo=_NEW_YORK))
