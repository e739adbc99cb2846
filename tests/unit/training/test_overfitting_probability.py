"""Combinatorially symmetric cross-validation against a plain reading of the paper, one split at a time."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from core.errors import BadInputError
from training.statistics import overfitting
from training.statistics.overfitting import probability_of_overfitting


def one_by_one(matrix: np.ndarray, blocks: int) -> list[tuple[int, float, float, float]]:
    """Return chosen column, logit, score inside and outside per split, with slices, ``rankdata`` and a loop."""
    parts = np.array_split(matrix, blocks)
    rows: list[tuple[int, float, float, float]] = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.vstack([parts[index] for index in chosen])
        outside = np.vstack([parts[index] for index in range(blocks) if index not in chosen])
        first = inside.mean(axis=0) / inside.std(axis=0, ddof=1)
        second = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        best = int(np.argmax(first))
        rank = stats.rankdata(second)[best] / (matrix.shape[1] + 1)
        rows.append((best, math.log(rank / (1 - rank)), float(first[best]), float(second[best])))
    return rows


@pytest.mark.parametrize(("steps", "trials", "blocks"), [(120, 7, 6), (131, 24, 8), (40, 2, 2)])
def test_every_split_is_that_of_the_paper(steps: int, trials: int, blocks: int) -> None:
    matrix = np.random.default_rng(steps).standard_t(4, (steps, trials)) * 0.01 + 0.001
    found = probability_of_overfitting(matrix, blocks)
    expected = one_by_one(matrix, blocks)
    assert found.selected.tolist() == [row[0] for row in expected]
    np.testing.assert_allclose(found.logits, [row[1] for row in expected], atol=1e-12)
    np.testing.assert_allclose(found.in_sample, [row[2] for row in expected], rtol=1e-9)
    np.testing.assert_allclose(found.out_of_sample, [row[3] for row in expected], rtol=1e-9)
    assert found.probability == np.mean([row[1] <= 0.0 for row in expected])
    assert found.probability_of_loss == np.mean([row[3] < 0.0 for row in expected])
    if found.slope:
        line = stats.linregress(found.in_sample, found.out_of_sample)
        assert (found.slope, found.intercept) == pytest.approx((line.slope, line.intercept))
        assert found.determination == pytest.approx(line.rvalue**2)


def test_all_splits_of_sixteen_blocks_are_there_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(1).standard_normal((160, 5))
    whole = probability_of_overfitting(matrix)
    assert len(whole.logits) == math.comb(16, 8) == 12_870
    monkeypatch.setattr(overfitting, "CHUNK_VALUES", 997)
    parts = probability_of_overfitting(matrix)
    np.testing.assert_allclose(parts.logits, whole.logits)
    assert parts.probability == whole.probability


def test_real_skill_is_no_overfitting() -> None:
    matrix = np.random.default_rng(2).standard_normal((400, 30)) * 0.01
    matrix[:, 11] += 0.005
    found = probability_of_overfitting(matrix, 10)
    assert found.probability == 0.0
    assert found.probability_of_loss == 0.0
    assert set(found.selected.tolist()) == {11}


def test_trials_that_each_win_one_half_and_lose_the_other_are_all_overfitting() -> None:
    """Each trial is lucky in its own half of the blocks and pays for it in the complement."""
    halves = list(itertools.combinations(range(6), 3))
    lucky = np.array([[1.0 if block in half else -1.0 for half in halves] for block in range(6)])
    wave = np.tile([0.1, -0.1], 10)[:, None]
    matrix = np.vstack([lucky[block] + wave for block in range(6)])
    found = probability_of_overfitting(matrix, 6)
    assert found.probability == 1.0
    assert found.probability_of_loss == 1.0


def test_copies_share_their_rank() -> None:
    """Ten copies of one trial are level in every half: the rank is the middle, which is no success."""
    matrix = np.tile(np.random.default_rng(3).standard_normal((64, 1)), (1, 10))
    found = probability_of_overfitting(matrix, 8)
    np.testing.assert_allclose(found.logits, 0.0, atol=1e-12)
    assert found.probability == 1.0


def test_trials_that_never_trade_are_ranked_at_nothing() -> None:
    generator = np.random.default_rng(4)
    matrix = np.column_stack([np.zeros(80), generator.standard_normal(80) + 2.0, generator.standard_normal(80) - 2.0])
    found = probability_of_overfitting(matrix, 4)
    assert set(found.selected.tolist()) == {1}
    assert np.isfinite(found.out_of_sample).all()
    once = np.zeros((80, 2))
    once[3, 0], once[70, 1] = 0.1, -0.1  # one trade each: in the other half neither moves
    assert np.isfinite(probability_of_overfitting(once, 4).logits).all()


def test_the_mean_can_be_what_was_searched_for() -> None:
    matrix = np.random.default_rng(5).standard_normal((60, 4))
    matrix[:, 2] = 3.0  # the best mean, of no variance
    found = probability_of_overfitting(matrix, 6, "mean")
    assert set(found.selected.tolist()) == {2}
    np.testing.assert_allclose(found.out_of_sample, 3.0)


@pytest.mark.parametrize(
    ("matrix", "blocks", "said"),
    [
        (np.zeros((100, 1)), 4, "at least 2"),
        (np.ones((100, 3)), 4, "column 0"),
        (np.zeros((100, 3)), 5, "even"),
        (np.zeros((100, 3)), 22, "even"),
        (np.zeros((30, 3)), 16, "at least 32"),
        (np.full((100, 3), np.nan), 4, "finite"),
    ],
)
def test_bad_searches_are_refused(matrix: np.ndarray, blocks: int, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        probability_of_overfitting(matrix, blocks)
    with pytest.raises(BadInputError, match="no score"):
        probability_of_overfitting(np.eye(40)[:, :3], 4, "profit")  # type: ignore[arg-type]
