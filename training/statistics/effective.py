"""How many independent trials a search was worth, from the returns of every trial.

Hundreds of trials of one search are variants of a few ideas. Three readings of the same correlation matrix:

- **clusters**: López de Prado & Lewis, "Detection of False Investment Strategies Using Unsupervised Learning Methods",
  Quantitative Finance 19 (2019), section 4: distance ``sqrt((1 - ρ) / 2)``, the partition with the best mean over
  standard deviation of silhouettes. Theirs starts k-means at random; here the candidates are the cuts of one
  average-linkage tree, so that the same returns give the same clusters, and a cut may leave a trial alone.
- **expected maximum**: the number of independent trials whose best would be expected as high as the best of these
  under no skill, by Gaussian multipliers on the trials' own returns (Chernozhukov, Chetverikov & Kato, Annals of
  Statistics 41, 2013). It is what deflation needs by definition.
- **eigenvalues**: participation ratio ``(Σ λ)² / Σ λ²`` of the correlation matrix, its squares freed of sampling noise
  (Bun, Bouchaud & Potters, Physics Reports 666, 2017, section 2): a cross-check that makes no clusters.

The number is the larger of the first two: each can be too low where the other is not (a cluster of trials correlated at
0.6 still offers more than one draw), and too few trials let luck pass.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from training.statistics.inputs import Matrix, checked_matrix
from training.statistics.sharpe import ROUNDING, expected_maximum

Labels = NDArray[np.int64]
# Chance that noise alone joins any two of all trials.
JOIN_BY_CHANCE = 0.05
# Below this mean silhouette there is no substantial structure (Kaufman & Rousseeuw, Finding Groups in Data, 1990).
NO_STRUCTURE = 0.25
MULTIPLIER_DRAWS = 2_000
CHUNK_DRAWS = 250
# Every cut of a small tree is scored; of a large one, this many per factor of e in the number of clusters.
CUTS_PER_FOLD = 24


@dataclass(frozen=True)
class EffectiveTrials:
    """The number of independent trials behind K trials, and what it rests on.

    Args:
        number: larger of ``by_clusters`` and ``by_expected_maximum``; what ``deflated_sharpe`` is given.
        clusters: int64 [K], cluster of each trial, numbered in order of first appearance.
        by_clusters: number of clusters.
        by_expected_maximum: independent trials with the same expected best under no skill.
        by_eigenvalues: participation ratio of the correlation matrix.
        silhouette: mean silhouette of the chosen partition; 0 where every trial stands alone or all are one.
        mean_correlation: mean correlation of two different trials.
        trials: K.
    """

    number: float
    clusters: Labels
    by_clusters: int
    by_expected_maximum: float
    by_eigenvalues: float
    silhouette: float
    mean_correlation: float
    trials: int


def effective_trials(matrix: Any, seed: int = 0) -> EffectiveTrials:
    """Return the effective number of trials behind returns [T, K].

    Trials whose returns are the same up to a positive factor are one. Those that never move (no trade at all) are one
    cluster and do not enter the correlations. Memory: three arrays [K, K] of 8 bytes a value.

    Args:
        matrix: float64 [T, K], returns of every trial on common times; failed and pruned trials have no column.
        seed: of the Gaussian multipliers.

    Raises:
        BadInputError: no matrix of finite returns with at least 4 rows.
    """
    returns = checked_matrix(matrix, "the matrix of trial returns", 4)
    trials = returns.shape[1]
    centred = returns - returns.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    moving = length > ROUNDING * np.abs(returns).max(axis=0) * math.sqrt(len(returns))
    clusters = np.full(trials, -1, np.int64)
    if not moving.any():
        return EffectiveTrials(1.0, np.zeros(trials, np.int64), 1, 1.0, 1.0, 0.0, 1.0, trials)
    unit: Matrix = centred[:, moving] / length[moving]
    correlation = np.clip(unit.T @ unit, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    members, silhouette = _partition(correlation, len(returns))
    clusters[moving] = members
    labels = _in_order(clusters)
    still = int(not moving.all())
    by_clusters = int(labels.max()) + 1
    by_maximum = _by_expected_maximum(unit, seed)
    count = len(correlation)
    off_diagonal = (correlation.sum() - count) / (count * (count - 1)) if count > 1 else 1.0
    return EffectiveTrials(
        number=float(min(max(by_clusters, by_maximum + still), trials)),
        clusters=labels,
        by_clusters=by_clusters,
        by_expected_maximum=by_maximum + still,
        by_eigenvalues=_participation(correlation, len(returns)) + still,
        silhouette=silhouette,
        mean_correlation=float(off_diagonal),
        trials=trials,
    )


def _by_expected_maximum(unit: Matrix, seed: int) -> float:
    """Return how many independent normals have the expected maximum of the columns' correlated ones."""
    steps, trials = unit.shape
    if trials == 1:
        return 1.0
    generator = np.random.default_rng(seed)
    total = 0.0
    for start in range(0, MULTIPLIER_DRAWS, CHUNK_DRAWS):
        draws = generator.standard_normal((min(CHUNK_DRAWS, MULTIPLIER_DRAWS - start), steps))
        total += float((draws @ unit).max(axis=1).sum())
    best = total / MULTIPLIER_DRAWS
    low, high = 1.0, float(trials)
    if best >= expected_maximum(high):
        return high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if expected_maximum(middle) < best else (low, middle)
    return 0.5 * (low + high)


