"""Figures of returns nobody chose on, what the number of trials does to the winner, and the verdict in words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from serving.release.evidence import Rule, Verdict
from training.evidence.policy import GatePolicy
from training.evidence.search import SearchEvidence
from training.search.strategy.objectives import drawdown
from training.search.strategy.outcome import Estimate, Performance, Span
from training.search.strategy.parameters import StrategySearchParameters
from training.statistics.resampling import automatic_block_length, bootstrap_interval
from training.statistics.sharpe import probabilistic_sharpe

Returns = NDArray[np.float64]
Times = NDArray[np.int64]

DRAWS = 2000
_YEAR = 365.25 * 86_400_000_000_000


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
    deepest = float(drawdown(daily))
    if not daily.any():
        nothing = Estimate(0.0, 0.0, 0.0)
        return Performance(span, nothing, nothing, deepest, 0.5, tuple(trials))
    block = automatic_block_length(daily).stationary

    def mean(samples: Returns) -> Returns:
        return samples[:, :, 0].mean(axis=1) * scale

    def sharpe(samples: Returns) -> Returns:
        deviation = np.maximum(samples[:, :, 0].std(axis=1, ddof=1), 1e-12)
        return samples[:, :, 0].mean(axis=1) / deviation * np.sqrt(scale)

    ratio = bootstrap_interval(daily, sharpe, block, DRAWS, seed)
    earned = bootstrap_interval(daily, mean, block, DRAWS, seed)
    chance = probabilistic_sharpe(daily)
    return Performance(
        span,
        Estimate(ratio.value, ratio.low, ratio.high),
        Estimate(earned.value, earned.low, earned.high),
        deepest,
        min(chance.probability, chance.robust_probability),
        tuple(trials),
    )


def judge(
    given: StrategySearchParameters,
    policy: GatePolicy,
    plateau: float,
    walk_forward: Performance,
    unseen: Performance,
    search: SearchEvidence,
    gaps: Sequence[str],
) -> Verdict:
    """Judge the winner: by the gate's policy where it speaks of searches, and by what only a search has.

    Args:
        given: limits of plateau, walk-forward path and unseen span.
        policy: the gate's; a rule whose limit is null is left out.
        plateau: share of the winner's neighbours that hold.
        walk_forward: of the folds' choices on their test windows.
        unseen: of the winner on the unseen span.
        search: deflated by every trial.
        gaps: of the trial ledger.
    """
    chance = "is the probability that the true Sharpe ratio behind {:+.2f} {} is above zero"
    rules = [
        _rule("plateau", plateau, given.plateau.share, "of the winner's neighbours hold up", True),
        _rule(
            "walk_forward",
            walk_forward.probability,
            given.limits.walk_forward,
            chance.format(walk_forward.sharpe.value, "out of sample, walk-forward,"),
            True,
        ),
        _rule(
            "unseen",
            unseen.probability,
            given.limits.unseen,
            chance.format(unseen.sharpe.value, "on the unseen span"),
            True,
        ),
        _rule(
            "deflated_sharpe",
            search.deflated,
            policy.minimum_deflated_sharpe,
            f"is the probability that the winner beats the best of {search.effective:.1f} lucky trials",
            True,
        ),
        _rule(
            "superiority",
            search.superiority,
            policy.maximum_superiority_p,
            f"is the p-value of the best of {search.series} trials against never trading",
            False,
        ),
        _rule(
            "overfitting",
            search.overfitting,
            policy.maximum_overfitting,
            "is the probability that the best of one half of the days is below the median in the other",
            False,
        ),
        _rule(
            "loss_probability",
            search.loss_probability,
            policy.maximum_loss_probability,
            "is the probability that the best of one half of the days loses in the other",
            False,
        ),
    ]
    if policy.complete_ledger:
        words = "; ".join(gaps) if gaps else "every trial that was begun is on record, and none was changed"
        rules.append(Rule(rule="complete_ledger", passed=not gaps, value=float(len(gaps)), limit=0.0, words=words))
    return Verdict.of(*(rule for rule in rules if rule is not None))


def _rule(name: str, value: float | None, limit: float | None, words: str, least: bool) -> Rule | None:
    """Return a rule with a sentence that says by how much; what could not be computed fails, no limit is no rule."""
    if limit is None:
        return None
    if value is None:
        return Rule(
            rule=name, passed=False, value=None, limit=limit, words="could not be computed: too few trials moved"
        )
    passed = value >= limit if least else value <= limit
    margin = f"{abs(value - limit):.1%} {'to spare' if passed else 'short' if least else 'too much'}"
    said = f"{value:.1%} {words}; {'at least' if least else 'at most'} {limit:.1%}: {margin}"
    return Rule(rule=name, passed=passed, value=value, limit=limit, words=said)
