"""A simulated market: bars of bid and ask with a momentum of known strength, or none.

The middle's log return over bar ``t`` is ``r = v * (rho * m + sqrt(1 - rho^2) * e)`` where

* ``m`` is the exponentially weighted mean of the past standardised returns ``r / v``, scaled to unit variance: what a
  trend follower sees in the prices;
* ``v^2`` is GARCH(1,1) of the returns (Bollerslev, Journal of Econometrics 31, 1986) and ``e`` Student-t with unit
  variance;
* ``rho``, the strength, turns its sign at ``reversal``: what was learnt before is then wrong, as after a change of
  regime.

A market is a YAML file (``SimulatedMarket``); the same file gives the same bars on every machine. No row of it was ever
a price: each batch says so.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.clock import from_rfc3339
from core.domain import default_instrument
from core.errors import BadInputError
from data.batch import Batch
from data.calendar import calendar_of
from data.granularity import parse_granularity
from data.sources.bars import bar_values
from data.sources.files import list_files, read_bytes, require_path
from data.sources.interface import LoadOptions

Array = NDArray[np.float64]
_PARTS = 8  # steps of the path inside a bar
_YEAR_SECONDS = 52 * 5 * 86_400  # in which the market is open


class SimulatedMarket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a market is made. Volatility and spread are those of the largest pairs in quiet years."""

    start: str  # first bar not before this day, such as 2020-01-06
    end: str  # exclusive
    prices: dict[str, float]  # first middle price by instrument; the pairs there are
    granularity: str = "H1"
    seed: int = 1
    yearly_volatility: float = 0.08
    strength: float = 0.0  # rho: correlation of the momentum with the next return
    half_life_bars: float = 6.0  # of the momentum's weights
    reversal: str | None = None  # from this day on the sign of the strength is the other one
    degrees_of_freedom: float = 5.0
    arch: float = 0.05
    garch: float = 0.93
    half_spread_pips: float = 0.4

    def check(self, origin: Path) -> None:
        """Refuse a market that cannot be.

        Raises:
            BadInputError: naming the file and the first wrong value.
        """
        limits = {
            "strength must lie in (-1, 1)": abs(self.strength) < 1,
            "yearly_volatility must lie in (0, 2)": 0 < self.yearly_volatility < 2,
            "half_life_bars must be above 0": self.half_life_bars > 0,
            "degrees_of_freedom must be above 2, or returns have no variance": self.degrees_of_freedom > 2,
            "arch + garch must lie in [0, 1), or the variance explodes": self.arch >= 0
            and self.garch >= 0
            and self.arch + self.garch < 1,
            "half_spread_pips must be 0 or more": self.half_spread_pips >= 0,
            "prices must name at least one pair, each above 0": bool(self.prices)
            and all(price > 0 for price in self.prices.values()),
        }
        for words, holds in limits.items():
            if not holds:
                raise BadInputError(f"{origin}: {words}")


class SimulationSource:
    """Simulated bars, described by a file."""

    name = "simulation"
    description = "a simulated market with a momentum of known strength or none, described by a YAML file"

    def load(
        self,
        path: Path | None,
        instruments: Sequence[str],
        since_ns: int | None,
        until_ns: int | None,
        options: LoadOptions,
    ) -> Iterator[Batch]:
        """Yield one batch of bars a pair; see ``Source.load``."""
        found = list_files(require_path(path, self.name), (".yaml", ".yml"), self.name)
        if len(found) > 1:
            raise BadInputError(f"{path} holds {len(found)} markets: set data.path to one of the files")
        origin = found[0]
        market = _read(origin)
        for name in instruments or sorted(market.prices):
            if name not in market.prices:
                raise BadInputError(f"{origin} has no {name}; it has {', '.join(sorted(market.prices))}")
            yield _bars(name, market, origin).between(since_ns, until_ns)


def _read(origin: Path) -> SimulatedMarket:
    try:
        market = msgspec.yaml.decode(read_bytes(origin), type=SimulatedMarket)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{origin} describes no simulated market: {error}") from None
    market.check(origin)
    return market


