"""Simulated markets: autocorrelated volatility, heavy tails, an intraday pattern, and a signal of known size or none.

The log return of instrument ``i`` over bar ``t`` is ``r = v * (rho * s + sqrt(1 - rho^2) * e)`` with

* ``e`` Student-t with unit variance, correlated between instruments through its normal part;
* ``s`` the state: a stationary Gaussian AR(1) of unit variance that is known one bar before the return;
* ``v^2 = h * season``: ``season`` follows the hour, ``h`` is GARCH(1,1) (Bollerslev, Journal of Econometrics 31, 1986)
  or log-normal stochastic volatility (Taylor, *Modelling Financial Time Series*, 1986), both known one bar before;
* ``rho`` the strength: 0 is a market that no strategy can beat, whatever its volatility tells.

What is known before the bar fixes the law of ``r``, and the label is a function of ``r`` and of spreads that follow the
hour. So the conditional class probabilities are exact, and with them the skill that no model can exceed.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numba
import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS, BarKind, Panel, default_instrument
from core.errors import BadInputError

Array = NDArray[np.float64]
Process = Literal["garch", "stochastic_volatility"]
INSTRUMENTS = ("EUR_USD", "GBP_USD")
_HOUR = 3_600_000_000_000
_MONDAY = 16_436 * 24 * _HOUR  # 2015-01-05 00:00 UTC
_PARTS = 6  # steps of the path inside a bar
_LEVELS = (1.15, 1.45)


class MarketParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a market is made. Volatilities and spreads are those of the two largest pairs in quiet years."""

    steps: int = 9000
    bar_hours: int = 4
    yearly_volatility: float = 0.08
    strength: float = 0.0  # correlation of the state with the next return
    persistence: float = 0.8  # of the state, one bar to the next
    degrees_of_freedom: float = 5.0  # of the innovations: a kurtosis of 9
    process: Process = "garch"
    arch: float = 0.06
    garch: float = 0.92
    log_persistence: float = 0.98  # of the log variance
    log_deviation: float = 0.2  # of its innovations
    correlation: float = 0.5  # between instruments
    season: float = 0.5  # how much the log variance follows the hour
    half_spread_pips: float = 0.4
    spread_season: float = 0.6  # how much wider the spread is in the quietest hour, as a share

    def check(self) -> None:
        """Refuse parameters that make no market.

        Raises:
            BadInputError: naming the first one.
        """
        if not 0.0 <= self.strength < 1.0:
            raise BadInputError(f"simulation: strength must be in [0, 1), not {self.strength}")
        if self.steps < 600:
            raise BadInputError(f"simulation: {self.steps} steps are too few; 600 are the least")
        if self.bar_hours not in (1, 2, 3, 4, 6, 8, 12, 24):
            raise BadInputError(f"simulation: bar_hours must divide a day, not {self.bar_hours}")
        if self.degrees_of_freedom <= 2:
            raise BadInputError("simulation: degrees_of_freedom must be above 2, or returns have no variance")
        if self.arch < 0 or self.garch < 0 or self.arch + self.garch >= 1:
            raise BadInputError("simulation: arch + garch must lie in [0, 1), or the variance explodes")

    @property
    def steps_per_year(self) -> float:
        """Bars of a year of 52 weeks with five days."""
        return 260.0 * 24.0 / self.bar_hours


@dataclass(frozen=True)
class Market:
    """A market and its truth; T steps of N instruments.

    ``state`` [T, N] is known at step t. ``deviation`` [T, N] is that of the log return over the bar after t; row t of
    both fixes the law of the return from t to t+1.
    """

    panel: Panel
    parameters: MarketParameters
    state: Array
    deviation: Array
    half_spread: Array  # [T, N], price units

    def bayes(self, step: NDArray[np.int64], instrument: NDArray[np.int64], cost: Array, edge: float) -> Array:
        """Return the exact class probabilities of one-bar labels given all that is known at the step; float64 [M, 3].

        Args:
            step: int64 [M], index of the decision's bar.
            instrument: int64 [M].
            cost: float64 [M], the round trip's cost in price units, as the label takes it (without commission).
            edge: ``labels.minimum_edge``.
        """
        from scipy.stats import t as student

        p = self.parameters
        middle = self.middle[step, instrument]
        deviation, state = self.deviation[step, instrument], self.state[step, instrument]
        rest = np.sqrt(1.0 - p.strength**2) / np.sqrt(p.degrees_of_freedom / (p.degrees_of_freedom - 2.0))
        above = (np.log1p(edge * cost / middle) / deviation - p.strength * state) / rest
        below = (np.log1p(-edge * cost / middle) / deviation - p.strength * state) / rest
        long = student.sf(above, p.degrees_of_freedom)
        short = student.cdf(below, p.degrees_of_freedom)
        return np.column_stack([short, 1.0 - long - short, long])

    @property
    def middle(self) -> Array:
        """The middle at each bar's close, float64 [T, N]."""
        bid, ask = (self.panel.values[:, :, INPUT_COLUMNS.index(name)] for name in ("bid_close", "ask_close"))
        return (bid + ask) / 2.0


