"""Figures of returns nobody chose on, what the number of trials does to the winner, and the verdict in words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from serving.release.evidence import Rule, Verdict
from training.search.strategy.outcome import Estimate, Performance, Selection, Span
from training.search.strategy.parameters import StrategySearchParameters
from training.statistics.effective import effective_trials
from training.statistics.overfitting import probability_of_overfitting
from training.statistics.resampling import automatic_block_length, bootstrap_interval
from training.statistics.sharpe import deflated_sharpe, probabilistic_sharpe, sharpe_ratios

Returns = NDArray[np.float64]
Times = NDArray[np.int64]

_DRAWS = 2000
_YEAR = 365.25 * 86_400_000_000_000
_LEAST_TRIALS = 10  # for a probability of overfitting: the rank of one among fewer says little


def days_a_year(times_ns: Times) -> float:
    """Return how many of these days there are in a year of 365.25 calendar days."""
    return (len(times_ns) - 1) * _YEAR / float(times_ns[-1] - times_ns[0])


def performance(times_ns: Times, daily: Returns, trials: Sequence[str], seed: int) -> Performance:
    """Return the figures of daily returns [D] with 95 % intervals.

    Intervals are percentiles of a stationary bootstrap over days with an automatic block length (Politis and Romano
    1994; Politis and White 2004, corrected 2009).
    """
    scale = days_a_year(times_ns)
    span = Span(int(times_ns[0]), int(times_ns[-1]), len(times_ns))
    path = np.cumsum(daily)
    drawdown = float((np.maximum(np.maximum.accumulate(path), 0.0) - path).max())
    if not daily.any():
        nothing = Estimate(0.0, 0.0, 0.0)
        return Performance(span, nothing, nothing, drawdown, 0.5, tuple(trials))
    block = automatic_block_length(daily).stationary

    def mean(samples: Returns) -> Returns:
        return samples[:, :, 0].mean(axis=1) * scale

    def sharpe(samples: Returns) -> Returns:
        deviation = np.maximum(samples[:, :, 0].std(axis=1, ddof=1), 1e-12)
        return samples[:, :, 0].mean(axis=1) / deviation * np.sqrt(scale)

    ratio = bootstrap_interval(daily, sharpe, block, _DRAWS, seed)
    earned = bootstrap_interval(daily, mean, block, _DRAWS, seed)
    chance = probabilistic_sharpe(daily)
    return Performance(
        span,
        Estimate(ratio.value, ratio.low, ratio.high),
        Estimate(earned.value, earned.low, earned.high),
        drawdown,
        min(chance.probability, chance.robust_probability),
        tuple(trials),
    )


def selection(times_ns: Times, matrix: Returns, winner: int, seed: int, lineage_trials: int, looks: int) -> Selection:
    """Return what is left of the winner after the search.

    Args:
        times_ns: the days of the matrix, [D].
        matrix: stored daily returns of every trial of the study, [D, K].
        winner: its column.
        seed: of the clustering.
        lineage_trials: rows of the ledger on this data.
        looks: earlier looks at the unseen span.
    """
    scale = np.sqrt(days_a_year(times_ns))
    effective = effective_trials(matrix, seed)
    number = max(effective.number, 1.0)
    deflated = deflated_sharpe(matrix[:, winner], sharpe_ratios(matrix), number)
    return Selection(
        matrix.shape[1],
        lineage_trials,
        number,
        min(deflated.probability, deflated.robust_probability),
        deflated.benchmark * scale,
        deflated.sharpe * scale,
        _overfitting(matrix),
        looks,
    )


def _overfitting(matrix: Returns) -> float | None:
    """Return the probability of overfitting over trials that differ; None where fewer than ten do."""
    moving = matrix[:, matrix.any(axis=0)]
    different = np.unique(moving, axis=1) if moving.size else moving
    if different.shape[1] < _LEAST_TRIALS:
        return None
    try:
        return probability_of_overfitting(different).probability
    except BadInputError:  # days too few for its blocks
        return None


def judge(
    given: StrategySearchParameters,
    share: float,
    walk_forward: Performance,
    chosen: Selection,
    unseen: Performance | None,
) -> Verdict:
    """Judge the winner: plateau, search-aware deflation, overfitting, walk-forward, unseen span."""
    limits = given.limits
    rules = [
        _rule("plateau", share, given.plateau.share, "of the winner's neighbours hold up", True),
        _rule(
            "deflated_sharpe",
            chosen.deflated_sharpe,
            limits.deflated_sharpe,
            f"is the probability that the winner beats the best of {chosen.effective_trials:.1f} lucky trials",
            True,
        ),
        _rule(
            "overfitting",
            chosen.overfitting,
            limits.overfitting,
            f"is the probability that choosing among these {chosen.trials} trials overfits",
            False,
        ),
        _rule(
            "walk_forward",
            walk_forward.probability,
            limits.walk_forward,
            f"is the probability that the walk-forward Sharpe ratio of {walk_forward.sharpe.value:+.2f} is above zero",
            True,
        ),
    ]
    if unseen is not None:
        words = (
            f"is the probability that the Sharpe ratio of {unseen.sharpe.value:+.2f} on the unseen span is above zero"
        )
        rules.append(_rule("unseen", unseen.probability, limits.unseen, words, True))
    return Verdict.of(*rules)


def _rule(name: str, value: float | None, limit: float, words: str, least: bool) -> Rule:
    """Return a rule with a sentence that says by how much; what could not be computed fails."""
    if value is None:
        return Rule(
            rule=name, passed=False, value=None, limit=limit, words="could not be computed: too few trials or days"
        )
    passed = value >= limit if least else value <= limit
    gap = abs(value - limit)
    side = "at least" if least else "at most"
    margin = f"{gap:.1%} {'to spare' if passed else 'short' if least else 'too much'}"
    return Rule(
        rule=name, passed=passed, value=value, limit=limit, words=f"{value:.1%} {words}; {side} {limit:.1%}: {margin}"
    )
