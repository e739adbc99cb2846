"""Ticks out of recorded bid and ask bars: open, the nearer extreme, the other one, close.

The four prices are the recorded ones, on both sides; the path between them is not in the data, so every tick is marked
simulated. Bars rebuilt from these ticks have the recorded open, high, low and close bit for bit. The last tick comes a
millisecond before the boundary, so that it belongs to the bar; the boundary itself is a heartbeat.

Simplification: bid and ask reach their extremes together.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from core.domain import INPUT_COLUMNS, Instrument, Panel, Quote
from core.errors import BadInputError
from trading.practice.feeds.interface import Step

_MILLISECOND = 1_000_000
_COLUMN = {name: position for position, name in enumerate(INPUT_COLUMNS)}


class BarsFeed:
    """Steps from bar close to bar close."""

    def __init__(
        self,
        panel: Panel,
        instruments: Mapping[str, Instrument],
        *,
        start_ns: int,
        half_spread_points: Mapping[str, int],
    ) -> None:
        """Take a panel that reaches back before ``start_ns``: the last closes before it are the opening quotes.

        ``half_spread_points`` is used only for sources that have a bid but no ask.

        Raises:
            BadInputError: there is no bar before, or none after the start.
        """
        self._panel = panel
        self._items = [instruments[name] for name in panel.instruments]
        self._half_spread = half_spread_points
        self._first = int(np.searchsorted(panel.time_ns, start_ns))
        if self._first >= len(panel.time_ns):
            raise BadInputError("the catalog has no bar closing at or after --from; ingest newer data or start earlier")
        closes = panel.values[: self._first, :, _COLUMN["bid_close"]]
        missing = [item.name for column, item in enumerate(self._items) if not np.isfinite(closes[:, column]).any()]
        if missing:
            raise BadInputError(f"no bar before --from for {', '.join(missing)}; start later")
        self._start_ns = int(panel.time_ns[self._first - 1])
        self._bar_ns = int(np.min(np.diff(panel.time_ns)))

    @property
    def instruments(self) -> tuple[str, ...]:
        return self._panel.instruments

    @property
    def start_ns(self) -> int:
        return self._start_ns

    def opening(self) -> list[Quote]:
        quotes: list[Quote] = []
        for column in range(len(self._items)):
            values = self._panel.values[: self._first, column]
            row = values[np.isfinite(values[:, _COLUMN["bid_close"]])][-1]
            quotes.append(self._quote(column, row, "close", self._start_ns))
        return quotes

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        for row in range(self._first + first, len(self._panel.time_ns)):
            end = int(self._panel.time_ns[row])
            begin = end - self._bar_ns
            quotes: list[Quote] = []
            for column in range(len(self._items)):
                values = self._panel.values[row, column]
                if np.isfinite(values[_COLUMN["bid_close"]]):
                    quotes += self._path(column, values, begin, end)
            quotes.sort(key=lambda quote: (quote.time_ns, quote.instrument))
            yield Step(row - self._first, end, tuple(quotes))

    def _path(self, column: int, values: np.ndarray, begin: int, end: int) -> list[Quote]:
        opened, high, low = (values[_COLUMN[f"bid_{part}"]] for part in ("open", "high", "low"))
        inner = ("high", "low") if high - opened < opened - low else ("low", "high")
        third = (end - begin) // 3
        times = (begin, begin + third, begin + 2 * third, end - _MILLISECOND)
        parts = ("open", *inner, "close")
        return [self._quote(column, values, part, time_ns) for part, time_ns in zip(parts, times, strict=True)]

    def _quote(self, column: int, values: np.ndarray, part: str, time_ns: int) -> Quote:
        item = self._items[column]
        bid, ask = float(values[_COLUMN[f"bid_{part}"]]), float(values[_COLUMN[f"ask_{part}"]])
        if not np.isfinite(ask):
            ask = float(item.round_price(bid)) + self._half_spread[item.name] * 2 * float(item.tick)
            ask = float(item.round_price(ask))
        return Quote(item.name, time_ns, time_ns, bid, max(bid, ask), simulated=True)
