"""A seeded random walk for running without data: every quote of it is marked simulated.

Each pair is the ratio of two currencies' values, each value a driftless geometric random walk of the same volatility,
so that crosses stay consistent. The starting values are round numbers, not market data.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from core.domain import Instrument, Quote
from core.errors import BadInputError
from trading.practice.feeds.interface import Step

NANOSECONDS = 1_000_000_000
YEAR_SECONDS = 260 * 86_400

# Invented round values in USD, only to give a walk a plausible place to begin.
_VALUES = {
    "USD": 1.0,
    "EUR": 1.1,
    "GBP": 1.3,
    "CHF": 1.1,
    "JPY": 0.0067,
    "CAD": 0.75,
    "AUD": 0.65,
    "NZD": 0.6,
    "SEK": 0.095,
    "NOK": 0.093,
    "DKK": 0.147,
    "SGD": 0.74,
    "HKD": 0.128,
    "ZAR": 0.055,
    "MXN": 0.056,
    "PLN": 0.25,
    "CZK": 0.044,
    "HUF": 0.0028,
    "TRY": 0.03,
    "CNH": 0.14,
    "XAU": 2000.0,
    "XAG": 25.0,
}


class SimulationFeed:
    """Steps of ``step_seconds`` with ``ticks_per_step`` ticks a step, the pairs taking turns at random."""

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        *,
        start_ns: int,
        seed: int,
        half_spread_points: Mapping[str, int],
        step_seconds: float = 60.0,
        ticks_per_step: int = 60,
        volatility: float = 0.08,
        steps: int | None = None,
    ) -> None:
        """Raises BadInputError for a currency without a starting value."""
        self._instruments = dict(sorted(instruments.items()))
        self._start_ns = start_ns
        self._seed = seed
        self._half_spread = dict(half_spread_points)
        self._step_ns = round(step_seconds * NANOSECONDS)
        self._ticks = ticks_per_step
        self._volatility = volatility * float(np.sqrt(step_seconds / ticks_per_step / YEAR_SECONDS))
        self._steps = steps
        for name, instrument in self._instruments.items():
            if instrument.base not in _VALUES or instrument.quote not in _VALUES:
                raise BadInputError(f"the simulation has no starting value for {name}; leave it out of --instruments")
        self._currencies = sorted({c for i in self._instruments.values() for c in (i.base, i.quote)})

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(self._instruments)

    @property
    def start_ns(self) -> int:
        return self._start_ns

    def opening(self) -> list[Quote]:
        values = {currency: _VALUES[currency] for currency in self._currencies}
        return [self._quote(name, values, self._start_ns) for name in self._instruments]

    def steps(self, first: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        # A step's path is computed as a whole from its first value, so that skipping steps gives the same numbers.
        logs = np.log([_VALUES[currency] for currency in self._currencies])
        return self._walk(0, first, logs)

    def skip(self, time_ns: int, standing: Mapping[str, Quote]) -> Iterator[Step]:
        """Go on from the standing quotes in the first step that begins at ``time_ns`` or later.

        The moves of that step are those it always has; its level is that of the quotes, because nobody was there to
        see the walk between, and making it would take the longer the longer the pause was.
        """
        index = max(0, -(-(time_ns - self._start_ns) // self._step_ns))
        return self._walk(index, index, self._levels(standing))

    def _levels(self, standing: Mapping[str, Quote]) -> NDArray[np.float64]:
        """Return the log value of each currency that the quotes say; what they do not connect starts as ever."""
        values = {self._currencies[0] if "USD" not in self._currencies else "USD": 0.0}
        known = True
        while known:
            known = False
            for name, instrument in self._instruments.items():
                quote = standing.get(name)
                base, quoted = instrument.base, instrument.quote
                if quote is None or (base in values) == (quoted in values):
                    continue
                rate = float(np.log((quote.bid + quote.ask) / 2))
                known = True
                if base in values:
                    values[quoted] = values[base] - rate
                else:
                    values[base] = values[quoted] + rate
        return np.array([values.get(currency, float(np.log(_VALUES[currency]))) for currency in self._currencies])

    def _walk(self, index: int, first: int, logs: NDArray[np.float64]) -> Iterator[Step]:
        """Walk on from ``logs`` at the beginning of step ``index``, yielding from step ``first`` on."""
        moving = np.array([currency != "USD" for currency in self._currencies])
        names = self.instruments
        while self._steps is None or index < self._steps:
            random = np.random.default_rng([self._seed, index])
            picks = random.integers(len(names), size=self._ticks)
            moves = random.normal(0.0, self._volatility, size=(self._ticks, len(self._currencies))) * moving
            path = logs + np.cumsum(moves, axis=0)
            if index >= first:
                begin = self._start_ns + index * self._step_ns
                quotes: list[Quote] = []
                for tick, row in enumerate(np.exp(path).tolist()):
                    values = dict(zip(self._currencies, row, strict=True))
                    time_ns = begin + (tick + 1) * self._step_ns // self._ticks
                    quotes.append(self._quote(names[int(picks[tick])], values, time_ns))
                yield Step(index, begin + self._step_ns, tuple(quotes))
            logs = path[-1]
            index += 1

    def _quote(self, name: str, values: Mapping[str, float], time_ns: int) -> Quote:
        instrument = self._instruments[name]
        scale = 10**instrument.display_precision
        half = self._half_spread.get(name, 1)
        middle = max(round(values[instrument.base] / values[instrument.quote] * scale), half + 1)
        return Quote(name, time_ns, time_ns, (middle - half) / scale, (middle + half) / scale, simulated=True)
