"""Invariants of splits, labels, weights, windows, calibration and blending over random inputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import INPUT_COLUMNS, BarKind, Panel
from training.dataset import Dataset
from training.evaluation.bootstrap import BlockBootstrap
from training.labels import FLAT, LONG, SHORT, make_labels
from training.models.blend import pool_weights
from training.models.calibration import Slopes, fit_slopes
from training.parameters import LabelParameters
from training.splits import WalkForward, validation_tail
from training.weights import average_uniqueness

SEEDS = st.integers(0, 2**32 - 1)
COSTS = {"half_spread_pips": {"EUR_USD": 0.6, "USD_JPY": 0.7}, "slippage_pips": 0.1, "commission_per_million": 15}


def random_rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times with several instruments each and label ends of very different length."""
    generator = np.random.default_rng(seed)
    axis = np.cumsum(generator.integers(1, 50, size=120)).astype(np.int64)
    time_ns = np.sort(generator.choice(axis, size=300))
    return time_ns, time_ns + generator.integers(0, 200, size=300) * (generator.random(300) < 0.8)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 6), st.integers(0, 10), st.sampled_from(["rolling", "anchored"]))
def test_no_training_label_overlaps_a_test_window(seed: int, folds: int, gap: int, scheme: str) -> None:
    time_ns, ends = random_rows(seed)
    splits = WalkForward(folds, 40, gap, scheme).folds_of(time_ns, ends)  # type: ignore[arg-type]
    tested: list[int] = []
    for fold in splits:
        start, end = time_ns[fold.test].min(), ends[fold.test].max()
        overlap = (time_ns[fold.train] <= end) & (ends[fold.train] >= start)
        assert not overlap.any()
        assert time_ns[fold.train].max() < start
        tested += fold.test.tolist()
    axis = np.unique(time_ns)
    assert tested == np.flatnonzero(time_ns >= axis[40]).tolist()  # each later row is tested once, in order


@settings(max_examples=40)
@given(SEEDS, st.floats(0.05, 0.5))
def test_the_validation_tail_shares_no_information_with_the_fit(seed: int, share: float) -> None:
    time_ns, ends = random_rows(seed)
    fit, tail = validation_tail(time_ns, ends, share)
    assert ends[fit].max() < time_ns[tail].min()


def random_panel(seed: int, steps: int = 60) -> Panel:
    generator = np.random.default_rng(seed)
    middle = np.array([1.1, 110.0]) * np.exp(np.cumsum(generator.normal(scale=0.001, size=(steps, 2)), axis=0))
    middle[generator.random((steps, 2)) < 0.2] = np.nan
    half = np.array([0.0001, 0.01]) * generator.random((steps, 2))
    values = np.full((steps, 2, len(INPUT_COLUMNS)), np.nan)
    values[:, :, INPUT_COLUMNS.index("bid_close")] = middle - half
    values[:, :, INPUT_COLUMNS.index("ask_close")] = middle + half
    time_ns = np.cumsum(generator.integers(1, 9, size=steps)).astype(np.int64) * 1_000_000
    return Panel(("EUR_USD", "USD_JPY"), time_ns, np.repeat(time_ns[:, None], 2, axis=1), values, BarKind.BAR)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 5), st.floats(0.5, 3.0))
def test_labels_agree_with_the_trades_they_stand_for(seed: int, horizon: int, edge: float) -> None:
    panel = random_panel(seed)
    cutoff = int(panel.time_ns[50])
    made = make_labels(panel, COSTS, LabelParameters(horizon, edge), cutoff)
    bid = panel.values[:, :, INPUT_COLUMNS.index("bid_close")]
    ask = panel.values[:, :, INPUT_COLUMNS.index("ask_close")]
    assert made.label_end_ns.max() < cutoff
    assert np.all(np.diff(made.time_ns) >= 0)
    for row in range(len(made.label)):
        i, t = made.instrument[row], made.step[row]
        e = int(np.searchsorted(panel.time_ns, made.label_end_ns[row]))
        assert np.count_nonzero(~np.isnan(bid[t + 1 : e + 1, i])) == horizon
        slip = 0.1 * (0.0001, 0.01)[i]
        middle, last = (bid[t, i] + ask[t, i]) / 2, (bid[e, i] + ask[e, i]) / 2
        commission = 15e-6 * (middle + last)
        bought = bid[e, i] - ask[t, i] - 2 * slip - commission
        sold = bid[t, i] - ask[e, i] - 2 * slip - commission
        assert made.net_long[row] * middle == pytest.approx(bought, abs=1e-9)
        assert made.net_short[row] * middle == pytest.approx(sold, abs=1e-9)
        if edge >= 1.0:
            assert made.label[row] != LONG or bought > 0
            assert made.label[row] != SHORT or sold > 0
            assert bought <= 0 or sold <= 0
        if made.label[row] == FLAT and edge <= 1.0:
            assert bought <= 1e-9 and sold <= 1e-9


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 6))
def test_prices_after_a_fold_begins_never_touch_its_training_rows(seed: int, horizon: int) -> None:
    panel = random_panel(seed, 120)
    end = int(panel.time_ns[-1])
    before = make_labels(panel, COSTS, LabelParameters(horizon), end)
    for fold in WalkForward(3, 60, 2).folds_of(before.time_ns, before.label_end_ns):
        values = panel.values.copy()
        values[panel.time_ns >= before.time_ns[fold.test].min()] *= 1.5
        changed = Panel(panel.instruments, panel.time_ns, panel.arrival_ns, values, panel.kind)
        after = make_labels(changed, COSTS, LabelParameters(horizon), end)
        assert np.array_equal(before.label[fold.train], after.label[fold.train])
        assert np.array_equal(before.net_long[fold.train], after.net_long[fold.train])


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 6))
def test_average_uniqueness_equals_its_definition(seed: int, horizon: int) -> None:
    generator = np.random.default_rng(seed)
    instrument = np.repeat([0, 1], 15)
    bar = np.concatenate([np.sort(generator.choice(40, 15, replace=False)) for _ in range(2)]).astype(np.int64)
    weights = average_uniqueness(instrument, bar, horizon)
    for row in range(30):
        mates = bar[instrument == instrument[row]]
        spans = [
            sum(start < s <= start + horizon for start in mates) for s in range(bar[row] + 1, bar[row] + horizon + 1)
        ]
        assert weights[row] == pytest.approx(np.mean([1 / count for count in spans]))


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 12))
def test_windows_hold_the_instruments_own_last_rows(seed: int, lookback: int) -> None:
    generator = np.random.default_rng(seed)
    time_ns = np.sort(generator.integers(0, 60, size=80)).astype(np.int64)
    instrument = generator.integers(0, 3, size=80)
    keys = sorted({(int(t), int(i)) for t, i in zip(time_ns, instrument, strict=True)})
    time_ns, instrument = np.array([k[0] for k in keys]), np.array([k[1] for k in keys])
    count = len(keys)
    features = np.arange(count, dtype=np.float32)[:, None]
    made = Dataset(
        ("A", "B", "C"), instrument, time_ns, time_ns, time_ns, np.zeros(count, np.int8), features, ("f",), {}, 10**6, 1
    )
    rows = generator.integers(0, count, size=20)
    windows = made.windows(rows, lookback)
    for window, row in zip(windows, rows, strict=True):
        own = [r for r in range(row + 1) if instrument[r] == instrument[row]][-lookback:]
        expected = [float("nan")] * (lookback - len(own)) + [float(r) for r in own]
        assert np.array_equal(window[:, 0], np.array(expected, np.float32), equal_nan=True)


