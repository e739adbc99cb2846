"""Walk-forward splits: purge, embargo, scikit-learn, and that a broken purge would be noticed."""

import numpy as np
import pytest

from core.errors import BadInputError
from training import splits
from training.splits import WalkForward, embargo, last_window, validation_tail, walk_forward

TIMES = np.repeat(np.arange(100, dtype=np.int64) * 10, 3)


def leaks(folds: list[splits.Split], time_ns: np.ndarray, label_end_ns: np.ndarray) -> int:
    """Count training rows whose label uses information of their fold's test window."""
    count = 0
    for fold in folds:
        start, end = time_ns[fold.test].min(), label_end_ns[fold.test].max()
        count += int(((label_end_ns[fold.train] >= start) & (time_ns[fold.train] <= end)).sum())
    return count


def test_no_training_label_reaches_into_its_test_window() -> None:
    ends = TIMES + 40
    assert leaks(WalkForward(4, 40).folds_of(TIMES, ends), TIMES, ends) == 0


def test_a_broken_purge_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = TIMES + 40
    monkeypatch.setattr(walk_forward, "purge", lambda time_ns, label_end_ns, window: np.ones(len(time_ns), bool))
    assert leaks(WalkForward(4, 40).folds_of(TIMES, ends), TIMES, ends) > 0


def test_a_purge_of_fixed_length_would_miss_a_label_over_a_gap() -> None:
    ends = TIMES + 10
    ends[60 * 3 - 12] = 900  # one label that waits long for its end
    folds = WalkForward(4, 40).folds_of(TIMES, ends)
    assert leaks(folds, TIMES, ends) == 0
    assert not any(60 * 3 - 12 in fold.train for fold in folds if fold.test_window[0] <= 900)


def test_all_instruments_of_one_time_are_on_one_side() -> None:
    for fold in WalkForward(4, 40).folds_of(TIMES, TIMES + 10):
        assert not set(TIMES[fold.train]) & set(TIMES[fold.test])
        assert len(fold.test) % 3 == 0


def test_rolling_windows_have_a_length_and_anchored_ones_a_start() -> None:
    rolling = WalkForward(3, 40).folds_of(TIMES, TIMES)
    anchored = WalkForward(3, 40, scheme="anchored").folds_of(TIMES, TIMES)
    assert {len(fold.train) for fold in rolling} == {120}
    assert [len(fold.train) for fold in anchored] == [120, 180, 240]
    assert np.array_equal(np.concatenate([fold.test for fold in rolling]), np.arange(120, 300))


def test_the_embargo_leaves_out_what_follows_an_earlier_test_window() -> None:
    folds = WalkForward(3, 40, embargo_steps=5).folds_of(TIMES, TIMES)
    assert np.array_equal(np.unique(TIMES[folds[0].test])[[0, -1]], [400, 590])
    used = set(TIMES[folds[2].train])
    assert used.isdisjoint({600, 610, 620, 630, 640})
    assert {590, 650} <= used
    assert embargo(TIMES, np.unique(TIMES), [(0, 990)], 5).all()


def test_scikit_learn_takes_the_splitter() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    generator = np.random.default_rng(3)
    matrix = generator.normal(size=(300, 2))
    labels = (matrix[:, 0] > 0).astype(int)
    groups = np.column_stack([TIMES, TIMES + 10])
    scores = cross_val_score(LogisticRegression(), matrix, labels, groups=groups, cv=WalkForward(4, 40, 2))
    assert len(scores) == 4 and scores.mean() > 0.9


def test_too_short_a_history_and_missing_groups_are_named() -> None:
    with pytest.raises(BadInputError, match="100 decision times cannot hold"):
        WalkForward(5, 99).folds_of(TIMES, TIMES)
    with pytest.raises(BadInputError, match="groups"):
        next(WalkForward(2, 10).split(TIMES))
    ends = TIMES.copy()
    ends[:30] = 10_000
    with pytest.raises(BadInputError, match="no training row left"):
        WalkForward(2, 10).folds_of(TIMES, ends)
    with pytest.raises(BadInputError, match="longer than a test window of 45"):
        WalkForward(2, 10).folds_of(TIMES, TIMES + 10_000)


def test_the_validation_tail_is_purged_and_last() -> None:
    ends = TIMES + 30
    fit, tail = validation_tail(TIMES, ends, 0.2)
    assert TIMES[tail].min() == 800
    assert ends[fit].max() < 800
    with pytest.raises(BadInputError, match="too few"):
        validation_tail(TIMES[:3], ends[:3], 0.2)


def test_the_final_window_holds_the_last_decision_times() -> None:
    assert np.array_equal(np.unique(TIMES[last_window(TIMES, 10)]), np.arange(90, 100) * 10)
