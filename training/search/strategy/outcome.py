"""What a finished strategy search says, as one document: every figure beside the ledger row it comes from."""

from typing import Any

import msgspec

from serving.release.evidence import Verdict
from training.evidence.search import SearchEvidence
from training.search.strategy.state import Generation
from training.trials import Head


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
        return_a_year: mean, not compounded.
        drawdown: deepest, share of the highest equity before it.
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


class Ledger(msgspec.Struct, frozen=True):
    """What the trial ledger held of this data when the result was written; evidence is computed from its rows.

    Attributes:
        trials: rows of the lineage, of any kind and study.
        by_status: how many of each outcome.
        used: rows whose returns entered the evidence.
        gaps: what is missing or changed; empty when the ledger is whole.
        rows_digest: over the identities and series of all rows.
        head: end of the hash chain, to be verified against later.
        looks: studies that had looked at the unseen span before this one.
    """

    trials: int
    by_status: dict[str, int]
    used: int
    gaps: tuple[str, ...]
    rows_digest: str
    head: Head
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
    evidence: SearchEvidence  # of the winner's returns over the test windows, deflated by every trial of the data
    verdict: Verdict
    words: str
    ledger: Ledger
    history: tuple[Generation, ...]
