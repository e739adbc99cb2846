"""Block bootstrap: what a draw is made of, its block length, and intervals against scipy's."""

import math

import numpy as np
import pytest
from scipy import stats

from core.errors import BadInputError
from training.statistics.resampling import (
    automatic_block_length,
    block_draws,
    bootstrap_interval,
    draw_counts,
)

# arch 8.0.0, optimal_block_length of the series of ``autoregression(seed, phi)``: (stationary, circular). It starts
# counting small correlations one lag later than the paper, so that its bandwidth is two lags wider.
ARCH_LENGTHS = {
    (4, 0.5): (11.227517066819788, 12.852298694899218),
    (5, 0.8): (34.07919650283166, 39.010941611565094),
}


def autoregression(seed: int, phi: float, steps: int = 1200) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(steps)
    values = np.empty(steps)
    values[0] = noise[0]
    for t in range(1, steps):
        values[t] = phi * values[t - 1] + noise[t]
    return values


def drawn(steps: int, block: float, draws: int, scheme: str) -> np.ndarray:
    return np.vstack(list(block_draws(steps, block, draws, 3, scheme)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "block"), [(50, 7), (49, 7), (10, 3), (5, 9)])
def test_moving_and_circular_draws_are_runs_of_one_block(steps: int, block: int) -> None:
    length = min(block, steps)
    for scheme in ("moving", "circular"):
        rows = drawn(steps, block, 40, scheme)
        assert rows.shape == (40, steps)
        for start in range(0, steps, length):
            part = rows[:, start : start + length]
            follow = part[:, :1] + np.arange(part.shape[1])
            assert (part == (follow % steps if scheme == "circular" else follow)).all()


def test_only_circular_draws_wrap_and_they_treat_every_row_alike() -> None:
    moving, circular = drawn(30, 10, 4000, "moving"), drawn(30, 10, 4000, "circular")
    steps_within = np.arange(29) % 10 != 9  # between two rows of the same block
    assert (np.diff(moving, axis=1)[:, steps_within] == 1).all()
    assert set(np.unique(np.diff(circular, axis=1)[:, steps_within])) == {-29, 1}
    often = draw_counts(circular).mean(axis=0)
    np.testing.assert_allclose(often, 1.0, atol=0.1)
    assert draw_counts(moving).mean(axis=0)[0] < 0.5  # Künsch's blocks seldom reach the ends


def test_stationary_blocks_have_the_expected_length_and_a_geometric_one() -> None:
    rows = drawn(400, 8.0, 500, "stationary")
    # A fresh block lands one behind its predecessor by chance once in 400 times.
    ends = (np.diff(rows, axis=1) % 400) != 1
    assert ends.mean() == pytest.approx((1 / 8) * (1 - 1 / 400), rel=0.03)
    np.testing.assert_allclose(draw_counts(rows).sum(axis=1), 400)


def test_the_same_seed_draws_the_same_rows() -> None:
    first = np.vstack(list(block_draws(60, 4, 100, 7)))
    assert (first == np.vstack(list(block_draws(60, 4, 100, 7)))).all()
    assert (first != np.vstack(list(block_draws(60, 4, 100, 8)))).any()


def test_counts_are_means_of_draws() -> None:
    values = np.random.default_rng(0).standard_normal(40)
    rows = drawn(40, 5, 9, "stationary")
    np.testing.assert_allclose(draw_counts(rows) @ values / 40, values[rows].mean(axis=1))


@pytest.mark.parametrize(("seed", "phi"), list(ARCH_LENGTHS))
def test_the_block_length_is_near_that_of_arch(seed: int, phi: float) -> None:
    found = automatic_block_length(autoregression(seed, phi))
    stationary, circular = ARCH_LENGTHS[seed, phi]
    assert found.stationary == pytest.approx(stationary, rel=0.03)
    assert found.circular == pytest.approx(circular, rel=0.03)