def make_market(parameters: MarketParameters, seed: int | list[int]) -> Market:
    """Draw a market.

    Args:
        parameters: of its law.
        seed: of every draw; the same seed gives the same market.

    Raises:
        BadInputError: the parameters make no market.
    """
    parameters.check()
    p = parameters
    generator = np.random.default_rng(seed)
    count = len(INSTRUMENTS)
    shape = (p.steps, count)
    state = _autoregression(generator.normal(size=shape), p.persistence)
    innovation = _student(generator, shape, p.degrees_of_freedom, p.correlation)
    # Step t knows the state and the variance of the bar that follows it: the return into t+1 is made of row t.
    unit = p.strength * state + np.sqrt(1.0 - p.strength**2) * innovation
    if p.process == "garch":
        variance = _garch(unit, p.arch, p.garch)
    else:
        scale = p.log_deviation / np.sqrt(1.0 - p.log_persistence**2)
        variance = np.exp(scale * _autoregression(generator.normal(size=shape), p.log_persistence) - scale**2 / 2.0)
    time_ns = _weekdays(p.steps, p.bar_hours)
    # The bar after step t ends at t+1: its hour decides.
    hour = np.append(time_ns[1:], time_ns[-1] + p.bar_hours * _HOUR) // _HOUR % 24
    bar_variance = p.yearly_volatility**2 / p.steps_per_year
    deviation = np.sqrt(bar_variance * variance * _season(hour, p.season)[:, None])
    returns = np.vstack([np.zeros((1, count)), (deviation * unit)[:-1]])
    middle = np.array(_LEVELS) * np.exp(np.cumsum(returns, axis=0))
    pips = np.array([float(default_instrument(name).pip) for name in INSTRUMENTS])
    quiet = (1.0 - np.cos(2.0 * np.pi * ((time_ns // _HOUR % 24) - _BUSY_HOUR) / 24.0)) / 2.0
    half = p.half_spread_pips * pips * (1.0 + p.spread_season * quiet)[:, None]
    values = _bars(generator, middle, half, deviation)
    arrival = np.repeat(time_ns[:, None], count, axis=1)
    panel = Panel(INSTRUMENTS, time_ns, arrival, values, BarKind.BAR)
    return Market(panel, p, state, deviation, half)


_BUSY_HOUR = 14.0  # UTC: London and New York are both open


def _season(hour: NDArray[np.int64], size: float) -> Array:
    """Return the factor of the variance by hour, mean 1 over a day."""
    day = np.exp(size * np.cos(2.0 * np.pi * (np.arange(24) - _BUSY_HOUR) / 24.0))
    return (day / day[np.unique(hour)].mean())[hour]


def _weekdays(steps: int, bar_hours: int) -> NDArray[np.int64]:
    """Return bar closes, five days a week; int64 [steps], UTC nanoseconds."""
    a_day = 24 // bar_hours
    index = np.arange(1, steps + 1)
    days, part = np.divmod(index, a_day)
    weeks, weekday = np.divmod(days, 5)
    return _MONDAY + ((weeks * 7 + weekday) * 24 + part * bar_hours) * _HOUR


def _student(generator: np.random.Generator, shape: tuple[int, int], degrees: float, correlation: float) -> Array:
    """Return unit-variance Student-t innovations [T, N]; each instrument has its own mixing variable."""
    common, own = generator.normal(size=(shape[0], 1)), generator.normal(size=shape)
    normal = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own
    mixing = np.sqrt(generator.chisquare(degrees, size=shape) / degrees)
    return normal / mixing * np.sqrt((degrees - 2.0) / degrees)


@numba.njit(cache=True)
def _autoregression(shocks: Array, persistence: float) -> Array:  # pragma: no cover - compiled
    """Return a stationary unit-variance AR(1) from unit shocks [T, N]."""
    result = np.empty_like(shocks)
    scale = np.sqrt(1.0 - persistence * persistence)
    for column in range(shocks.shape[1]):
        value = shocks[0, column]
        result[0, column] = value
        for t in range(1, shocks.shape[0]):
            value = persistence * value + scale * shocks[t, column]
            result[t, column] = value
    return result


@numba.njit(cache=True)
def _garch(unit: Array, arch: float, garch: float) -> Array:  # pragma: no cover - compiled
    """Return the GARCH(1,1) variance of each bar, mean 1; row t depends on rows before t only."""
    result = np.empty_like(unit)
    for column in range(unit.shape[1]):
        variance = 1.0
        for t in range(unit.shape[0]):
            result[t, column] = variance
            squared = variance * unit[t, column] * unit[t, column]
            variance = (1.0 - arch - garch) + arch * squared + garch * variance
    return result


def _bars(generator: np.random.Generator, middle: Array, half: Array, deviation: Array) -> Array:
    """Return kernel inputs [T, N, 9]: a bar opens where the last one closed and moves along a Brownian bridge."""
    steps, count = middle.shape
    # The move into bar t was drawn with row t-1's deviation.
    size = np.vstack([deviation[:1], deviation[:-1]])
    walk = np.cumsum(generator.normal(size=(steps, count, _PARTS)), axis=2) / np.sqrt(_PARTS)
    share = np.arange(1, _PARTS + 1) / _PARTS
    bridge = size[:, :, None] * (walk - share * walk[:, :, -1:])
    start = np.vstack([middle[:1], middle[:-1]])
    path = np.log(start)[:, :, None] + share * np.log(middle / start)[:, :, None] + bridge
    inner = np.exp(np.concatenate([np.log(start)[:, :, None], path[:, :, :-1], np.log(middle)[:, :, None]], axis=2))
    high, low = inner.max(axis=2), inner.min(axis=2)
    values = np.empty((steps, count, len(INPUT_COLUMNS)))
    for name, price in {"open": start, "high": high, "low": low, "close": middle}.items():
        values[:, :, INPUT_COLUMNS.index(f"bid_{name}")] = price - half
        values[:, :, INPUT_COLUMNS.index(f"ask_{name}")] = price + half
    ticks = generator.poisson(1e5 * size**2 / np.mean(size**2) / 100.0)
    values[:, :, INPUT_COLUMNS.index("tick_volume")] = 1.0 + ticks
    return values
