"""What a finished strategy search says, as one document: every figure beside the ledger row it comes from."""

from typing import Any

import msgspec

from serving.release.evidence import Verdict
from training.search.strategy.state import Generation


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval (stationary block bootstrap over days)."""

    value: float
    low: float
    high: float


class Span(msgspec.Struct, frozen=True):
    """Days from the first to the last, as the UTC times of their last bars."""

    first_ns: int
    last_ns: int
    days: int


class Performance(msgspec.Struct, frozen=True):
    """Daily returns of one parameter set, or of a walk-forward path, over a span they were not chosen on.

    Attributes:
        span: the days.
        sharpe: yearly.
        return_a_year: of the initial balance.
        drawdown: deepest, of the initial balance.
        probability: that the true Sharpe ratio is above zero (Bailey and López de Prado 2012), the smaller of the
            plain and the autocorrelation-robust one.
        trials: the ledger rows whose returns these are, in the order of the days.
    """

    span: Span
    sharpe: Estimate
    return_a_year: Estimate
    drawdown: float
    probability: float
    trials: tuple[str, ...]


class FoldChoice(msgspec.Struct, frozen=True):
    """What a fold chose on its training window (in-sample), and how that did on its test window (out-of-sample)."""

    number: int
    train: Span
    test: Span
    parameters: dict[str, float]
    trial: str
    in_sample: dict[str, float]
    out_of_sample: dict[str, float]
    candidates: int  # parameter sets its islands held


class Member(msgspec.Struct, frozen=True):
    """A parameter set of the hall of fame: chosen on the final training window, validated once on the unseen span."""

    parameters: dict[str, float]
    trial: str
    in_sample: dict[str, float]
    plateau_share: float | None  # None: not looked at, a better one held up
    neighbours: int
    validation: Performance | None  # None: not validated
    unseen: dict[str, float]


class Selection(msgspec.Struct, frozen=True):
    """What the number of trials does to the evidence, computed from the ledger's stored returns.

    Attributes:
        trials: rows of the study with returns; the matrix that everything here is computed from.
        lineage_trials: rows of any kind and study on the same data.
        effective_trials: independent trials behind them.
        deflated_sharpe: probability that the winner's true Sharpe ratio beats the best of as many lucky ones.
        benchmark_sharpe: yearly Sharpe ratio that luck alone would have found.
        winner_sharpe: yearly, on the same days (in-sample).
        overfitting: probability of backtest overfitting by CSCV; None where the trials are too few or all alike.
        looks: how often the unseen span of this data was looked at before this validation, by any study.
    """

    trials: int
    lineage_trials: int
    effective_trials: float
    deflated_sharpe: float
    benchmark_sharpe: float
    winner_sharpe: float
    overfitting: float | None
    looks: int


class Outcome(msgspec.Struct, frozen=True):
    """The whole result; ``digest`` is equal for equal runs, however often they were killed."""

    study: str
    rule: str
    market: str
    instruments: tuple[str, ...]
    lineage: str
    digests: dict[str, str]
    seed: int
    parameters: dict[str, Any]
    research: Span
    unseen: Span
    generations: int
    trials: int
    stopped: str
    digest: str
    folds: tuple[FoldChoice, ...]
    walk_forward: Performance
    hall_of_fame: tuple[Member, ...]
    winner: int  # place in the hall of fame
    selection: Selection
    verdict: Verdict
    words: str
    ledger: dict[str, Any]  # head of the lineage's chain when the result was written
    history: tuple[Generation, ...]
