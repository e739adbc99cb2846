"""The effective number of trials on searches whose structure is known, and against other libraries' silhouettes."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_samples

from core.errors import BadInputError
from training.statistics import effective
from training.statistics.effective import effective_trials
from training.statistics.sharpe import expected_maximum


def search(ideas: int, variants: int, correlation: float, steps: int = 1500, seed: int = 0) -> np.ndarray:
    """Return returns [T, ideas * variants] whose variants of one idea are correlated, ideas being independent."""
    generator = np.random.default_rng(seed)
    common = np.repeat(generator.standard_normal((steps, ideas)), variants, axis=1)
    own = generator.standard_normal((steps, ideas * variants))
    return 0.01 * (np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own)


@pytest.mark.parametrize(("ideas", "variants", "correlation"), [(5, 20, 0.9), (12, 8, 0.6), (3, 40, 0.4)])
def test_ideas_are_found_whatever_the_order(ideas: int, variants: int, correlation: float) -> None:
    matrix = search(ideas, variants, correlation)
    order = np.random.default_rng(1).permutation(matrix.shape[1])
    found, shuffled = effective_trials(matrix), effective_trials(matrix[:, order])
    assert found.clusters.tolist() == np.repeat(np.arange(ideas), variants).tolist()
    assert found.by_clusters == ideas
    assert adjusted_rand_score(found.clusters[order], shuffled.clusters) == 1.0
    assert ideas <= found.number <= matrix.shape[1]
    assert shuffled.number == pytest.approx(found.number, rel=0.1)


def test_the_silhouette_is_that_of_scikit_learn() -> None:
    matrix = search(6, 7, 0.7, 600)
    found = effective_trials(matrix)
    distance = np.sqrt(np.maximum((1.0 - np.corrcoef(matrix.T)) / 2.0, 0.0))
    np.fill_diagonal(distance, 0.0)
    expected = silhouette_samples(distance, found.clusters, metric="precomputed")
    assert found.silhouette == pytest.approx(expected.mean())


def test_the_chosen_cut_has_the_best_quality_of_all() -> None:
    """Every cut of the same tree, scored by scikit-learn: none beats the one chosen."""
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    matrix = search(4, 6, 0.8, 400)
    distance = np.sqrt(np.maximum((1.0 - np.corrcoef(matrix.T)) / 2.0, 0.0))
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    quality = {}
    for clusters in range(2, matrix.shape[1]):
        values = silhouette_samples(distance, cut_tree(tree, clusters)[:, 0], metric="precomputed")
        quality[clusters] = values.mean() / values.std()
    assert effective_trials(matrix).by_clusters == max(quality, key=lambda clusters: quality[clusters]) == 4


def test_independent_trials_all_count() -> None:
    matrix = np.random.default_rng(2).standard_t(4, (1000, 150)) * 0.01
    found = effective_trials(matrix)
    assert found.number >= 0.95 * 150
    assert found.by_eigenvalues >= 0.9 * 150
    assert found.by_expected_maximum >= 0.8 * 150


def test_copies_are_one_trial() -> None:
    series = np.random.default_rng(3).standard_normal((300, 1))
    found = effective_trials(np.hstack([series, series * 3.0, series * 0.2]))
    assert found.by_clusters == 1
    assert found.number == pytest.approx(1.0, abs=0.2)
    pairs = effective_trials(np.repeat(np.random.default_rng(4).standard_normal((500, 20)), 2, axis=1))
    assert pairs.by_clusters == 20
    assert pairs.clusters.tolist() == np.repeat(np.arange(20), 2).tolist()


def test_one_loose_family_is_one_cluster_but_more_than_one_trial() -> None:
    found = effective_trials(search(1, 80, 0.5))
    assert found.by_clusters == 1
    assert found.number == found.by_expected_maximum
    # The best of equally correlated normals lies sqrt(1 - ρ) as far out as the best of independent ones.
    assert expected_maximum(found.number) == pytest.approx(np.sqrt(0.5) * expected_maximum(80.0), rel=0.06)


def test_opposite_trials_are_two() -> None:
    series = np.random.default_rng(5).standard_normal((400, 1))
    assert effective_trials(np.hstack([series, -series])).number == 2.0


def test_trials_that_never_trade_are_one_more() -> None:
    matrix = search(4, 10, 0.95)
    found = effective_trials(np.hstack([np.zeros((len(matrix), 30)), matrix]))
    assert found.by_clusters == 5
    assert len(set(found.clusters[:30].tolist())) == 1
    assert effective_trials(np.zeros((10, 3))).number == 1.0
    assert effective_trials(np.random.default_rng(6).standard_normal((10, 1))).number == 1.0


def test_a_coarser_choice_of_cuts_finds_the_same_ideas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 128 trials only some cuts are scored; the ideas are still there, and the same call gives the same bytes."""
    matrix = search(9, 20, 0.7, 600)
    found = effective_trials(matrix)
    assert found.by_clusters == 9
    again = effective_trials(matrix)
    assert (again.number, again.clusters.tobytes()) == (found.number, found.clusters.tobytes())
    monkeypatch.setattr(effective, "CUTS_PER_FOLD", 1000)
    assert effective_trials(matrix).clusters.tolist() == found.clusters.tolist()


def test_short_or_broken_series_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least 4"):
        effective_trials(np.zeros((3, 5)))
    with pytest.raises(BadInputError, match="finite"):
        effective_trials(np.full((30, 5), np.inf))
