"""What the statistics promise under no skill, and what no choice of units or order may change.

Rejections of a true hypothesis are counted over many simulated samples with heavy tails, volatility that clusters and
trials that resemble each other. A bound is the count that a test of its nominal size exceeds once in a thousand runs:
a seed is no luck, and a broken test is found.
"""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from training.statistics.comparison import diebold_mariano
from training.statistics.effective import effective_trials
from training.statistics.overfitting import probability_of_overfitting
from training.statistics.resampling import bootstrap_interval
from training.statistics.scores import brier_decomposition, log_loss_decomposition
from training.statistics.sharpe import deflated_sharpe, probabilistic_sharpe, sharpe_ratios
from training.statistics.superiority import superior_predictive_ability

SEEDS = st.integers(0, 2**32 - 1)


def most_of(samples: int, size: float) -> int:
    """Return the count of rejections that a test of this size exceeds once in a thousand times."""
    return int(stats.binom.ppf(0.999, samples, size))


def null_search(seed: int, steps: int = 500, ideas: int = 8, variants: int = 6) -> np.ndarray:
    """Return trial returns [T, K] of no mean: clustered volatility, heavy tails, variants correlated at 0.7."""
    generator = np.random.default_rng(seed)
    calm = np.empty(steps)
    level = 0.0
    for t in range(steps):
        level = 0.95 * level + 0.2 * generator.standard_normal()
        calm[t] = math.exp(level)
    common = np.repeat(generator.standard_t(5, (steps, ideas)), variants, axis=1)
    own = generator.standard_t(5, (steps, ideas * variants))
    return 0.001 * calm[:, None] * (math.sqrt(0.7) * common + math.sqrt(0.3) * own)


def test_the_best_of_a_search_without_skill_is_seldom_believed() -> None:
    """Deflated by the estimated number of trials, the best passes 95 % in no more than one of twenty searches."""
    samples, naive, deflated = 60, 0, 0
    for seed in range(samples):
        matrix = null_search(seed)
        ratios = sharpe_ratios(matrix)
        best = matrix[:, ratios.argmax()]
        naive += probabilistic_sharpe(best).probability > 0.95
        found = deflated_sharpe(best, ratios, effective_trials(matrix).number)
        deflated += min(found.probability, found.robust_probability) > 0.95
    assert naive > samples / 3  # what the deflation is for
    assert deflated <= most_of(samples, 0.05)


def test_superiority_has_its_size_under_the_null() -> None:
    samples = 60
    p = [superior_predictive_ability(np.zeros(500), null_search(seed), 200, 5, seed) for seed in range(samples)]
    assert sum(found.consistent <= 0.05 for found in p) <= most_of(samples, 0.05)
    assert sum(found.reality_check <= 0.05 for found in p) <= most_of(samples, 0.05)
    assert all(found.lower <= found.consistent <= found.upper for found in p)
    # Not one that never rejects either: half of the p-values lie below a half, give or take.
    assert sum(found.consistent <= 0.5 for found in p) > samples / 5


def test_overfitting_is_likely_where_there_is_nothing_to_find() -> None:
    probabilities = [probability_of_overfitting(null_search(seed), 8).probability for seed in range(30)]
    assert 0.4 < np.mean(probabilities) < 0.9


def test_the_champion_test_keeps_its_size_on_few_dependent_decisions() -> None:
    """200 decision times, losses alike far beyond their label: the gate's kernel rejects as often as it says."""
    samples, rejected, summed, found = 400, 0, 0, 0
    generator = np.random.default_rng(7)
    for _ in range(samples):
        shocks = generator.standard_t(5, 300)
        difference = lfilter([1.0], [1.0, -0.5], shocks)[100:]
        rejected += diebold_mariano(difference, np.zeros(200), 1, "cosine").p_better < 0.05
        summed += diebold_mariano(difference, np.zeros(200), 1, "bartlett").p_better < 0.05
        found += diebold_mariano(difference - 0.75, np.zeros(200), 1, "cosine").p_better < 0.05
    assert rejected <= most_of(samples, 0.05)
    assert summed > rejected  # the sum over lags finds a difference where there is none more often
    assert found > 0.8 * samples  # and yet a real one is seen