@settings(max_examples=25)
@given(SEEDS, st.floats(0.2, 4.0))
def test_calibration_never_hurts_what_it_was_fitted_on(seed: int, sharpness: float) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.dirichlet([3, 1, 3], size=600)
    labels = (truth.cumsum(axis=1) < generator.random((600, 1))).sum(axis=1).clip(0, 2).astype(np.int8)
    said = truth**sharpness / (truth**sharpness).sum(axis=1, keepdims=True)
    frequencies = np.tile([0.43, 0.14, 0.43], (600, 1))
    slopes = fit_slopes(said, frequencies, labels, np.ones(600))
    corrected = slopes.around(frequencies[0]).apply(said)

    def loss(values: np.ndarray) -> float:
        return float(-np.log(np.maximum(values[np.arange(600), labels], 1e-12)).mean())

    assert 0.0 <= slopes.direction <= 1.0 and 0.0 <= slopes.flatness <= 1.0
    assert corrected.sum(axis=1) == pytest.approx(1.0)
    assert loss(corrected) <= loss(said) + 1e-6
    if sharpness > 2.0:
        assert slopes.direction < 0.8  # too sure of itself: drawn back
    upside_down = fit_slopes(said[:, ::-1].copy(), frequencies, labels, np.ones(600))
    assert upside_down.direction <= 0.2  # a wrong model is silenced, not inverted


@settings(max_examples=25)
@given(SEEDS, st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_slopes_one_change_nothing_and_zero_answer_the_frequencies(
    seed: int, direction: float, flatness: float
) -> None:
    generator = np.random.default_rng(seed)
    said, base = generator.dirichlet([3, 1, 3], size=50), generator.dirichlet([3, 1, 3])
    assert Slopes().around(base).apply(said) == pytest.approx(said, abs=1e-6)
    assert Slopes(0.0, 0.0).around(base).apply(said) == pytest.approx(np.tile(base, (50, 1)), abs=1e-9)
    scaled = Slopes(direction, flatness).around(base).apply(said)
    odds = np.log(scaled[:, LONG] / scaled[:, SHORT]) - np.log(base[LONG] / base[SHORT])
    before = np.log(said[:, LONG] / said[:, SHORT]) - np.log(base[LONG] / base[SHORT])
    assert odds == pytest.approx(direction * before, abs=1e-4)


@settings(max_examples=25)
@given(SEEDS)
def test_the_pool_is_on_the_simplex_and_no_worse_than_equal_weights(seed: int) -> None:
    generator = np.random.default_rng(seed)
    components = generator.dirichlet([2, 1, 2], size=(3, 400))
    labels = generator.integers(0, 3, size=400).astype(np.int8)
    weights = pool_weights(components, labels, np.ones(400))

    def loss(pool: np.ndarray) -> float:
        return float(-np.log(np.tensordot(pool, components, axes=1)[np.arange(400), labels]).mean())

    assert weights.sum() == pytest.approx(1.0) and (weights > 0).all()
    assert loss(weights) <= loss(np.full(3, 1 / 3)) + 1e-6


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 40))
def test_bootstrap_intervals_are_ordered_and_repeat(seed: int, block: int) -> None:
    values = np.random.default_rng(seed).normal(size=(60, 1))
    bootstrap = BlockBootstrap(60, block, 100, seed)
    first = bootstrap.interval(values, lambda sums: sums[..., 0])
    assert first == bootstrap.interval(values, lambda sums: sums[..., 0])
    assert first.low <= first.high