def _participation(correlation: Matrix, steps: int) -> float:
    """Return ``K² / Σ ρ²`` with each off-diagonal square freed of its expectation under noise, in [1, K]."""
    trials = len(correlation)
    squares = (float((correlation**2).sum()) - trials) - trials * (trials - 1) / (steps - 1)
    # Under independence a squared correlation of T values is 1 / (T - 1) on average; the rest shrinks accordingly.
    return float(np.clip(trials**2 / (trials + max(squares, 0.0) * (steps - 1) / (steps - 2)), 1.0, trials))


def _partition(correlation: Matrix, steps: int) -> tuple[Labels, float]:
    """Return the cluster of each trial, int64 [K], and the partition's mean silhouette."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    trials = len(correlation)
    if trials == 1:
        return np.zeros(1, np.int64), 0.0
    distance = np.sqrt(np.maximum((1.0 - correlation) / 2.0, 0.0))
    tree = linkage(squareform(distance, checks=False), "average")
    pairs = trials * (trials - 1) / 2.0
    # Trials may be joined only where their correlation is more than the largest that noise shows among all pairs.
    least = min(float(ndtri(1.0 - JOIN_BY_CHANCE / (2.0 * pairs))) / math.sqrt(steps), 0.99)
    merges = int(np.searchsorted(tree[:, 2], math.sqrt((1.0 - least) / 2.0), side="right"))
    # Copies are never apart: they are joined before the first cut that is scored.
    copies = int(np.searchsorted(tree[:, 2], 1e-6, side="right"))
    chosen, silhouette = _best_cut(distance, tree, copies, merges)
    if merges == trials - 1 and silhouette < NO_STRUCTURE:
        # All hang together and no cut parts them clearly: one cluster.
        return np.zeros(trials, np.int64), 0.0
    return _labels_after(tree, chosen), silhouette


def _best_cut(distance: Matrix, tree: Matrix, copies: int, merges: int) -> tuple[int, float]:
    """Return after how many merges the silhouettes' mean over deviation is best, and their mean there.

    The sums of distances from each trial to each cluster follow the merges, so that a cut costs one look at [K, k].
    """
    trials = len(distance)
    cuts = _cuts(trials, copies, min(merges, trials - 2))
    sums = np.array(distance)  # [trial, slot]: sum of distances to the cluster in a slot
    sizes = np.ones(trials)
    slot_of = {node: node for node in range(trials)}
    member = np.arange(trials)
    alive = np.ones(trials, np.bool_)
    best_merges, best_quality, best_mean = copies, -math.inf, 0.0
    for step in range(min(merges, trials - 2) + 1):
        if step:
            first, second = slot_of.pop(int(tree[step - 1, 0])), slot_of.pop(int(tree[step - 1, 1]))
            sums[:, first] += sums[:, second]
            sizes[first] += sizes[second]
            alive[second] = False
            member[member == second] = first
            slot_of[trials + step - 1] = first
        if step not in cuts:
            continue
        mean, quality = _silhouette(sums, sizes, member, alive)
        if quality > best_quality:
            best_merges, best_quality, best_mean = step, quality, mean
    return best_merges, best_mean


def _silhouette(sums: Matrix, sizes: Matrix, member: Labels, alive: NDArray[np.bool_]) -> tuple[float, float]:
    """Return mean, and mean over standard deviation, of the silhouettes (Rousseeuw 1987); 0 for a trial alone."""
    rows = np.arange(len(member))
    slots = np.flatnonzero(alive)
    own_size = sizes[member]
    inside = sums[rows, member] / np.maximum(own_size - 1.0, 1.0)
    means = sums[:, slots] / sizes[slots]
    means[rows, np.searchsorted(slots, member)] = np.inf
    outside = means.min(axis=1)
    larger = np.maximum(inside, outside)
    values = np.where((own_size > 1.0) & (larger > 0.0), (outside - inside) / np.where(larger > 0.0, larger, 1.0), 0.0)
    mean, deviation = float(values.mean()), float(values.std())
    # Perfect silhouettes have no deviation; the floor ranks them above every imperfect partition.
    return mean, mean / max(deviation, 1e-9)


def _cuts(trials: int, copies: int, merges: int) -> set[int]:
    """Return the numbers of merges to score: all of up to 128 trials, else evenly in the logarithm of clusters."""
    if trials <= 128:
        return set(range(copies, merges + 1))
    most, least = trials - copies, trials - merges
    count = int(CUTS_PER_FOLD * math.log(most / least)) + 2
    clusters = np.unique(np.round(np.geomspace(least, most, count)).astype(np.int64))
    return {trials - int(number) for number in clusters}


def _labels_after(tree: Matrix, merges: int) -> Labels:
    """Return the cluster of each trial after the first merges of the tree, int64 [K]."""
    trials = len(tree) + 1
    groups: dict[int, list[int]] = {node: [node] for node in range(trials)}
    for step in range(merges):
        groups[trials + step] = groups.pop(int(tree[step, 0])) + groups.pop(int(tree[step, 1]))
    labels = np.empty(trials, np.int64)
    for number, members in enumerate(groups.values()):
        labels[members] = number
    return labels


def _in_order(clusters: Labels) -> Labels:
    """Return the clusters numbered in order of first appearance; int64 [K]."""
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]
