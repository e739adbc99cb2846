"""Ticks between daily fixings: a seeded Brownian bridge in the logarithm of the price, hitting each fixing exactly.

A fixing is one price a day (law 8: nothing is invented of it). What moves between two of them is a simulation and every
tick says so. The bridge is the line between the two log prices plus W(t) − t W(1) (Karatzas and Shreve, *Brownian
Motion and Stochastic Calculus*, 5.6); its volatility over one interval is the standard deviation of the last 60
fixing-to-fixing log returns known before the interval. Middles are whole points, and bid and ask lie a whole number of
points beside them, so ``mid_price`` of a fixing's tick is the stored fixing bit for bit.

Simplifications: each pair has its own bridge, so crosses may disagree between fixings; the spread is the modelled
constant; there are no ticks while the market is closed over the weekend.
"""

from collections.abc import Iterator, Mapping
from zlib import crc32

import numpy as np

from core.domain import INPUT_COLUMNS, Instrument, Panel, Quote
from core.errors import BadInputError
from trading.practice.feeds.hours import spread_over
from trading.practice.feeds.interface import Step

_CLOSE = INPUT_COLUMNS.index("bid_close")
_TRAILING = 60
_LEAST_RETURNS = 20
_PRIOR_VOLATILITY = 0.006  # a day of a major pair; used until 20 returns are known


class FixingsFeed:
    """Steps from fixing to fixing."""

    def __init__(
        self,
        panel: Panel,
        instruments: Mapping[str, Instrument],
        *,
        start_ns: int,
        bridge_ticks: int,
        half_spread_points: Mapping[str, int],
        seed: int,
    ) -> None:
        """Take a panel that reaches back before ``start_ns``: the last fixing before it is the opening quote.

        Raises:
            BadInputError: there is no fixing before, or none after the start.
        """
        self._panel = panel
        self._items = [instruments[name] for name in panel.instruments]
        self._ticks = bridge_ticks
        self._half_spread = half_spread_points
        self._seed = seed
        self._first = int(np.searchsorted(panel.time_ns, start_ns))
        self._close = panel.values[:, :, _CLOSE]
        if self._first == len(panel.time_ns):
            raise BadInputError("the catalog has no fixing at or after --from; ingest newer data or start earlier")
        missing = [
            item.name
            for column, item in enumerate(self._items)
            if not np.isfinite(self._close[: self._first, column]).any()
        ]
        if missing:
            raise BadInputError(f"no fixing before --from for {', '.join(missing)}; start later")
        self._start_ns = int(panel.time_ns[self._first - 1])

    @property
    def instruments(self) -> tuple[str, ...]:
        return self._panel.instruments

    @property
    def start_ns(self) -> int:
        return self._start_ns

    def opening(self) -> list[Quote]:
        return [
            self._quote(column, self._points(column, self._last(column, self._first)), self._start_ns)
            for column in range(len(self._items))
        ]

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        for row in range(self._first + first, len(self._panel.time_ns)):
            yield self._step(row)

    def _step(self, row: int) -> Step:
        start, end = int(self._panel.time_ns[row - 1]), int(self._panel.time_ns[row])
        times = spread_over(start, end, self._ticks + 1)
        quotes: list[Quote] = []
        for column, item in enumerate(self._items):
            value = float(self._close[row, column])
            if not np.isfinite(value):
                continue  # no fixing today: the last quote stands
            random = np.random.default_rng([self._seed, crc32(item.name.encode()), end])
            begin = np.log(self._last(column, row))
            path = self._bridge(random, float(begin), float(np.log(value)), self._volatility(column, row))
            for time_ns, log_price in zip(times[:-1], path, strict=True):
                quotes.append(self._quote(column, self._points(column, float(np.exp(log_price))), time_ns))
            quotes.append(self._quote(column, self._points(column, value), end))
        quotes.sort(key=lambda quote: (quote.time_ns, quote.instrument))
        return Step(row - self._first, end, tuple(quotes))

    def _bridge(self, random: np.random.Generator, begin: float, end: float, volatility: float) -> list[float]:
        """Return the log prices at the inner ticks, evenly spaced in market time."""
        count = self._ticks + 1
        walk = np.cumsum(random.normal(0.0, volatility / np.sqrt(count), size=count))
        share = np.arange(1, count + 1) / count
        path = begin + (end - begin) * share + walk - share * walk[-1]
        return [float(value) for value in path[:-1]]

    def _last(self, column: int, row: int) -> float:
        """Return the newest fixing before ``row``."""
        known = self._close[:row, column]
        return float(known[np.isfinite(known)][-1])

    def _volatility(self, column: int, row: int) -> float:
        """Return the standard deviation of the trailing returns known before ``row``."""
        known = self._close[max(0, row - 2 * _TRAILING) : row, column]
        returns = np.diff(np.log(known[np.isfinite(known)]))[-_TRAILING:]
        return float(np.std(returns)) if len(returns) >= _LEAST_RETURNS else _PRIOR_VOLATILITY

    def _points(self, column: int, price: float) -> int:
        item = self._items[column]
        half = self._half_spread[item.name]
        return max(round(price * 10**item.display_precision), half + 1)

    def _quote(self, column: int, middle: int, time_ns: int) -> Quote:
        item = self._items[column]
        scale = 10**item.display_precision
        half = self._half_spread[item.name]
        return Quote(item.name, time_ns, time_ns, (middle - half) / scale, (middle + half) / scale, simulated=True)
