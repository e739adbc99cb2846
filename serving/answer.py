"""An answer to one request: the traded probabilities, whose they are, and what each scored version said.

The replica makes it, the client reads it back from the wire, the trader's own predictor makes the same one: all three
turn it into predictions here, so that they say the same of the same request.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import Alternative, AnsweredBy, Prediction, PredictionRequest
from serving.traffic.pointer import blend_digest
from serving.traffic.policy import Arm

# A row's arm as one byte: the position in this list.
ARMS: tuple[Arm, ...] = (Arm.CHAMPION, Arm.CHALLENGER, Arm.BLEND)
CHAMPION, CHALLENGER, BLEND = range(3)


class VersionName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version of which model."""

    model_name: str
    model_version: str
    model_digest: str

    def blended_with(self, challenger: "VersionName") -> "VersionName":
        """Return the name of a mixture of this champion and a challenger: ``4+7`` and a digest of both digests."""
        return VersionName(
            "blend",
            f"{self.model_version}+{challenger.model_version}",
            blend_digest(self.model_digest, challenger.model_digest),
        )


class AnswerHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who answered. The first three are the champion's; ``arms`` has a byte a row, none where all are champion."""

    model_name: str
    model_version: str
    model_digest: str
    revision: int
    challenger: VersionName | None = None  # scored beside
    arms: bytes = b""

    @property
    def champion(self) -> VersionName:
        """The champion."""
        return VersionName(self.model_name, self.model_version, self.model_digest)


@dataclass(frozen=True)
class Answer:
    """What a policy answers.

    Attributes:
        header: who.
        probabilities: float32 [N, 3] (short, flat, long), what is traded.
        scored: float32 [2, N, 3], what champion and challenger said; NaN where the challenger said nothing usable.
            None where only the champion was asked.
    """

    header: AnswerHeader
    probabilities: NDArray[np.float32]
    scored: NDArray[np.float32] | None = None

    def predictions(self, request: PredictionRequest, answered_by: AnsweredBy) -> list[Prediction]:
        """Return one prediction per instrument, in the order of the request."""
        if self.scored is None:
            return self._champions(request, answered_by)
        header, champion, challenger = self.header, self.header.champion, self.header.challenger
        assert challenger is not None
        names = (champion, challenger, champion.blended_with(challenger))
        arms = header.arms or bytes(len(request.instruments))
        answered = np.isfinite(self.scored[1]).all(axis=1).tolist()
        traded, first, second = self.probabilities.tolist(), self.scored[0].tolist(), self.scored[1].tolist()
        found: list[Prediction] = []
        for row, (decision_id, instrument) in enumerate(zip(request.decision_ids, request.instruments, strict=True)):
            arm = arms[row]
            others: tuple[Alternative, ...] = ()
            if arm != CHAMPION:
                others = (_alternative(Arm.CHAMPION, champion, first[row]),)
            if arm != CHALLENGER and answered[row]:
                others = (*others, _alternative(Arm.CHALLENGER, challenger, second[row]))
            name, (short, flat, long) = names[arm], traded[row]
            found.append(
                Prediction(
                    decision_id=decision_id,
                    instrument=instrument,
                    time_ns=request.time_ns,
                    probability_short=short,
                    probability_flat=flat,
                    probability_long=long,
                    model_name=name.model_name,
                    model_version=name.model_version,
                    model_digest=name.model_digest,
                    arm=ARMS[arm].value,
                    policy_revision=header.revision,
                    answered_by=answered_by,
                    alternatives=others,
                )
            )
        return found

    def _champions(self, request: PredictionRequest, answered_by: AnsweredBy) -> list[Prediction]:
        header = self.header
        return [
            Prediction(
                decision_id=decision_id,
                instrument=instrument,
                time_ns=request.time_ns,
                probability_short=short,
                probability_flat=flat,
                probability_long=long,
                model_name=header.model_name,
                model_version=header.model_version,
                model_digest=header.model_digest,
                policy_revision=header.revision,
                answered_by=answered_by,
            )
            for decision_id, instrument, (short, flat, long) in zip(
                request.decision_ids, request.instruments, self.probabilities.tolist(), strict=True
            )
        ]


def _alternative(arm: Arm, name: VersionName, probabilities: list[float]) -> Alternative:
    return Alternative(arm.value, name.model_name, name.model_version, name.model_digest, *probabilities)