@pytest.mark.parametrize(("seed", "phi"), [(1, 0.0), (2, 0.3), (3, 0.9), (4, -0.5)])
def test_the_block_length_is_that_of_the_paper(seed: int, phi: float) -> None:
    """Politis & White (2004), section 3.2, step by step, with the constants of 2009."""
    values = autoregression(seed, phi, 700)
    steps = len(values)
    centred = values - values.mean()

    def covariance(lag: int) -> float:
        return sum(centred[t] * centred[t + abs(lag)] for t in range(steps - abs(lag))) / steps

    bound = 2.0 * math.sqrt(math.log10(steps) / steps)
    small = next(m for m in range(100) if all(abs(covariance(m + k) / covariance(0)) < bound for k in range(1, 6)))
    wide = 2 * max(small, 1)

    def window(x: float) -> float:
        return 1.0 if abs(x) <= 0.5 else 2.0 * (1.0 - abs(x)) if abs(x) <= 1.0 else 0.0

    slope = sum(window(k / wide) * abs(k) * covariance(k) for k in range(-wide, wide + 1))
    level = sum(window(k / wide) * covariance(k) for k in range(-wide, wide + 1))
    found = automatic_block_length(values)
    cap = math.ceil(min(3 * math.sqrt(steps), steps / 3))
    for length, constant in ((found.stationary, 2.0), (found.circular, 4.0 / 3.0)):
        exact = (2 * slope**2 / (constant * level**2)) ** (1 / 3) * steps ** (1 / 3)
        assert length == pytest.approx(min(max(exact, 1.0), cap))


def test_a_constant_series_needs_no_block() -> None:
    assert automatic_block_length(np.full(50, 0.3)).stationary == 1.0


def means(samples: np.ndarray) -> np.ndarray:
    return samples[:, :, 0].mean(axis=1)


def deviations(samples: np.ndarray) -> np.ndarray:
    return samples[:, :, 0].std(axis=1)


@pytest.mark.parametrize(("method", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
def test_intervals_of_independent_rows_are_those_of_scipy(method: str, theirs: str) -> None:
    values = np.random.default_rng(11).exponential(1.0, 80)
    ours = bootstrap_interval(values, deviations, 1, 20_000, 5, method)  # type: ignore[arg-type]
    expected = stats.bootstrap(
        (values,), np.std, n_resamples=20_000, method=theirs, vectorized=True, rng=np.random.default_rng(6)
    ).confidence_interval
    width = expected.high - expected.low
    assert ours.value == pytest.approx(values.std())
    assert abs(ours.low - expected.low) < 0.03 * width
    assert abs(ours.high - expected.high) < 0.03 * width


def test_the_studentised_interval_of_a_normal_mean_is_that_of_student() -> None:
    values = np.random.default_rng(12).standard_normal(40)
    found = bootstrap_interval(
        values,
        means,
        1,
        20_000,
        5,
        "studentised",
        "moving",
        standard_error=lambda samples: samples[:, :, 0].std(axis=1, ddof=1) / math.sqrt(samples.shape[1]),
    )
    low, high = stats.t.interval(0.95, 39, values.mean(), values.std(ddof=1) / math.sqrt(40))
    assert found.low == pytest.approx(low, abs=0.08)
    assert found.high == pytest.approx(high, abs=0.08)


def test_blocks_widen_the_interval_of_dependent_rows_to_its_true_width() -> None:
    values = autoregression(21, 0.8, 3000)
    block = automatic_block_length(values).stationary
    single, blocks = (bootstrap_interval(values, means, length, 1000, 1) for length in (1.0, block))
    truth = 2 * 1.96 * math.sqrt(1 / (1 - 0.8) ** 2 / 3000)
    assert single.high - single.low < 0.5 * truth
    assert blocks.high - blocks.low == pytest.approx(truth, rel=0.25)


def test_columns_of_one_time_stay_together() -> None:
    values = np.random.default_rng(13).standard_normal((200, 1))
    pair = np.hstack([values, values])
    found = bootstrap_interval(pair, lambda rows: (rows[:, :, 0] - rows[:, :, 1]).mean(axis=1), 5, 200, 1)
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: block_draws(0, 2, 10, 0), "at least 1"),
        (lambda: block_draws(10, math.nan, 10, 0), "block of nan"),
        (lambda: block_draws(10, 2, 10, 0, "jackknife"), "no bootstrap named"),
        (lambda: automatic_block_length(np.zeros(9)), "at least 10"),
        (lambda: bootstrap_interval(np.arange(50.0), means, 2, 99, 0), "at least 100"),
        (lambda: bootstrap_interval(np.arange(50.0), means, 2, 100, 0, "exact"), "no interval named"),
        (lambda: bootstrap_interval(np.arange(50.0), means, 2, 100, 0, "studentised"), "standard errors"),
        (lambda: bootstrap_interval(np.arange(50.0), means, 2, 100, 0, standard_error=means), "standard errors"),
    ],
)
def test_bad_requests_are_refused(call: object, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        call()  # type: ignore[operator]
