"""Combinatorial purged cross-validation: groups, purge, embargo, paths, scikit-learn, and what is refused."""

from math import comb

import numpy as np
import pytest

from core.errors import BadInputError
from training.splits import CombinatorialPurged, WalkForward, check_classes

TIMES = np.repeat(np.arange(120, dtype=np.int64) * 10, 3)


def test_six_groups_by_two_are_fifteen_splits_and_five_paths() -> None:
    cv = CombinatorialPurged(6, 2)
    folds = cv.folds_of(TIMES, TIMES + 10)
    assert len(folds) == cv.get_n_splits() == 15 and cv.path_count == 5
    assert [fold.groups for fold in folds[:3]] == [(0, 1), (0, 2), (0, 3)]
    assert all(len(fold.test) == 120 for fold in folds)
    # The book's figure 12.2: group 1 is tested by S1 to S5, group 2 by S1, S6 to S9, and so on.
    paths = cv.paths()
    assert paths[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert paths[:, 1].tolist() == [0, 5, 6, 7, 8]
    assert paths[:, 5].tolist() == [4, 8, 11, 13, 14]


def test_each_prediction_is_used_on_exactly_one_path() -> None:
    cv = CombinatorialPurged(7, 3)
    folds = cv.folds_of(TIMES, TIMES)
    marks = [np.full((len(fold.test), 2), float(fold.number)) for fold in folds]
    whole = cv.assemble(TIMES, folds, marks)
    assert whole.shape == (cv.path_count, 360, 2) and not np.isnan(whole).any()
    pairs = {(int(whole[path, row, 0]), row) for path in range(cv.path_count) for row in range(360)}
    assert len(pairs) == sum(len(fold.test) for fold in folds) == cv.path_count * 360
    assert comb(7, 3) * 3 == cv.path_count * 7
    with pytest.raises(BadInputError, match="one prediction for each test row"):
        cv.assemble(TIMES, folds, marks[1:])


def test_no_training_label_meets_a_tested_group_and_the_embargo_follows_the_last_label() -> None:
    ends = TIMES + 35
    cv = CombinatorialPurged(6, 2, embargo_steps=4)
    for fold in cv.folds_of(TIMES, ends):
        assert set(fold.train).isdisjoint(fold.test)
        for start, end in fold.windows:
            meets = (TIMES[fold.train] <= end) & (ends[fold.train] >= start)
            assert not meets.any()
    # Groups 2 and 5 are tested: group 2 is 200..390, its labels end at 425; four decision times follow.
    fold = next(f for f in cv.folds_of(TIMES, ends) if f.groups == (1, 4))
    used = set(TIMES[fold.train].tolist())
    assert used.isdisjoint(range(170, 470, 10)) and {160, 470} <= used


def test_one_long_label_purges_more_than_its_neighbours() -> None:
    ends = TIMES + 10
    ends[3 * 15] = 900
    folds = CombinatorialPurged(6, 1).folds_of(TIMES, ends)
    assert [3 * 15 in fold.train for fold in folds] == [False, False, False, False, False, True]


def test_rows_may_come_in_any_order_and_scikit_learn_takes_the_splitter() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    generator = np.random.default_rng(5)
    shuffled = generator.permutation(len(TIMES))
    cv = CombinatorialPurged(5, 2, 2)
    for sorted_fold, fold in zip(
        cv.folds_of(TIMES, TIMES + 10), cv.folds_of(TIMES[shuffled], TIMES[shuffled] + 10), strict=True
    ):
        assert np.array_equal(np.sort(shuffled[fold.train]), sorted_fold.train)
    matrix = generator.normal(size=(360, 2))
    answer = (matrix[:, 0] > 0).astype(int)
    groups = np.column_stack([TIMES, TIMES + 10])
    scores = cross_val_score(LogisticRegression(), matrix, answer, groups=groups, cv=cv)
    assert len(scores) == 10 and scores.mean() > 0.9


@pytest.mark.parametrize(("groups", "tested"), [(1, 1), (6, 6), (6, 0), (40, 20)])
def test_a_choice_that_is_none_is_refused(groups: int, tested: int) -> None:
    with pytest.raises(BadInputError, match=r"combinatorial splits need|make \d+ splits"):
        CombinatorialPurged(groups, tested)


def test_fewer_times_than_groups_and_labels_longer_than_a_group_are_refused() -> None:
    with pytest.raises(BadInputError, match="3 decision times cannot make 6 groups"):
        CombinatorialPurged(6, 2).folds_of(TIMES[:9], TIMES[:9])
    with pytest.raises(BadInputError, match="longer than a group of 20"):
        CombinatorialPurged(6, 2).folds_of(TIMES, TIMES + 250)
    with pytest.raises(BadInputError, match="groups: an array"):
        next(CombinatorialPurged().split(TIMES))
    with pytest.raises(BadInputError, match="must not be negative"):
        CombinatorialPurged(6, 2, -1)
    with pytest.raises(BadInputError, match="leaves no training row after purging"):
        CombinatorialPurged(4, 2, 39).folds_of(TIMES, TIMES + 10 * (TIMES % 20 == 0))


def test_a_class_that_never_occurs_is_refused_before_anything_is_fitted() -> None:
    folds = WalkForward(3, 60).folds_of(TIMES, TIMES + 10)
    label = np.resize(np.array([0, 1, 2], np.int8), 360)
    check_classes(label, folds, np.ones(360))
    with pytest.raises(BadInputError, match="class long never occurs among 360 labels"):
        check_classes(np.where(label == 2, 1, label).astype(np.int8), folds, np.ones(360))
    late = label.copy()
    late[:180] = np.where(late[:180] == 0, 1, late[:180])
    with pytest.raises(BadInputError, match="class short never occurs among the 177 training rows of fold 1"):
        check_classes(late, folds, np.ones(360))
