"""The traffic policy of a strategy: who answers, who is scored beside it, and how a decision gets its arm.

A policy is one value in one file (``serving.store.Pointer``), replaced whole; its revision counts up with every change
and stands in every prediction. The arm of a decision is a pure function of policy, strategy, instrument and time, so
that it can be computed again from the log.
"""

from enum import StrEnum

import msgspec


class Arm(StrEnum):
    """Who made a prediction, as ``Prediction.arm`` and ``Alternative.arm`` say it."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    BLEND = "blend"  # a mixture of both


class Mode(StrEnum):
    """How decisions are given to the two versions."""

    CHAMPION = "champion"  # the champion answers, nobody is scored beside it
    SHADOW = "shadow"  # the champion answers, the challenger is scored
    CANARY = "canary"  # a share of the decisions is the challenger's; the other version is scored
    AB = "ab"  # the same, as an experiment of fixed share: never moved by a release
    BLEND = "blend"  # one mixture of both answers everything; both are scored


class Weighting(StrEnum):
    """What the challenger's weight in a blend follows."""

    FIXED = "fixed"
    CONFIDENCE = "confidence"  # per decision: the surer of the two (lower entropy) weighs more
    PERFORMANCE = "performance"  # exponential weights of recent net returns, written into ``Blend.weight``


class Blend(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gradual hand-over: the challenger's weight goes in a straight line from ``first`` to ``weight``.

    ``start_ns`` and ``end_ns`` are UTC nanoseconds of market time; before and after, the weight stands still.
    """

    weighting: Weighting = Weighting.FIXED
    first: float = 0.0
    weight: float = 0.5
    start_ns: int = 0
    end_ns: int = 0


class Traffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of a policy that assigns decisions.

    ``share`` is the challenger's part of the (instrument, time block) cells in canary and A/B; ``salt`` is the name of
    the release or experiment, so that two of them do not hit the same cells.
    """

    mode: Mode = Mode.CHAMPION
    share: float = 0.0
    block_seconds: int = 3600
    salt: str = ""
    blend: Blend | None = None
