"""Whether an answer is right: by a policy that stood while it was asked, from the version that policy gives it to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import Prediction
from serving.store import Pointer
from serving.traffic.assignment import assigned
from serving.traffic.pointer import blend_digest
from serving.traffic.policy import Arm, Mode
from tidegate.drill.serving_load import Asked

TOLERANCE = 1e-6  # the same file on the same processor: the last digits of a mixture only


@dataclass(frozen=True)
class Change:
    """One policy and when it was written, in monotonic seconds."""

    policy: Pointer
    begun: float
    ended: float


class Checker:
    """Judges answers after the drill, by what was written and by what each version answers by itself."""

    def __init__(
        self, changes: Sequence[Change], expected: Mapping[str, NDArray[np.float32]], grace_seconds: float
    ) -> None:
        """Keep what to judge by.

        Args:
            changes: every policy in force, in order.
            expected: what each version answers to the windows, float32 [W, 3].
            grace_seconds: how long after a change the policy before it may still answer.
        """
        self._places = {change.policy.revision: place for place, change in enumerate(changes)}
        self._changes = list(changes)
        self._expected = expected
        self._grace = grace_seconds

    def problem(self, asked: Asked) -> str:
        """Say what is wrong with an answer; empty when nothing is."""
        for row, prediction in enumerate(asked.predictions):
            found = self._problem(asked, prediction, asked.window + row)
            if found:
                return f"{prediction.instrument} at {asked.request_time_ns}, {asked.phase}: {found}"
        return ""

    def stale_seconds(self, asked: Asked) -> float | None:
        """Return how long after its policy was replaced a request was sent that it still answered; None: it stood."""
        place = self._places.get(asked.predictions[0].policy_revision) if asked.predictions else None
        if place is None or place + 1 == len(self._changes):
            return None
        late = asked.sent - self._changes[place + 1].ended
        return late if late > 0 else None

    def _problem(self, asked: Asked, prediction: Prediction, window: int) -> str:
        revision = prediction.policy_revision
        place = self._places.get(revision)
        if place is None:
            return f"revision {revision} was never written"
        if asked.ended < self._changes[place].begun:
            return f"revision {revision} answered before it was written"
        if place + 1 < len(self._changes) and asked.sent > self._changes[place + 1].ended + self._grace:
            return f"revision {revision} answered {self.stale_seconds(asked) or 0:.2f} s after it was replaced"
        return self._by_policy(self._changes[place].policy, prediction, window)

    def _by_policy(self, policy: Pointer, prediction: Prediction, window: int) -> str:
        arm = assigned(policy.traffic, policy.strategy, prediction.instrument, prediction.time_ns)
        if prediction.arm != arm:
            return f"arm {prediction.arm}, the policy of revision {policy.revision} gives the decision to {arm}"
        standings = policy.standing(arm)
        version = "+".join(standing.version for standing in standings)
        digest = standings[0].model_digest
        if arm is Arm.BLEND:
            digest = blend_digest(digest, standings[1].model_digest)
        if (prediction.model_version, prediction.model_digest) != (version, digest):
            return f"version {prediction.model_version} ({prediction.model_digest[:12]}), not {version} ({digest[:12]})"
        wanted = [self._expected[standing.version][window : window + 1] for standing in standings]
        if arm is Arm.BLEND:
            assert policy.traffic.blend is not None
            weight = policy.traffic.blend.weight_at(prediction.time_ns)  # the drill's blends have fixed weights
            wanted = [(1.0 - weight) * wanted[0] + weight * wanted[1]]
        if not _equal(prediction, wanted[0][0]):
            return f"its probabilities are not those of version {version}"
        return self._alternatives(policy, arm, prediction, window)

    def _alternatives(self, policy: Pointer, arm: Arm, prediction: Prediction, window: int) -> str:
        """Both versions are scored while there are two; what was not traded stands beside."""
        wanted = [
            (name, standing)
            for name, standing in zip((Arm.CHAMPION, Arm.CHALLENGER), policy.standings, strict=False)
            if policy.traffic.mode is not Mode.CHAMPION and name is not arm
        ]
        if [(found.arm, found.model_version) for found in prediction.alternatives] != [
            (name.value, standing.version) for name, standing in wanted
        ]:
            return f"beside it {[found.model_version for found in prediction.alternatives]} were scored"
        for found in prediction.alternatives:
            if not _equal(found, self._expected[found.model_version][window]):
                return f"the probabilities scored beside it are not those of version {found.model_version}"
        return ""


def _equal(found: object, wanted: NDArray[np.float32]) -> bool:
    values = [getattr(found, f"probability_{name}") for name in ("short", "flat", "long")]
    return bool(np.allclose(values, wanted, rtol=0.0, atol=TOLERANCE))
