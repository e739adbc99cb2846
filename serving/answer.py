"""An answer to one request: the traded probabilities, whose they are, and what each scored version said.

The replica makes it, the client reads it back from the wire, the trader's own predictor makes the same one: all three
turn it into predictions here, so that they say the same of the same request.
"""

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import Alternative, AnsweredBy, Prediction, PredictionRequest, StrategyShare
from serving.traffic.pointer import blend_digest
from serving.traffic.policy import Arm

# A row's arm as one byte: the position in this list.
ARMS: tuple[Arm, ...] = (Arm.CHAMPION, Arm.CHALLENGER, Arm.BLEND)
CHAMPION, CHALLENGER, BLEND = range(3)
_WORDS = tuple(arm.value for arm in ARMS)


class VersionName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version of which model."""

    model_name: str
    model_version: str
    model_digest: str


class AnswerHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who answered. The first three are the champion's; ``arms`` has a byte a row, none where all are champion."""

    model_name: str
    model_version: str
    model_digest: str
    revision: int
    challenger: VersionName | None = None  # scored beside
    arms: bytes = b""
    champion_strategy: tuple[tuple[str, float], ...] = ()  # strategy parameters of its package
    challenger_strategy: tuple[tuple[str, float], ...] = ()
    weight: float = 0.0  # of the challenger's strategy parameters in a blend

    def strategy(self, arm: int) -> tuple[StrategyShare, ...]:
        """Return the strategy parameters behind the rows of an arm; empty: the session's."""
        if not (self.champion_strategy or self.challenger_strategy):
            return ()
        champion, challenger = self.champion_strategy, self.challenger_strategy
        if arm == BLEND:
            return (StrategyShare(1.0 - self.weight, champion), StrategyShare(self.weight, challenger))
        values = challenger if arm == CHALLENGER else champion
        return (StrategyShare(1.0, values),) if values else ()

    @property
    def champion(self) -> VersionName:
        """The champion."""
        return VersionName(self.model_name, self.model_version, self.model_digest)


@dataclass(frozen=True)
class Answer:
    """What a policy answers.

    Attributes:
        header: who.
        values: float32 [1, N, 3] of (short, flat, long), what is traded. Where a challenger is scored [3, N, 3]: what
            is traded, what the champion said, what the challenger said, NaN where that was nothing usable.
    """

    header: AnswerHeader
    values: NDArray[np.float32]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """What is traded, float32 [N, 3]."""
        return self.values[0]

    def predictions(self, request: PredictionRequest, answered_by: AnsweredBy) -> list[Prediction]:
        """Return one prediction per instrument, in the order of the request."""
        header, time_ns, revision = self.header, request.time_ns, self.header.revision
        name, version, digest = header.model_name, header.model_version, header.model_digest
        rows = zip(request.decision_ids, request.instruments, self.values[0].tolist(), strict=True)
        if header.challenger is None:
            strategy = header.strategy(CHAMPION)
            return [
                Prediction(
                    decision_id=decision_id,
                    instrument=instrument,
                    time_ns=time_ns,
                    probability_short=short,
                    probability_flat=flat,
                    probability_long=long,
                    model_name=name,
                    model_version=version,
                    model_digest=digest,
                    policy_revision=revision,
                    answered_by=answered_by,
                    strategy=strategy,
                )
                for decision_id, instrument, (short, flat, long) in rows
            ]
        strategies = tuple(header.strategy(arm) for arm in range(len(ARMS)))
        names = (header.champion, header.challenger, _blended(header.champion, header.challenger))
        arms = header.arms or bytes(len(request.instruments))
        scored = zip(arms, self.values[1].tolist(), self.values[2].tolist(), strict=True)
        found: list[Prediction] = []
        for row, (arm, champion, challenger) in zip(rows, scored, strict=True):
            decision_id, instrument, (short, flat, long) = row
            others: tuple[Alternative, ...] = ()
            if arm != CHAMPION:
                others = (Alternative("champion", name, version, digest, *champion, strategy=header.champion_strategy),)
            if arm != CHALLENGER and challenger[0] == challenger[0]:  # not NaN
                beside = names[1]
                words = (beside.model_name, beside.model_version, beside.model_digest)
                others += (Alternative("challenger", *words, *challenger, strategy=header.challenger_strategy),)
            who = names[arm]
            found.append(
                Prediction(
                    decision_id=decision_id,
                    instrument=instrument,
                    time_ns=time_ns,
                    probability_short=short,
                    probability_flat=flat,
                    probability_long=long,
                    model_name=who.model_name,
                    model_version=who.model_version,
                    model_digest=who.model_digest,
                    arm=_WORDS[arm],
                    policy_revision=revision,
                    answered_by=answered_by,
                    alternatives=others,
                    strategy=strategies[arm],
                )
            )
        return found


@lru_cache(maxsize=64)
def _blended(champion: VersionName, challenger: VersionName) -> VersionName:
    """Return the name of a mixture of two versions: ``4+7`` and a digest of both digests."""
    return VersionName(
        "blend",
        f"{champion.model_version}+{challenger.model_version}",
        blend_digest(champion.model_digest, challenger.model_digest),
    )
