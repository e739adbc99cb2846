"""Predictions: what a model is asked, what it answers, who answered."""

from enum import StrEnum
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

# The classes of every model output, in this order (see training.labels for their definition).
CLASSES: tuple[str, ...] = ("short", "flat", "long")


class AnsweredBy(StrEnum):
    """Who made a prediction; a degraded answer says so (law 7)."""

    SERVE = "serve"  # the Ray Serve application
    LOCAL = "local"  # the same champion loaded in the trader's own process


class PredictionRequest(msgspec.Struct, frozen=True):
    """One decision time: the feature windows of every instrument that is decided on.

    ``features`` is float32 [N, L, F]: N instruments, the last L feature rows (oldest first), F features in the order
    of the feature service. ``decision_ids`` has N entries, each a pure function of strategy, instrument and time.
    """

    strategy: str
    time_ns: int
    instruments: tuple[str, ...]
    decision_ids: tuple[str, ...]
    feature_digest: str  # digest of the feature set definition; a model made for another one refuses
    features: NDArray[np.float32]


class Alternative(msgspec.Struct, frozen=True):
    """What another version said of the same decision: scored beside the traded prediction, never traded itself."""

    arm: str
    model_name: str
    model_version: str
    model_digest: str
    probability_short: float
    probability_flat: float
    probability_long: float
    strategy: tuple[tuple[str, float], ...] = ()  # strategy parameters of its package; empty: the session's


class StrategyShare(msgspec.Struct, frozen=True):
    """Strategy parameters that a version brings along, and its part in a prediction: 1, or its weight in a blend."""

    weight: float
    values: tuple[tuple[str, float], ...] = ()  # by name; what is not named is the session's


class Prediction(msgspec.Struct, frozen=True):
    """The calibrated probabilities that a position taken now pays after cost, per side."""

    decision_id: str
    instrument: str
    time_ns: int
    probability_short: float
    probability_flat: float
    probability_long: float
    model_name: str
    model_version: str
    model_digest: str
    arm: str = "champion"
    policy_revision: int = 0
    answered_by: AnsweredBy = AnsweredBy.SERVE
    alternatives: tuple[Alternative, ...] = ()  # one per other version that was scored, while a release is under way
    strategy: tuple[StrategyShare, ...] = ()  # empty: the session's own parameters


class Predictor(Protocol):
    """What the trading loop calls. ``serving`` implements it; the composition root hands it over."""

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer in the order of ``request.instruments``.

        Raises:
            UnavailableError: no answer in the budget.
            RefusedError: no verified model for this request.
        """
        ...