def test_the_champion_test_keeps_its_size_where_labels_overlap() -> None:
    samples, rejected = 400, 0
    generator = np.random.default_rng(8)
    for _ in range(samples):
        difference = np.convolve(generator.standard_t(5, 211), np.ones(12), "valid")
        rejected += diebold_mariano(difference, np.zeros(200), 12, "cosine").p_value < 0.05
    # Eight cosines for twelve steps of overlap: a little more than it says, and said in the guide.
    assert rejected <= most_of(samples, 0.07)


def test_diebold_mariano_has_its_size_on_dependent_losses() -> None:
    samples, rejected, ignored = 400, 0, 0
    generator = np.random.default_rng(1)
    for _ in range(samples):
        difference = np.convolve(generator.standard_t(5, 203), np.ones(4), "valid")
        rejected += diebold_mariano(difference, np.zeros(200), 4).p_value < 0.05
        ignored += diebold_mariano(difference, np.zeros(200), 1).p_value < 0.05
    assert ignored > 4 * rejected  # a label over four steps, judged as if it were one
    # The variance of few dependent losses is itself uncertain: 0.08 is measured, 0.05 asked for.
    assert rejected <= most_of(samples, 0.08)


def test_a_block_bootstrap_interval_of_dependent_rows_holds_its_truth() -> None:
    generator = np.random.default_rng(2)
    missed = 0
    for seed in range(80):
        values = np.convolve(generator.exponential(1.0, 303) - 1.0, [0.5, 0.3, 0.2, 0.1], "valid")
        found = bootstrap_interval(values, lambda rows: rows[:, :, 0].mean(axis=1), 8, 200, seed, "bca")
        missed += not found.low <= 0.0 <= found.high
    assert missed <= most_of(80, 0.08)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.floats(1e-6, 1e6))
def test_units_change_nothing(seed: int, scale: float) -> None:
    matrix = null_search(seed, 60, 3, 2)
    ratios = sharpe_ratios(matrix)
    np.testing.assert_allclose(sharpe_ratios(matrix * scale), ratios, rtol=1e-7, atol=1e-12)
    here, there = (deflated_sharpe(rows[:, 0], ratios, 4.0) for rows in (matrix, matrix * scale))
    assert math.isclose(here.probability, there.probability, rel_tol=1e-6, abs_tol=1e-9)
    first, second = probability_of_overfitting(matrix, 6), probability_of_overfitting(matrix * scale, 6)
    assert first.selected.tolist() == second.selected.tolist()
    assert first.probability == second.probability
    assert effective_trials(matrix).clusters.tolist() == effective_trials(matrix * scale).clusters.tolist()


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_the_order_of_trials_changes_nothing(seed: int) -> None:
    matrix = null_search(seed, 60, 3, 3)
    order = np.random.default_rng(seed).permutation(matrix.shape[1])
    first, second = probability_of_overfitting(matrix, 6), probability_of_overfitting(matrix[:, order], 6)
    assert first.probability == second.probability
    assert order[second.selected].tolist() == first.selected.tolist()
    before = superior_predictive_ability(np.zeros(60), matrix, 50, 3, 1)
    after = superior_predictive_ability(np.zeros(60), matrix[:, order], 50, 3, 1)
    assert (before.consistent, before.reality_check) == (after.consistent, after.reality_check)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 5), st.integers(1, 30), st.integers(1, 400))
def test_the_parts_of_a_score_add_up(seed: int, classes: int, groups: int, rows: int) -> None:
    generator = np.random.default_rng(seed)
    # Few distinct forecasts half of the time: ties are the rule in a forest's votes.
    probabilities = generator.dirichlet(np.ones(classes), rows)
    if seed % 2:
        probabilities = probabilities[generator.integers(0, min(rows, 4), rows)]
    outcomes = generator.integers(0, classes, rows)
    for found in (
        brier_decomposition(probabilities, outcomes, groups),
        log_loss_decomposition(probabilities, outcomes, groups),
    ):
        total = found.reliability - found.resolution + found.uncertainty + found.within_group
        assert math.isclose(total, found.score, rel_tol=1e-9, abs_tol=1e-12)
        assert found.reliability >= -1e-12
        assert found.resolution >= -1e-12
        assert found.rows == rows
        assert 1 <= found.groups <= rows
