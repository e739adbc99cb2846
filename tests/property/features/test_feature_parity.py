"""Law 1: batch, chunked batch, live and restored live give the same bits, over random holes and random cuts."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import Panel
from features.batch import compute
from features.bench import made_panel
from features.live import LiveFeatures
from features.sets import feature_set
from features.state import HISTORY_ROWS, KernelState

NAMES = ("EUR_GBP", "EUR_USD", "GBP_USD")
STEPS = 320

seeds = st.integers(0, 2**32 - 1)
cuts = st.lists(st.integers(1, STEPS - 1), unique=True, max_size=6).map(sorted)
sets = st.sampled_from(["fixings", "bars"])


def holed(seed: int, share: float = 0.1) -> Panel:
    panel = made_panel(STEPS, NAMES, seed)
    panel.values[np.random.default_rng(seed).random((STEPS, len(NAMES))) < share] = np.nan
    return panel


def part(panel: Panel, low: int, high: int) -> Panel:
    return Panel(
        panel.instruments, panel.time_ns[low:high], panel.arrival_ns[low:high], panel.values[low:high], panel.kind
    )


def assert_same_bits(left: np.ndarray, right: np.ndarray) -> None:
    """Equal to the bit; all NaN count as one (their payload is not part of the value)."""
    kind = {8: np.int64, 4: np.int32}[left.dtype.itemsize]
    left, right = (np.ascontiguousarray(np.where(np.isnan(item), np.nan, item), left.dtype) for item in (left, right))
    np.testing.assert_array_equal(left.view(kind), right.view(kind))


def assert_same_state(left: KernelState, right: KernelState) -> None:
    assert_same_bits(left.floats, right.floats)
    assert_same_bits(left.history, right.history)
    np.testing.assert_array_equal(left.counters, right.counters)
    assert left.time_ns == right.time_ns


@settings(max_examples=25)
@given(seeds, cuts, sets)
def test_chunks_give_the_bits_of_the_whole(seed: int, where: list[int], name: str) -> None:
    panel, definition = holed(seed), feature_set(name)
    whole, end = compute(panel, definition)
    state, pieces = None, []
    edges = [0, *where, STEPS]
    for low, high in pairwise(edges):
        features, state = compute(part(panel, low, high), definition, state)
        pieces.append(features)
    assert_same_bits(np.concatenate(pieces), whole)
    assert state is not None
    assert_same_state(state, end)


@settings(max_examples=15)
@given(seeds, cuts, sets, st.integers(1, HISTORY_ROWS))
def test_live_with_restarts_gives_the_bits_of_batch(
    tmp_path: Path, seed: int, restarts: list[int], name: str, window: int
) -> None:
    panel, definition = holed(seed), feature_set(name)
    whole, end = compute(panel, definition)
    live = LiveFeatures(definition, NAMES, window)
    for step in range(STEPS):
        if step in restarts:
            live.save(tmp_path / "state.npz")
            live = LiveFeatures.restore(tmp_path / "state.npz", window)
        assert_same_bits(live.update(int(panel.time_ns[step]), panel.values[step]), whole[step])
        np.testing.assert_array_equal(live.present, ~np.isnan(panel.values[step, :, 3]))
    assert_same_bits(live.windows(), end.history[:, HISTORY_ROWS - window :])


@settings(max_examples=15)
@given(seeds, st.integers(1, STEPS - 1), sets)
def test_batch_state_continues_live(tmp_path: Path, seed: int, cut: int, name: str) -> None:
    panel, definition = holed(seed), feature_set(name)
    whole, _ = compute(panel, definition)
    _, state = compute(part(panel, 0, cut), definition)
    state.save(tmp_path / "state.npz")
    live = LiveFeatures.restore(tmp_path / "state.npz", 8, definition, NAMES)
    for step in range(cut, STEPS):
        assert_same_bits(live.update(int(panel.time_ns[step]), panel.values[step]), whole[step])


@settings(max_examples=15)
@given(seeds, sets)
def test_window_is_the_last_own_rows(seed: int, name: str) -> None:
    panel, definition = holed(seed, 0.4), feature_set(name)
    whole, state = compute(panel, definition)
    for index in range(len(NAMES)):
        rows = np.flatnonzero(~np.isnan(panel.values[:, index, 3]))[-HISTORY_ROWS:]
        assert_same_bits(state.history[index, HISTORY_ROWS - len(rows) :], whole[rows, index].astype(np.float32))


@settings(max_examples=25)
@given(seeds, seeds, st.integers(1, STEPS - 1), sets)
def test_the_future_never_changes_the_past(seed: int, other: int, cut: int, name: str) -> None:
    panel, definition = holed(seed), feature_set(name)
    changed = panel.values.copy()
    changed[cut:] = holed(other, 0.5).values[cut:]
    later = Panel(panel.instruments, panel.time_ns, panel.arrival_ns, changed, panel.kind)
    before, after = compute(panel, definition)[0], compute(later, definition)[0]
    assert_same_bits(before[:cut], after[:cut])


@settings(max_examples=10)
@given(seeds, sets)
def test_steps_without_any_bar_change_nothing(seed: int, name: str) -> None:
    panel, definition = holed(seed), feature_set(name)
    kept = np.random.default_rng(seed).random(STEPS) < 0.7
    emptied = panel.values.copy()
    emptied[~kept] = np.nan
    with_gaps = Panel(panel.instruments, panel.time_ns, panel.arrival_ns, emptied, panel.kind)
    without = Panel(panel.instruments, panel.time_ns[kept], panel.arrival_ns[kept], panel.values[kept], panel.kind)
    full, short = compute(with_gaps, definition)[0], compute(without, definition)[0]
    assert_same_bits(full[kept], short)
    assert np.isnan(full[~kept]).all()


@settings(max_examples=10)
@given(seeds)
def test_own_features_do_not_depend_on_company(seed: int) -> None:
    """Only cross-currency columns may differ when the instrument is computed alone."""
    panel, definition = holed(seed), feature_set("bars")
    alone = Panel(NAMES[1:2], panel.time_ns, panel.arrival_ns[:, 1:2], panel.values[:, 1:2], panel.kind)
    own = [
        position
        for position, column in enumerate(definition.columns)
        if "strength_" not in column.replace("strength_index", "") and "dispersion" not in column
    ]
    assert len(definition.columns) - len(own) == 12
    together, single = compute(panel, definition)[0][:, 1], compute(alone, definition)[0][:, 0]
    assert_same_bits(together[:, own], single[:, own])
