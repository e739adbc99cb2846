"""Does the best of many candidates beat a benchmark, or does the search?

Reality check: White, "A Reality Check for Data Snooping", Econometrica 68 (2000), section 2. Test for superior
predictive ability: Hansen, "A Test for Superior Predictive Ability", Journal of Business & Economic Statistics 23
(2005), section 2: studentised, and candidates that are clearly worse cannot raise the p-value. Both with the
stationary bootstrap of Politis & Romano (1994).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import BadInputError
from training.statistics.inputs import Matrix, checked_matrix, checked_series
from training.statistics.resampling import automatic_block_length, block_draws, draw_counts

CHUNK_DRAWS = 128


@dataclass(frozen=True)
class Superiority:
    """The hypothesis "no candidate is better than the benchmark", tested on the best of all candidates.

    Each p-value is ``(1 + draws at least as extreme) / (1 + draws)``: never 0 (Davison & Hinkley 1997, eq. 4.11).

    Args:
        statistic: largest studentised mean gain over the benchmark, not below 0 (Hansen's T).
        consistent: Hansen's p-value; the one to read.
        lower: p-value with every losing candidate taken as being level with the benchmark's bound; a lower limit.
        upper: p-value with every candidate taken as level with the benchmark (least favourable); an upper limit.
        reality_check: White's p-value on gains that are not studentised.
        best: column of the candidate with the largest studentised gain; -1 where none gains.
        gain: mean gain per step of that candidate, 0 where none gains.
        block: expected block length used.
        draws: bootstrap samples.
        candidates: K.
    """

    statistic: float
    consistent: float
    lower: float
    upper: float
    reality_check: float
    best: int
    gain: float
    block: float
    draws: int
    candidates: int


def superior_predictive_ability(
    benchmark: Any, candidates: Any, draws: int = 1_000, block: float | None = None, seed: int = 0
) -> Superiority:
    """Test whether the best of all candidates is better than the benchmark after the search is paid for.

    Args:
        benchmark: float64 [T], performance per step, higher is better (returns, or losses with the sign turned).
        candidates: float64 [T, K], the same of **every** candidate that was tried.
        draws: bootstrap samples.
        block: expected length of a block in steps; None takes the largest automatic length of any gain's series.
        seed: of the draws.

    Raises:
        BadInputError: lengths differ, fewer than 10 steps, no candidate, values that are not finite, no draw.
    """
    reference = checked_series(benchmark, "the benchmark", 10)
    matrix = checked_matrix(candidates, "the candidates", 10)
    if len(matrix) != len(reference):
        raise BadInputError(f"the candidates have {len(matrix)} steps, the benchmark {len(reference)}")
    gains = matrix - reference[:, None]
    steps = len(gains)
    length = longest_block(gains) if block is None else float(block)
    root = math.sqrt(steps)
    mean = gains.mean(axis=0)
    deviation = np.sqrt(stationary_variance(gains, length))
    differs = deviation > 1e-13 * np.maximum(np.abs(gains).max(axis=0), 1e-300)
    scale = np.where(differs, deviation, 1.0)
    scores = np.where(differs, root * mean / scale, 0.0)
    # Hansen, eq. 9 and the threshold of section 2.3: candidates worse than this cannot be level with the benchmark.
    hopeless = mean < -scale / root * math.sqrt(2.0 * math.log(math.log(steps)))
    centres = {
        "lower": np.maximum(mean, 0.0),
        "consistent": np.where(hopeless, 0.0, mean),
        "upper": mean,
    }
    statistic = max(float(scores.max()), 0.0)
    plain = root * float(np.where(differs, mean, -math.inf).max())
    exceeding = dict.fromkeys((*centres, "reality"), 0)
    centred = gains - mean
    for rows in block_draws(steps, length, draws, seed, "stationary", CHUNK_DRAWS):
        # Drawn means less the observed ones [D, K]; each hypothesis then adds back what it does not recentre.
        drawn = (draw_counts(rows) @ centred) / steps
        for name, centre in centres.items():
            shifted = np.where(differs, root * (drawn + (mean - centre)) / scale, 0.0)
            exceeding[name] += int((np.maximum(shifted.max(axis=1), 0.0) >= statistic).sum())
        exceeding["reality"] += int((root * np.where(differs, drawn, -math.inf).max(axis=1) >= plain).sum())
    p = {name: (1 + count) / (1 + draws) for name, count in exceeding.items()}
    best = int(scores.argmax()) if statistic > 0.0 else -1
    return Superiority(
        statistic=statistic,
        consistent=p["consistent"],
        lower=p["lower"],
        upper=p["upper"],
        reality_check=p["reality"],
        best=best,
        gain=float(mean[best]) if best >= 0 else 0.0,
        block=length,
        draws=draws,
        candidates=gains.shape[1],
    )


def stationary_variance(values: Matrix, block: float) -> Matrix:
    """Return the variance of ``sqrt(T) * mean`` that the stationary bootstrap has in the limit; float64 [K].

    Politis & Romano (1994), lemma 1: autocovariances of all lags i with weights
    ``(1 - i/T)(1 - q)^i + i/T (1 - q)^(T-i)``, ``q = 1 / block``; by Fourier transform.
    """
    steps = len(values)
    centred = values - values.mean(axis=0)
    size = 1 << (2 * steps - 1).bit_length()
    lags = np.arange(1, steps)
    stay = 1.0 - 1.0 / max(block, 1.0)
    weights = (1.0 - lags / steps) * stay**lags + lags / steps * stay ** (steps - lags)
    result = np.empty(values.shape[1])
    for start in range(0, values.shape[1], 64):
        part = np.fft.rfft(centred[:, start : start + 64], size, axis=0)
        gamma = np.fft.irfft(part * part.conj(), size, axis=0)[:steps] / steps
        result[start : start + 64] = gamma[0] + 2.0 * weights @ gamma[1:]
    return np.maximum(result, 0.0)


def longest_block(values: Matrix) -> float:
    """Return the largest automatic expected block length of any column of [T, K]."""
    return max(automatic_block_length(column).stationary for column in values.T)
