"""Simulated streams of paired differences, challenger minus champion, of known mean.

The difference of decision ``t`` is ``g_t * r_t + |g_t| * premium - cost * |g_t - g_{t-1}|``, then smeared over the next
decision, with

* ``g`` the difference of both positions: held for ``holding`` decisions on average, at times none at all;
* ``r`` the return: Student-t innovations times a volatility that clusters, GARCH(1,1) (Bollerslev, Journal of
  Econometrics 31, 1986) or log-normal (Taylor, *Modelling Financial Time Series*, 1986);
* ``cost`` of moving, which holding earns back: ``premium`` makes the mean over time exactly zero, the least favourable
  null. Given the past the mean is not zero: below at a trade, above while a position is held. That, the smearing and
  the clusters are the dependence that blocks have to absorb.

Families inside the assumptions differ in volatility, tails, skewness and in how often both versions agree. Stress
families break an assumption on purpose: losses so rare and large that the cut hides part of them, positions held for
several blocks, and an advantage that comes and goes, so that the mean is zero over years and not given the past.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_SCALE = 5e-4  # of a difference, a fraction of equity: tests and bounds do not depend on it
_COST = 0.3  # of moving by a whole position, in deviations of a return
_SMEAR = 0.3  # share of a difference that the next decision shows again
_LEAST = 0.3  # smallest position, of the largest; uniform between
_SKEWED = 0.7  # weight of the skewed part
_REGIME = 300.0  # decisions between two changes of a drift's sign
_BURN = 200  # decisions before the first that is shown: volatility starts at its mean


@dataclass(frozen=True)
class Family:
    """One law of streams.

    Attributes:
        degrees: of freedom of the innovations.
        stochastic: log-normal volatility in place of GARCH.
        skewed: losses are fewer and larger.
        rare_loss: probability of a loss of eight deviations.
        agree: how often both versions want the same.
        holding: decisions that a position is held on average.
        drift: advantage, in deviations of a return, that changes its sign once in 300 decisions.
        stress: breaks an assumption of the tests.
    """

    name: str
    words: str
    degrees: float = 4.0
    stochastic: bool = False
    skewed: bool = False
    rare_loss: float = 0.0
    agree: float = 1.0 / 3.0
    holding: float = 4.0
    drift: float = 0.0
    stress: bool = False


FAMILIES = (
    Family("garch", "GARCH volatility, t innovations with 4 degrees of freedom"),
    Family("stochastic_volatility", "log-normal volatility, 3 degrees of freedom", degrees=3.0, stochastic=True),
    Family("skewed", "small gains, larger losses: exponential", skewed=True),
    Family("sparse", "both versions agree four times in five", agree=0.8),
    Family("rare_losses", "a loss of eight deviations in 250 decisions", rare_loss=0.004, stress=True),
    Family("long_memory", "positions held for twenty decisions", holding=20.0, stress=True),
    Family("regimes", "an advantage of a tenth of a deviation that turns every 300 decisions", drift=0.1, stress=True),
)


def draw(family: Family, streams: int, decisions: int, seed: int) -> Array:
    """Return streams of mean zero, float64 [streams, decisions].

    Each has a seed of its own: more of them change none, and a family's streams do not depend on the others'.
    """
    result = np.empty((streams, decisions))
    number = FAMILIES.index(family)
    for row in range(streams):
        result[row] = _one(family, decisions, np.random.default_rng([seed, number, row]))
    return result


def _one(family: Family, decisions: int, generator: np.random.Generator) -> Array:
    count = decisions + _BURN
    innovation = _innovations(family, count, generator)
    if family.stochastic:
        persistence, deviation = 0.98, 0.2
        variance = _log_normal(generator.normal(size=count), persistence, deviation)
    else:
        variance = _garch(innovation, 0.06, 0.92)
    position = _positions(
        generator.random(count),
        np.where(
            generator.random(count) < family.agree,
            0.0,
            np.where(generator.random(count) < 0.5, -1.0, 1.0) * generator.uniform(_LEAST, 1.0, count),
        ),
        1.0 / family.holding,
    )
    moved = np.abs(np.diff(position, prepend=position[0]))
    # Skewed and rare losses are those of the difference itself, whatever its side.
    exposed = np.abs(position) if family.skewed or family.rare_loss else position
    difference = exposed * np.sqrt(variance) * innovation + np.abs(position) * _premium(family) - _COST * moved
    if family.drift:
        sides = np.where(generator.random(count) < 0.5, -1.0, 1.0)
        difference += family.drift * _positions(generator.random(count), sides, 2.0 / _REGIME)
    difference[1:] += _SMEAR * difference[:-1].copy()
    return _SCALE * difference[_BURN:]


def _premium(family: Family) -> float:
    """Return what holding must earn a decision so that it pays the moves: exact, from the law of positions."""
    away = 1.0 - family.agree
    mean = (1.0 + _LEAST) / 2.0
    # |X - X'| of two independent targets: one of them none, both on one side, or on opposite sides.
    same, opposite = (1.0 - _LEAST) / 3.0, 2.0 * mean
    apart = 2.0 * family.agree * away * mean + away**2 * (same + opposite) / 2.0
    return _COST * apart / family.holding / (away * mean)


def _innovations(family: Family, count: int, generator: np.random.Generator) -> Array:
    """Return innovations of mean zero and about unit variance, float64 [count]."""
    heavy = generator.standard_t(family.degrees, size=count) * np.sqrt((family.degrees - 2.0) / family.degrees)
    if family.skewed:
        return _SKEWED * (1.0 - generator.exponential(size=count)) + np.sqrt(1.0 - _SKEWED**2) * heavy
    if family.rare_loss:
        lost = generator.random(count) < family.rare_loss
        return 0.6 * heavy + 8.0 * (family.rare_loss - lost)
    return heavy


@numba.njit(cache=True)
def _garch(innovation: Array, arch: float, garch: float) -> Array:  # pragma: no cover - compiled
    """Return the variance of each decision, mean 1, of what came before it only."""
    result = np.empty_like(innovation)
    variance = 1.0
    for t in range(len(innovation)):
        result[t] = variance
        variance = (1.0 - arch - garch) + arch * variance * innovation[t] ** 2 + garch * variance
    return result


@numba.njit(cache=True)
def _log_normal(shocks: Array, persistence: float, deviation: float) -> Array:  # pragma: no cover - compiled
    """Return a log-normal variance of mean 1."""
    result = np.empty_like(shocks)
    spread = deviation / np.sqrt(1.0 - persistence**2)
    level = shocks[0] * spread
    for t in range(len(shocks)):
        result[t] = np.exp(level - spread**2 / 2.0)
        level = persistence * level + deviation * shocks[t]
    return result


@numba.njit(cache=True)
def _positions(moves: Array, targets: Array, rate: float) -> Array:  # pragma: no cover - compiled
    """Return positions that go to the next target at a constant rate."""
    result = np.empty_like(targets)
    held = targets[0]
    for t in range(len(targets)):
        if moves[t] < rate:
            held = targets[t]
        result[t] = held
    return result
