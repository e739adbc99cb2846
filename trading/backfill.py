"""Steps that closed while nobody watched: between the feature state and now, and the bar a connection fell into.

Bars come from the broker's candles; a fixing from the standing quotes where they are of that moment, else from the last
five-second candle before it. What the broker cannot give is missing, and said.
"""

import msgspec

from core.clock import NANOSECONDS
from core.domain import Bar, BarKind, Instrument, mid_price
from core.errors import BadInputError, ConfigurationError, UnavailableError
from core.logging import get_logger
from trading.bars import BarSource, fixing_bar
from trading.brokers.interface import Broker
from trading.calendar import open_boundaries

_log = get_logger("trading")
_FINE_SECONDS = 5
_FIXING_WINDOW_NS = 60 * NANOSECONDS


class Backfill:
    """Fetches the bars of past boundaries."""

    def __init__(
        self, broker: Broker, kind: BarKind, instruments: dict[str, Instrument], bar_seconds: int, source: BarSource
    ) -> None:
        self._broker = broker
        self._kind = kind
        self._instruments = instruments
        self._bar_seconds = bar_seconds
        self._source = source

    async def steps(self, boundaries: list[int]) -> dict[int, dict[str, Bar]]:
        """Return the bars of each boundary by instrument; none where nobody has one though the market was open.

        A boundary in a closed market (a weekend) is left out: there is nothing to have missed.

        Args:
            boundaries: past ones, oldest first.
        """
        found: dict[int, dict[str, Bar]] = {boundary: {} for boundary in boundaries}
        if self._kind is BarKind.FIXING:
            for boundary in boundaries:
                found[boundary] = await self._fixing(boundary)
        elif boundaries:
            start = boundaries[0] - self._bar_seconds * NANOSECONDS
            for name in sorted(self._instruments):
                for bar in await self._candles(name, self._bar_seconds, start, boundaries[-1]):
                    if bar.close_time_ns in found:
                        found[bar.close_time_ns][name] = _without_simulated_volume(bar)
        traded = set(open_boundaries(boundaries))
        return {boundary: bars for boundary, bars in found.items() if bars or boundary in traded}

    async def _fixing(self, boundary: int) -> dict[str, Bar]:
        bars = self._source.close_until(boundary)
        for name in sorted(self._instruments):
            if name in bars:
                continue
            candles = await self._candles(name, _FINE_SECONDS, boundary - _FIXING_WINDOW_NS, boundary)
            if candles:
                last = candles[-1]
                precision = self._instruments[name].display_precision
                price = mid_price(last.bid_close, last.ask_close, precision)
                bars[name] = fixing_bar(name, boundary, price, last.arrival_ns, last.simulated)
        return bars

    async def _candles(self, name: str, seconds: int, start_ns: int, end_ns: int) -> list[Bar]:
        try:
            return await self._broker.candles(name, seconds, start_ns, end_ns)
        except (BadInputError, ConfigurationError, UnavailableError) as error:
            _log.warning("no candles to fill the gap with", instrument=name, words=error.message)
            return []


def _without_simulated_volume(bar: Bar) -> Bar:
    """The number of simulated ticks is nobody's activity (law 8)."""
    if not bar.simulated:
        return bar
    return msgspec.structs.replace(bar, tick_volume=float("nan"))
