"""What a whole search says about its winner: every trial of the data's lineage is in the sum.

The series are those of the trial ledger; a number typed by a person enters nowhere. Trials that left no series (failed,
pruned, lost) were attempts too: the effective number of those with one is scaled up by their share.
"""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.statistics.effective import effective_trials
from training.statistics.overfitting import probability_of_overfitting
from training.statistics.sharpe import deflated_sharpe, minimum_track_record, sharpe_ratios
from training.statistics.superiority import superior_predictive_ability

Array = NDArray[np.float64]
_BLOCKS = 16  # of the combinatorially symmetric cross-validation
_LEAST_STEPS = 4 * _BLOCKS
_BINS = 30  # of the histogram of logits; an even number


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Counts between edges: one edge more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class SearchEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The deflated evidence of one search. Sharpe ratios are per step; ``steps_per_year`` makes them yearly."""

    trials: int  # of the lineage, whatever became of them
    series: int  # that left a return series
    moving: int  # whose series moves at all
    steps: int
    steps_per_year: float
    effective: float  # independent trials that all of them are worth
    clusters: int
    effective_by_eigenvalues: float
    sharpe: float
    best_sharpe: float  # among all trials
    luck: float  # what the best of so many trials without skill shows on average
    deflated: float  # probability that the true ratio exceeds it, with the robust error
    deflated_published: float  # the same with the trials' own scatter in place of that of chance
    overfitting: float | None  # None: fewer than two series that move
    loss_probability: float | None
    degradation: float | None  # slope of out-of-sample on in-sample ratios
    out_of_sample_sharpe: float | None  # median over the splits, of the trial chosen in the other half
    splits: int
    superiority: float  # Hansen's consistent p-value against never trading
    reality_check: float  # White's
    block: float  # steps, of both bootstraps
    track_record: float | None  # steps needed to exceed luck with 95 %; None: never
    ratios: tuple[float, ...] = ()  # Sharpe ratio of each series, in the order of the ledger record's ``used``
    logits: Histogram | None = None  # of the chosen trial's relative rank, one per split; 0 and below is overfitting


def search_evidence(
    returns: Array, matrix: Array, trials: int, steps_per_year: float, draws: int, seed: int
) -> SearchEvidence:
    """Deflate the winner of a search by all its trials.

    Args:
        returns: float64 [T], net returns of the candidate per decision time.
        matrix: float64 [T, K], those of every trial of the lineage that has any, the candidate among them.
        trials: rows of the lineage in the ledger, K or more.
        steps_per_year: decision times of a year.
        draws: bootstrap samples.
        seed: of all draws.

    Raises:
        BadInputError: too few steps, or fewer trials than series.
    """
    steps, series = matrix.shape
    if steps < _LEAST_STEPS:
        raise BadInputError(
            f"{steps} common decision times are too few to judge a search; {_LEAST_STEPS} are the least"
        )
    if trials < series or series < 1:
        raise BadInputError(f"the ledger names {trials} trials, but {series} of them left a return series")
    sharpes = sharpe_ratios(matrix)
    groups = effective_trials(matrix, seed)
    effective = max(groups.number * trials / series, 1.0)
    # Luck is what trials *without* skill scatter: 1 / sqrt(T - 1) a ratio, whatever these did. Their own scatter, as
    # published, holds the real differences between them too: where half of a search finds a signal, the better half
    # would be deflated by its own merit (simulated: a Sharpe ratio 5.9 standard errors above zero got 51 %).
    deflated = deflated_sharpe(returns, sharpe_ratios(returns[:, None]), effective)
    published = deflated_sharpe(returns, sharpes, effective)
    moving = matrix[:, np.ptp(matrix, axis=0) > 0.0]
    superior = superior_predictive_ability(np.zeros(steps), matrix, draws, None, seed)
    overfitted = probability_of_overfitting(moving, _BLOCKS) if moving.shape[1] > 1 else None
    record = minimum_track_record(deflated.moments, deflated.benchmark)
    return SearchEvidence(
        trials=trials,
        series=series,
        moving=moving.shape[1],
        steps=steps,
        steps_per_year=steps_per_year,
        effective=effective,
        clusters=int(groups.by_clusters),
        effective_by_eigenvalues=groups.by_eigenvalues,
        sharpe=deflated.sharpe,
        best_sharpe=float(sharpes.max()),
        luck=deflated.benchmark,
        # Never read the larger one alone: the error of independent returns is too small where they are not.
        deflated=min(deflated.probability, deflated.robust_probability),
        deflated_published=min(published.probability, published.robust_probability),
        overfitting=overfitted.probability if overfitted else None,
        loss_probability=overfitted.probability_of_loss if overfitted else None,
        degradation=overfitted.slope if overfitted else None,
        out_of_sample_sharpe=float(np.median(overfitted.out_of_sample)) if overfitted else None,
        splits=len(overfitted.logits) if overfitted else 0,
        superiority=superior.consistent,
        reality_check=superior.reality_check,
        block=superior.block,
        track_record=record if math.isfinite(record) else None,
        ratios=tuple(float(ratio) for ratio in sharpes),
        logits=_histogram(overfitted.logits) if overfitted else None,
    )


def _histogram(values: Array) -> Histogram:
    """Count values in equal bins of which one edge is 0, so that no bin holds both sides of it."""
    reach = max(float(np.abs(values).max()), 1e-9) * (1.0 + 1e-12)
    edges = np.linspace(-reach, reach, _BINS + 1)
    counts, _ = np.histogram(values, edges)
    # A logit of exactly 0 is overfitting by definition: it belongs to the left.
    zeros = int((values == 0.0).sum())
    counts[_BINS // 2] -= zeros
    counts[_BINS // 2 - 1] += zeros
    return Histogram(edges=tuple(map(float, edges)), counts=tuple(map(int, counts)))