def _day(text: str, origin: Path, key: str) -> int:
    try:
        return from_rfc3339(f"{text}T00:00:00Z")
    except (ValueError, BadInputError):
        raise BadInputError(f"{origin}: {key} is {text!r}: give a day such as 2020-01-31") from None


def _bars(name: str, market: SimulatedMarket, origin: Path) -> Batch:
    instrument, grain = default_instrument(name), parse_granularity(market.granularity)
    if not grain.length_ns:
        raise BadInputError(f"{origin}: granularity {market.granularity} has no length: use one like M15, H1 or H4")
    begin, end = _day(market.start, origin, "start"), _day(market.end, origin, "end")
    turn = _day(market.reversal, origin, "reversal") if market.reversal else np.iinfo(np.int64).max
    starts = calendar_of(instrument.kind).expected_starts(begin, end, grain.length_ns)
    if len(starts) < 2:
        raise BadInputError(f"{origin}: the market is not open between {market.start} and {market.end}")
    generator = np.random.default_rng([market.seed, crc32(name.encode())])
    shocks = generator.standard_t(market.degrees_of_freedom, len(starts))
    shocks *= math.sqrt((market.degrees_of_freedom - 2.0) / market.degrees_of_freedom)
    scale = market.yearly_volatility * math.sqrt(grain.length_ns / 1e9 / _YEAR_SECONDS)
    strength = np.where(starts >= turn, -market.strength, market.strength)
    decay = 0.5 ** (1.0 / market.half_life_bars)
    moves, volatility = _moves(shocks, strength, scale, decay, market.arch, market.garch)
    close = np.log(market.prices[name]) + np.cumsum(moves)
    before = np.concatenate([[math.log(market.prices[name])], close[:-1]])
    # A bridge from the bar's first to its last price: highs and lows have the law that the volatility gives them.
    steps = (
        np.cumsum(generator.standard_normal((len(starts), _PARTS)), axis=1) * volatility[:, None] / math.sqrt(_PARTS)
    )
    time = np.arange(1, _PARTS + 1) / _PARTS
    path = before[:, None] + steps + time * (close - before - steps[:, -1])[:, None]
    path = np.concatenate([before[:, None], path], axis=1)
    half = market.half_spread_pips * float(instrument.pip)
    digits = instrument.display_precision
    columns: dict[str, Array] = {}
    for side, sign in (("bid", -1.0), ("ask", 1.0)):
        prices = np.round(np.exp(path) + sign * half, digits)
        columns |= {
            f"{side}_open": prices[:, 0],
            f"{side}_high": prices.max(axis=1),
            f"{side}_low": prices.min(axis=1),
            f"{side}_close": prices[:, -1],
        }
    ends = starts + grain.length_ns
    return Batch(
        name,
        grain,
        "simulation",
        origin.name,
        starts,
        ends,
        ends,
        bar_values(len(starts), columns),
        np.arange(1, len(starts) + 1, dtype=np.int64),
        notes=("SIMULATED: no row of this series was ever a price",),
        window_ns=(int(ends[0]), int(ends[-1])),
    )


def _moves(
    shocks: Array, strength: Array, scale: float, decay: float, arch: float, garch: float
) -> tuple[Array, Array]:
    """Return log returns and the volatility of each, float64 [T]."""
    moves: list[float] = []
    volatility: list[float] = []
    variance, momentum = 1.0, 0.0  # in units of ``scale`` squared; of unit variance
    for shock, rho in zip(shocks.tolist(), strength.tolist(), strict=True):
        # The weight under which m = decay * m + weight * z has unit variance although z itself follows m.
        weight = math.sqrt(decay * decay * rho * rho + 1.0 - decay * decay) - decay * rho
        standardised = rho * momentum + math.sqrt(1.0 - rho * rho) * shock
        deviation = math.sqrt(variance)
        volatility.append(scale * deviation)
        moves.append(scale * deviation * standardised)
        innovation = deviation * standardised
        variance = (1.0 - arch - garch) + arch * innovation * innovation + garch * variance
        momentum = decay * momentum + weight * standardised
    return np.array(moves), np.array(volatility)
