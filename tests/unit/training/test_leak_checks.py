"""Leak checks: each planted leak is named by the rule made for it, and an honest market passes."""

from dataclasses import replace

import numpy as np
import pytest

from training.dataset import Dataset
from training.leaks import LeakReport, check_leaks
from training.splits import CombinatorialPurged, Split, WalkForward

STEP = 3_600_000_000_000
STEPS, PAIRS = 3000, 2


def market(horizon: int = 1, seed: int = 1) -> Dataset:
    """Return two pairs whose returns nothing can predict, with volatility that clusters, and honest features."""
    generator = np.random.default_rng(seed)
    count = STEPS + horizon
    log_variance = np.zeros((count, PAIRS))
    for t in range(1, count):
        log_variance[t] = 0.97 * log_variance[t - 1] + 0.25 * generator.normal(size=PAIRS)
    volatility = 1e-3 * np.exp(log_variance / 2)
    returns = volatility * generator.normal(size=(count, PAIRS))
    ahead = np.stack([returns[t + 1 : t + 1 + horizon].sum(axis=0) for t in range(STEPS - 1)])
    steps, last = np.arange(STEPS - 1), STEPS - 1
    label = np.where(ahead > 8e-4, 2, np.where(ahead < -8e-4, 0, 1))
    now = returns[:last]
    features = {
        "volatility": volatility[:last],
        "return": now,
        "older_return": np.vstack([np.zeros((1, PAIRS)), now[:-1]]),
        "half_empty": np.where(generator.random(now.shape) < 0.5, np.nan, generator.normal(size=now.shape)),
        "constant": np.ones(now.shape),
    }
    economics = {
        "step_return": returns[1 : last + 1].ravel(),
        "volatility": volatility[:last].ravel(),
    }
    time_ns = np.repeat(steps + 1, PAIRS) * STEP
    return Dataset(
        ("EUR_USD", "USD_JPY"),
        np.tile(np.arange(PAIRS), last),
        time_ns,
        time_ns + horizon * STEP,
        np.repeat(steps, PAIRS),
        label.ravel().astype(np.int8),
        np.column_stack([values.ravel() for values in features.values()]).astype(np.float32),
        tuple(features),
        economics,
        (STEPS + horizon + 1) * STEP,
        horizon,
    )


def folds_of(dataset: Dataset) -> list[Split]:
    return WalkForward(4, 1000, 5).folds_of(dataset.time_ns, dataset.label_end_ns)


def planted(dataset: Dataset, values: np.ndarray) -> Dataset:
    return replace(
        dataset,
        features=np.column_stack([dataset.features, values.astype(np.float32)]),
        feature_names=(*dataset.feature_names, "planted"),
    )


def failed(report: LeakReport) -> set[str]:
    return {rule.name for rule in report.rules if not rule.passed}


@pytest.mark.parametrize("horizon", [1, 6])
def test_an_honest_market_passes_and_twice_the_same(horizon: int) -> None:
    dataset = market(horizon)
    report = check_leaks(dataset, folds_of(dataset), 3)
    assert report.passed, failed(report)
    assert report == check_leaks(dataset, folds_of(dataset), 3)
    known = {check.name: check for check in report.features}
    # Volatility does tell whether price moves, and still does when it is a row older.
    assert known["volatility"].skill["label_movement"] > 0.02
    assert known["volatility"].lagged["label_movement"] > 0.5 * known["volatility"].skill["label_movement"]
    assert all(rule.words for rule in report.rules)


def test_a_feature_that_knows_the_label_is_caught() -> None:
    dataset = market()
    noise = np.random.default_rng(2).normal(size=len(dataset.label))
    report = check_leaks(planted(dataset, dataset.label + 0.3 * noise), folds_of(dataset), 3)
    assert {"label_direction_skill", "label_direction_shift", "label_movement_skill"} <= failed(report)
    assert "planted alone has a skill of" in next(r.words for r in report.rules if r.name == "label_direction_skill")


def test_a_feature_aligned_one_bar_too_late_is_caught_under_a_long_label_and_much_noise() -> None:
    dataset = market(horizon=6)
    next_return = dataset.economics["step_return"] / dataset.economics["volatility"]
    noise = np.random.default_rng(2).normal(size=len(next_return))
    report = check_leaks(planted(dataset, next_return + 2.5 * noise), folds_of(dataset), 3)
    # Correlation 0.37 with one of six bars: no skill is too good to be true, but it lasts for one row only.
    assert "next_direction_shift" in failed(report)
    assert not failed(report) & {"label_direction_skill", "next_direction_skill"}


def test_a_feature_that_knows_how_far_price_will_go_is_caught() -> None:
    dataset = market()
    size = np.abs(dataset.economics["step_return"]) / dataset.economics["volatility"]
    assert {"next_movement_skill", "next_movement_shift"} <= failed(
        check_leaks(planted(dataset, size), folds_of(dataset), 3)
    )


def test_a_strong_signal_that_lasts_is_no_leak() -> None:
    dataset = market()
    volatility = dataset.economics["volatility"]
    drift = np.sin(np.arange(len(volatility)) // PAIRS / 40.0)
    step = dataset.economics["step_return"] + 0.35 * drift * volatility
    moved = replace(
        dataset,
        economics=dataset.economics | {"step_return": step},
        label=np.where(step > 8e-4, 2, np.where(step < -8e-4, 0, 1)).astype(np.int8),
    )
    report = check_leaks(planted(moved, drift), folds_of(moved), 3)
    assert report.passed, failed(report)
    assert next(c for c in report.features if c.name == "planted").skill["next_direction"] > 0.02


def test_a_clock_is_caught_and_no_level_that_returns() -> None:
    dataset = market()
    report = check_leaks(planted(dataset, dataset.time_ns / STEP), folds_of(dataset), 3)
    assert failed(report) == {"time"}
    day = np.sin(dataset.time_ns / STEP / 24.0)
    assert check_leaks(planted(dataset, day), folds_of(dataset), 3).passed


def test_a_purge_taken_away_and_a_label_end_told_too_early_are_caught() -> None:
    dataset = market(horizon=6)
    honest = folds_of(dataset)
    unpurged = [
        replace(fold, train=np.flatnonzero(dataset.time_ns < dataset.time_ns[fold.test].min())) for fold in honest
    ]
    report = check_leaks(dataset, unpurged, 3)
    assert failed(report) == {"purge"}
    assert next(rule.value for rule in report.rules if rule.name == "purge") == 4 * 6 * PAIRS
    early = replace(dataset, label_end_ns=dataset.time_ns)
    report = check_leaks(early, folds_of(early), 3)
    assert {"label_ends", "purge_has_work"} <= failed(report)


def test_combinatorial_splits_are_checked_window_by_window() -> None:
    dataset = market(horizon=6)
    folds = CombinatorialPurged(5, 2, 5).folds_of(dataset.time_ns, dataset.label_end_ns)
    assert check_leaks(dataset, folds, 3).passed
    loose = [replace(fold, train=np.setdiff1d(np.arange(len(dataset.label)), fold.test)) for fold in folds]
    assert "purge" in failed(check_leaks(dataset, loose, 3))


def test_a_row_of_the_holdout_is_caught() -> None:
    dataset = replace(market(), cutoff_ns=(STEPS - 10) * STEP)
    assert "holdout" in failed(check_leaks(dataset, folds_of(dataset), 3))
