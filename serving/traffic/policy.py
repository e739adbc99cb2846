"""The traffic policy of a strategy: who answers, who is scored beside it, and how a decision gets its arm.

A policy is one value in one file (``serving.store.Pointer``), replaced whole; its revision counts up with every change
and stands in every prediction. The arm of a decision is a pure function of policy, strategy, instrument and time, so
that it can be computed again from the log.
"""

from enum import StrEnum

import msgspec

from core.errors import RefusedError


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

    def check(self) -> None:
        """Refuse weights that are no shares and a ramp that ends before it starts.

        Raises:
            RefusedError: naming the value.
        """
        for name, value in (("first", self.first), ("weight", self.weight)):
            if not 0.0 <= value <= 1.0:
                raise RefusedError(f"traffic policy: blend.{name} is {value:g}, it must lie between 0 and 1")
        if self.end_ns < self.start_ns:
            raise RefusedError("traffic policy: the blend's ramp ends before it starts")

    def weight_at(self, time_ns: int) -> float:
        """Return the challenger's weight at a market time, in [0, 1]."""
        if time_ns >= self.end_ns:
            return self.weight
        if time_ns <= self.start_ns:
            return self.first
        return self.first + (self.weight - self.first) * ((time_ns - self.start_ns) / (self.end_ns - self.start_ns))


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

    def check(self, *, challenger: bool) -> None:
        """Refuse a policy that cannot be carried out, or that has a part nobody reads.

        Args:
            challenger: whether a second version is named.

        Raises:
            RefusedError: naming what does not fit.
        """
        if not 0.0 <= self.share <= 1.0:
            raise RefusedError(f"traffic policy: the share is {self.share:g}, it must lie between 0 and 1")
        if (self.mode is Mode.CHAMPION) == challenger:
            words = "scores no challenger, one is named" if challenger else "needs a challenger, none is named"
            raise RefusedError(f"traffic policy: mode {self.mode} {words}")
        if self.share and self.mode not in (Mode.CANARY, Mode.AB):
            raise RefusedError(f"traffic policy: mode {self.mode} takes no share, {self.share:g} is given")
        if self.block_seconds < 1:
            raise RefusedError(f"traffic policy: a block of {self.block_seconds} s: it must last at least 1 s")
        if "\n" in self.salt:
            raise RefusedError("traffic policy: the salt must be one line")
        if (self.blend is not None) != (self.mode is Mode.BLEND):
            words = "needs a blend" if self.blend is None else "takes no blend"
            raise RefusedError(f"traffic policy: mode {self.mode} {words}")
        if self.blend is not None:
            self.blend.check()


CHAMPION_ONLY = Traffic()
