"""The release policy: the section ``release`` of ``params.yaml``, typed and checked.

A release goes by the policy of the moment it was opened, which stands in its first record: nobody can make a test
easier for a release that is under way.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

import msgspec

from core.errors import BadInputError
from core.params import section
from serving.traffic.policy import Weighting

TestName = Literal["benefit", "harm", "calibration"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a step is left. Harm ends a release in every step; ``tests`` says what else is asked."""

    minimum_decisions: int = 300  # whose outcome is known
    minimum_blocks: int = 5  # of outcomes, as the online tests count them
    maximum_days: float = 90.0  # after them the release expires
    tests: tuple[TestName, ...] = ("harm", "calibration")


class CanaryStep(Step, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step with money: ``share`` of the (instrument, time block) cells is the challenger's."""

    share: float


class HandOver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A blend of both versions after the last canary step, whose weight moves to the challenger."""

    hours: float = 0.0  # of market time; 0: none
    weighting: Weighting = Weighting.FIXED


class Alphas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Levels of the online tests: how often each may be wrong, over all looks of one release."""

    benefit: float = 0.05
    harm: float = 0.05
    calibration: float = 0.01


class ReleasePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of the section; the defaults are those of the repository's ``params.yaml``, argued there."""

    first: Literal["direct", "wait"] = "direct"
    four_eyes: bool = False
    review_days: float = 30.0
    block_seconds: int = 3600
    bento: bool = True
    alpha: Alphas = Alphas()
    shadow: Step = Step(minimum_decisions=400, minimum_blocks=10, maximum_days=120.0)
    canary: tuple[CanaryStep, ...] = (
        CanaryStep(share=0.05),
        CanaryStep(share=0.25),
        CanaryStep(share=0.5, maximum_days=180.0, tests=("benefit", "harm", "calibration")),
    )
    hand_over: HandOver = HandOver()
    online: dict[str, Any] = {}  # the section ``online`` of that moment: how outcomes become blocks is a rule, too

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Read the section of ``params.yaml``, and keep the section ``online`` with it.

        Raises:
            BadInputError: a value is missing, unknown, of the wrong type or out of range; the message names it.
        """
        policy = section(params, "release", cls)
        if policy.online:
            raise BadInputError("release parameters: online is a section of its own in params.yaml")
        policy.check()
        return msgspec.structs.replace(policy, online=dict(params.get("online") or {}))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return the policy that a release was opened with, from its first record."""
        return msgspec.convert(dict(document), cls)

    def document(self) -> dict[str, Any]:
        """Return the policy as a record keeps it."""
        return cast(dict[str, Any], msgspec.to_builtins(self))

    def step(self, number: int | None) -> Step:
        """Return a step of the canary, the hand-over behind the last one, or shadow for None."""
        if number is None:
            return self.shadow
        if number < len(self.canary):
            return self.canary[number]
        last = self.canary[-1] if self.canary else self.shadow
        return Step(
            minimum_decisions=last.minimum_decisions,
            minimum_blocks=last.minimum_blocks,
            maximum_days=last.maximum_days + self.hand_over.hours / 24.0,
            tests=tuple(name for name in last.tests if name != "benefit"),
        )

    @property
    def step_count(self) -> int:
        """Steps of the canary, with the hand-over."""
        return len(self.canary) + (1 if self.hand_over.hours > 0 else 0)

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            BadInputError: the message names the value.
        """

        def needed(good: bool, words: str) -> None:
            if not good:
                raise BadInputError(f"release parameters: {words}")

        for name, step in [("shadow", self.shadow), *((f"canary step {i + 1}", s) for i, s in enumerate(self.canary))]:
            needed(step.minimum_decisions >= 1, f"{name} needs a minimum of at least 1 decision")
            needed(step.minimum_blocks >= 0, f"{name}: minimum_blocks must not be negative")
            needed(step.maximum_days > 0, f"{name}: maximum_days must be above 0")
        previous = 0.0
        for number, step in enumerate(self.canary, start=1):
            needed(0 < step.share < 1, f"canary step {number}: a share of {step.share:g} is not between 0 and 1")
            needed(step.share > previous, f"canary step {number}: the share must be larger than the one before")
            previous = step.share
        needed(self.hand_over.hours >= 0, "hand_over.hours must not be negative")
        needed(self.hand_over.weighting is not Weighting.PERFORMANCE, "hand_over.weighting is fixed or confidence")
        needed(self.review_days > 0, "review_days must be above 0")
        needed(self.block_seconds >= 1, "block_seconds must be at least 1")
        for name in ("benefit", "harm", "calibration"):
            needed(0 < getattr(self.alpha, name) < 1, f"alpha.{name} must be between 0 and 1")
