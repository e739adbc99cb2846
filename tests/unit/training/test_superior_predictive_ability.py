"""Hansen's and White's tests against the ``arch`` library (figures frozen here) and against a plain loop."""

import math

import numpy as np
import pytest

from core.errors import BadInputError
from training.statistics.superiority import longest_block, stationary_variance, superior_predictive_ability

# arch 8.0.0, SPA(-benchmark, -candidates, block_size=10, bootstrap="stationary", nested=False): its variances, and its
# p-values of 20,000 draws; studentised ones on gains divided by those deviations, since arch 8.0.0 does not divide
# them itself whatever ``studentize`` says.
ARCH_VARIANCE = [0.00017498475279207481, 0.00016120058421619134, 0.0005849018167358409]
ARCH_P_VALUES = {
    (0.0, 0.0): (0.01465, 0.01465, 0.01465, 0.0248),
    (0.0005, 0.004): (0.00485, 0.0059, 0.0138, 0.2431),
}


def trading(skill: float, losing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a benchmark [600] and 40 candidates: number 7 with skill, the last twenty with a loss."""
    generator = np.random.default_rng(5)
    benchmark = generator.standard_normal(600) * 0.01
    common = generator.standard_normal(600) * 0.008
    candidates = common[:, None] + generator.standard_normal((600, 40)) * np.linspace(0.002, 0.02, 40)
    candidates[:, 7] += skill
    candidates[:, 20:] -= losing
    return benchmark, candidates


@pytest.mark.parametrize(("skill", "losing"), list(ARCH_P_VALUES))
def test_p_values_are_those_of_arch(skill: float, losing: float) -> None:
    benchmark, candidates = trading(skill, losing)
    found = superior_predictive_ability(benchmark, candidates, 4_000, 10, 1)
    for p, expected in zip(
        (found.lower, found.consistent, found.upper, found.reality_check), ARCH_P_VALUES[skill, losing], strict=True
    ):
        # Four standard errors of both numbers of draws.
        assert abs(p - expected) < 4.0 * math.sqrt(expected * (1.0 - expected) * (1 / 4_000 + 1 / 20_000)) + 1 / 4_001


def test_the_variance_is_that_of_arch() -> None:
    benchmark, candidates = trading(0.0, 0.0)
    variance = stationary_variance(candidates - benchmark[:, None], 10.0)
    np.testing.assert_allclose(variance[[0, 7, 39]], ARCH_VARIANCE, rtol=1e-9)


def test_a_plain_loop_finds_the_same() -> None:
    """The papers read line by line: own stationary draws, own variance, one draw at a time."""
    generator = np.random.default_rng(9)
    gains = generator.standard_normal((90, 5)) * 0.01 + np.array([0.0015, 0.0, -0.001, -0.006, 0.0])
    steps, block, draws = 90, 4.0, 3_000
    variance = np.empty(5)
    for column in range(5):
        centred = gains[:, column] - gains[:, column].mean()
        total = centred @ centred / steps
        for lag in range(1, steps):
            weight = (1 - lag / steps) * (1 - 1 / block) ** lag + lag / steps * (1 - 1 / block) ** (steps - lag)
            total += 2 * weight * (centred[lag:] @ centred[:-lag]) / steps
        variance[column] = total
    deviation, mean = np.sqrt(variance), gains.mean(axis=0)
    observed = max(0.0, float((math.sqrt(steps) * mean / deviation).max()))
    keep = mean >= -np.sqrt(variance / steps * 2 * math.log(math.log(steps)))
    hits = np.zeros(4)
    for _ in range(draws):
        rows = [int(generator.integers(steps))]
        while len(rows) < steps:
            rows.append(int(generator.integers(steps)) if generator.random() < 1 / block else (rows[-1] + 1) % steps)
        star = gains[rows].mean(axis=0)
        for index, centre in enumerate((np.maximum(mean, 0.0), np.where(keep, mean, 0.0), mean)):
            hits[index] += max(0.0, float((math.sqrt(steps) * (star - centre) / deviation).max())) >= observed
        hits[3] += (star - mean).max() >= mean.max()
    found = superior_predictive_ability(np.zeros(90), gains, 3_000, block, 2)
    np.testing.assert_allclose(stationary_variance(gains, block), variance, rtol=1e-9)
    assert found.statistic == pytest.approx(observed)
    expected = hits / draws
    for p, q in zip((found.lower, found.consistent, found.upper, found.reality_check), expected, strict=True):
        assert abs(p - q) < 4.0 * math.sqrt(q * (1 - q) * 2 / draws) + 2 / draws


def test_skill_is_found_and_named() -> None:
    benchmark, candidates = trading(0.004, 0.0)
    found = superior_predictive_ability(benchmark, candidates, 500, seed=3)
    assert found.best == 7
    assert found.consistent == found.lower == 1 / 501
    assert found.gain == pytest.approx(float((candidates[:, 7] - benchmark).mean()))
    assert found.block == longest_block(candidates - benchmark[:, None])


def test_losers_cannot_hide_a_winner() -> None:
    """What Hansen's test was made for: hopeless candidates raise White's p-value, not the consistent one."""
    benchmark, candidates = trading(0.0012, 0.0)
    few = superior_predictive_ability(benchmark, candidates[:, :20], 2_000, 10, 4)
    generator = np.random.default_rng(7)
    hopeless = benchmark[:, None] - 0.05 + 0.2 * generator.standard_normal((600, 100))
    many = superior_predictive_ability(benchmark, np.hstack([candidates[:, :20], hopeless]), 2_000, 10, 4)
    assert many.consistent == few.consistent
    assert many.reality_check > 2.0 * few.reality_check


def test_nobody_better_is_certain_and_copies_of_the_benchmark_do_not_count() -> None:
    generator = np.random.default_rng(8)
    benchmark = generator.standard_normal(200)
    worse = benchmark[:, None] - 1.0 + 0.1 * generator.standard_normal((200, 3))
    found = superior_predictive_ability(benchmark, worse, 200, 5)
    assert (found.best, found.gain, found.statistic) == (-1, 0.0, 0.0)
    assert found.consistent == found.reality_check == 1.0
    copies = superior_predictive_ability(benchmark, np.tile(benchmark[:, None], (1, 3)), 200, 5)
    assert copies.consistent == copies.reality_check == 1.0


def test_the_same_seed_gives_the_same_answer() -> None:
    benchmark, candidates = trading(0.001, 0.0)
    first = superior_predictive_ability(benchmark, candidates, 300, 10, 5)
    assert first == superior_predictive_ability(benchmark, candidates, 300, 10, 5)
    assert first != superior_predictive_ability(benchmark, candidates, 300, 10, 6)


@pytest.mark.parametrize(
    ("benchmark", "candidates", "draws", "block", "said"),
    [
        (np.zeros(20), np.zeros((19, 2)), 10, 2, "19 steps"),
        (np.zeros(5), np.zeros((5, 2)), 10, 2, "at least 10"),
        (np.zeros(20), np.zeros((20, 0)), 10, 2, "0 columns"),
        (np.zeros(20), np.zeros((20, 2)), 0, 2, "0 draws"),
        (np.zeros(20), np.zeros((20, 2)), 10, 0.5, "block of 0.5"),
    ],
)
def test_bad_comparisons_are_refused(
    benchmark: np.ndarray, candidates: np.ndarray, draws: int, block: float, said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        superior_predictive_ability(benchmark, candidates, draws, block)
