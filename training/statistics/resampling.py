"""Block bootstrap of dependent series: index draws, automatic block length, intervals.

- Moving blocks: Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", Annals of Statistics 17
  (1989). Circular blocks: Politis & Romano (1992). Stationary: Politis & Romano, "The Stationary Bootstrap", Journal of
  the American Statistical Association 89 (1994).
- Block length: Politis & White, "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric Reviews 23
  (2004), with the correction of Patton, Politis & White, Econometric Reviews 28 (2009).
- Intervals: percentile; BCa, Efron, "Better Bootstrap Confidence Intervals", JASA 82 (1987), eq. 2.3, with the
  acceleration from deleting blocks; studentised, Götze & Künsch, Annals of Statistics 24 (1996).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from core.errors import BadInputError
from training.statistics.dependence import autocovariances
from training.statistics.inputs import Matrix, checked_confidence, checked_matrix, checked_series
from training.statistics.interval import Interval

Indices = NDArray[np.int64]
Scheme = Literal["moving", "circular", "stationary"]
Method = Literal["percentile", "bca", "studentised"]
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# Values of one chunk of draws: about 32 MiB, whatever the number of draws.
CHUNK_VALUES = 2**22
JACKKNIFE = 400  # parts for the acceleration of BCa: each costs a pass over the rows


@dataclass(frozen=True)
class BlockLength:
    """Block lengths with the least mean squared error of the variance of a mean, in steps."""

    stationary: float
    circular: float


def automatic_block_length(series: Any) -> BlockLength:
    """Return the block lengths for the stationary (expected length) and circular bootstrap of a series [T].

    Politis & White (2004), section 3: flat-top lag window, bandwidth from the first run of insignificant correlations;
    capped at ``min(3 sqrt(T), T / 3)``. Moving blocks use the circular length.

    Raises:
        BadInputError: fewer than 10 finite values.
    """
    values = checked_series(series, "the series", 10)
    steps = len(values)
    run = max(5, int(math.sqrt(math.log10(steps))))
    longest = min(math.ceil(math.sqrt(steps)) + run, steps - 1)
    cap = math.ceil(min(3.0 * math.sqrt(steps), steps / 3.0))
    gamma = autocovariances(values, longest)
    if gamma[0] <= (1e-13 * float(np.abs(values).max())) ** 2:
        return BlockLength(1.0, 1.0)
    small = np.abs(gamma[1:] / gamma[0]) < 2.0 * math.sqrt(math.log10(steps) / steps)
    bandwidth = min(2 * max(_before_run(small, run), 1), longest)
    lags = np.arange(1, bandwidth + 1)
    # The flat-top window of Politis & Romano (1995): 1 up to half the bandwidth, then down to 0.
    window = np.minimum(1.0, 2.0 * (1.0 - lags / bandwidth))
    spectrum = float(gamma[0] + 2.0 * (window * gamma[1 : bandwidth + 1]).sum())
    slope = float(2.0 * (window * lags * gamma[1 : bandwidth + 1]).sum())
    if spectrum == 0.0:
        return BlockLength(float(cap), float(cap))

    def length(constant: float) -> float:
        return min(max((2.0 * slope**2 / (constant * spectrum**2) * steps) ** (1.0 / 3.0), 1.0), float(cap))

    # D of equations 8 and 13 as corrected in 2009: 2 g(0)² and 4/3 g(0)², with g(0) the sum of the autocovariances.
    return BlockLength(length(2.0), length(4.0 / 3.0))


def _before_run(small: NDArray[np.bool_], run: int) -> int:
    """Return the lag after which ``run`` correlations in a row are small; the last large one if there is none."""
    together = np.convolve(small, np.ones(run), "valid") if len(small) >= run else np.zeros(0)
    found = np.flatnonzero(together == run)
    if len(found):
        return int(found[0])
    large = np.flatnonzero(~small)
    return int(large[-1]) + 1 if len(large) else 0


def block_draws(
    steps: int, block: float, draws: int, seed: int, scheme: Scheme = "stationary", chunk: int = 256
) -> Iterator[Indices]:
    """Yield rows to draw, int64 [≤ chunk, T], until there are ``draws`` of them.

    Args:
        steps: length T of the series and of each draw.
        block: length of a block in steps, at least 1; the expected one for ``stationary``; cut to T.
        draws: bootstrap samples.
        seed: of the draws; the same seed and the same chunk give the same rows.
        scheme: how blocks are made.
        chunk: draws made at once.

    Raises:
        BadInputError: no draw, no step, a block shorter than a step, or an unknown scheme.
    """
    if steps < 1 or draws < 1:
        raise BadInputError(f"a bootstrap of {steps} steps and {draws} draws: both must be at least 1")
    if not block >= 1.0:
        raise BadInputError(f"a bootstrap block of {block} steps: it must be at least 1")
    if scheme not in ("moving", "circular", "stationary"):
        raise BadInputError(f"no bootstrap named {scheme!r}: moving, circular or stationary")
    return _draws(steps, min(float(block), float(steps)), draws, np.random.default_rng(seed), scheme, chunk)


def _draws(
    steps: int, block: float, draws: int, generator: np.random.Generator, scheme: Scheme, chunk: int
) -> Iterator[Indices]:
    position = np.arange(steps)
    for start in range(0, draws, chunk):
        count = min(chunk, draws - start)
        if scheme == "stationary":
            fresh = generator.random((count, steps)) < 1.0 / block
            fresh[:, 0] = True
            begins = generator.integers(0, steps, (count, steps))
            since = np.maximum.accumulate(np.where(fresh, position, 0), axis=1)
            yield (np.take_along_axis(begins, since, axis=1) + position - since) % steps
            continue
        length = round(block)
        blocks = -(-steps // length)
        last = steps if scheme == "circular" else steps - length + 1
        begins = generator.integers(0, last, (count, blocks))
        rows = (begins[:, :, None] + np.arange(length)).reshape(count, -1)[:, :steps]
        yield rows % steps


def draw_counts(rows: Indices) -> Matrix:
    """Return how often each row was drawn, float64 [D, T]: a mean of a draw is then one product with the data."""
    draws, steps = rows.shape
    flat = (rows + np.arange(draws)[:, None] * steps).ravel()
    return np.bincount(flat, minlength=draws * steps).reshape(draws, steps).astype(np.float64)


def bootstrap_interval(
    values: Any,
    statistic: Statistic,
    block: float,
    draws: int,
    seed: int,
    method: Method = "percentile",
    scheme: Scheme = "stationary",
    confidence: float = 0.95,
    standard_error: Statistic | None = None,
) -> Interval:
    """Return a statistic of dependent rows with its block-bootstrap interval.

    Args:
        values: float64 [T] or [T, K]; K columns of one time stay together.
        statistic: maps samples [D, T, K] (K = 1 for a series) to values [D].
        block: length of a block in steps (``automatic_block_length``).
        draws: bootstrap samples; at least 100, and 1,000 or more for a 95 % interval to settle.
        seed: of the draws.
        method: ``percentile``; ``bca``, corrected for median bias and for an error that depends on the value;
            ``studentised``, for which ``standard_error`` maps samples [D, T, K] to standard errors [D].
        scheme: how blocks are made.
        confidence: of the interval.

    Raises:
        BadInputError: too few or bad rows, fewer than 100 draws, a studentised interval without standard errors.
    """
    data = np.asarray(values, np.float64)
    data = checked_matrix(data[:, None] if data.ndim == 1 else data, "the rows to resample", 4)
    level = checked_confidence(confidence)
    if draws < 100:
        raise BadInputError(f"{draws} bootstrap draws cannot hold an interval: ask for at least 100")
    if method not in ("percentile", "bca", "studentised"):
        raise BadInputError(f"no interval named {method!r}: percentile, bca or studentised")
    if (method == "studentised") != (standard_error is not None):
        raise BadInputError("a studentised interval, and only it, needs a function of standard errors")
    chunk = max(CHUNK_VALUES // data.size, 1)
    value = float(statistic(data[None])[0])
    samples: list[NDArray[np.float64]] = []
    for rows in block_draws(len(data), block, draws, seed, scheme, chunk):
        drawn = data[rows]
        found = statistic(drawn)
        if standard_error is not None:
            # A draw without any spread has no studentised distance; the floor keeps it finite and far out.
            found = (found - value) / np.maximum(standard_error(drawn), 1e-300)
        samples.append(found)
    distribution = np.concatenate(samples)
    tails = np.array([0.5 - level / 2.0, 0.5 + level / 2.0])
    if standard_error is not None:
        error = float(standard_error(data[None])[0])
        upper, lower = np.quantile(distribution, tails)
        return Interval(value, value - float(lower) * error, value - float(upper) * error)
    if method == "bca":
        tails = _bca_levels(data, statistic, value, distribution, tails, round(block))
    low, high = np.quantile(distribution, tails)
    return Interval(value, float(low), float(high))


def _bca_levels(
    data: Matrix, statistic: Statistic, value: float, distribution: Matrix, tails: Matrix, block: int
) -> Matrix:
    """Return the levels of the draws' distribution that BCa reads off (Efron 1987, eq. 2.3)."""
    below = (np.count_nonzero(distribution < value) + 0.5 * np.count_nonzero(distribution == value)) / len(distribution)
    bias = float(ndtri(min(max(below, 0.5 / len(distribution)), 1.0 - 0.5 / len(distribution))))
    # Blocks to leave out one at a time: never longer than a quarter, and wide enough that there are at most JACKKNIFE.
    starts = range(0, len(data), max(min(block, len(data) // 4), -(-len(data) // JACKKNIFE)))
    width = starts.step
    left = np.array(
        [float(statistic(np.delete(data, slice(start, start + width), axis=0)[None])[0]) for start in starts]
    )
    distance = left.mean() - left
    spread = float((distance**2).sum()) ** 1.5
    acceleration = float((distance**3).sum()) / (6.0 * spread) if spread > 0.0 else 0.0
    shifted = bias + ndtri(tails)
    return np.asarray(ndtr(bias + shifted / (1.0 - acceleration * shifted)))
