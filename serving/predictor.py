"""The predictor: several verified versions in one process, one champion per strategy, swapped by one reference.

A plain class: the Ray Serve replica, the trader's own process and the Bento all answer with it, so that the same
champion gives the same bits wherever it runs.
"""

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain import AnsweredBy, Prediction, PredictionRequest
from core.errors import IntegrityError, RefusedError
from serving.release.evidence import VerifiedPackage
from serving.session import ModelSession

__all__ = ["Answer", "Champion", "ModelSession", "NoModelError", "PredictorCore"]


class NoModelError(RefusedError):
    """There is no verified model for a strategy here; another process may have one."""


@dataclass(frozen=True)
class Champion:
    """A verified package in its role. ``revision`` is that of the pointer that put it there."""

    package: VerifiedPackage
    version: str
    revision: int

    def answer(self, request: PredictionRequest) -> "Answer":
        """Answer a request with this version.

        Raises:
            RefusedError: the request was made for other features or another window length, or the model gives no
                number for a row.
        """
        manifest, session, features = self.package.manifest, self.package.session, request.features
        if request.feature_digest != manifest.feature_digest:
            raise RefusedError(
                f"strategy {request.strategy}: the request has features {request.feature_digest}, model version "
                f"{self.version} was made for {manifest.feature_digest}; publish a version for these features"
            )
        expected = (len(request.instruments), session.lookback, session.feature_count)
        if features.shape != expected or features.dtype != np.float32:
            raise RefusedError(
                f"strategy {request.strategy}: features are {features.dtype} {features.shape}, model version "
                f"{self.version} needs float32 {expected}"
            )
        probabilities = session.run(np.ascontiguousarray(features))
        if not np.isfinite(probabilities).all():
            row = int(np.argmin(np.isfinite(probabilities).all(axis=1)))
            raise RefusedError(
                f"strategy {request.strategy}: model version {self.version} gives no probability for "
                f"{request.instruments[row]}; look at its features"
            )
        return Answer(self, probabilities)


@dataclass(frozen=True)
class Answer:
    """Probabilities float32 [N, 3] (short, flat, long) and the version that gave them."""

    champion: Champion
    probabilities: NDArray[np.float32]

    def predictions(self, request: PredictionRequest, answered_by: AnsweredBy) -> list[Prediction]:
        """Return one prediction per instrument, in the order of the request."""
        return make_predictions(
            request,
            self.probabilities,
            model_name=self.champion.package.manifest.name,
            model_version=self.champion.version,
            model_digest=self.champion.package.model_digest,
            revision=self.champion.revision,
            answered_by=answered_by,
        )


class PredictorCore:
    """Answers for every strategy that has a champion. Reads are lock-free; installing swaps one reference."""

    def __init__(self) -> None:
        self._champions: dict[str, Champion] = {}
        self._versions: dict[str, VerifiedPackage] = {}
        self._installing = threading.Lock()

    @property
    def champions(self) -> dict[str, Champion]:
        """The champions by strategy, at this moment. Do not change it."""
        return self._champions

    def loaded(self, evidence_digest: str) -> VerifiedPackage | None:
        """Return a version that is still in memory: going back to it needs no load."""
        return self._versions.get(evidence_digest)

    def install(self, package: VerifiedPackage, *, version: str, revision: int) -> Champion:
        """Make a verified package the champion of its strategy and keep the one before it in memory.

        Requests in flight finish with the version they began with; the next request sees the new one.
        """
        champion = Champion(package, version, revision)
        strategy = package.manifest.strategy
        with self._installing:
            before = self._champions.get(strategy)
            kept = {item.package.evidence_digest: item.package for item in self._champions.values()}
            kept[package.evidence_digest] = package
            self._champions = {**self._champions, strategy: champion}
            if before is not None:
                kept[before.package.evidence_digest] = before.package
            self._versions = kept
        return champion

    def champion(self, strategy: str) -> Champion:
        """Return the champion of a strategy.

        Raises:
            NoModelError: there is no verified model for it.
        """
        champion = self._champions.get(strategy)
        if champion is None:
            known = ", ".join(sorted(self._champions)) or "none"
            raise NoModelError(f"no verified model for strategy {strategy!r} (served: {known}); publish one")
        return champion

    def predict(self, request: PredictionRequest) -> Answer:
        """Answer a request with the champion of its strategy.

        Raises:
            RefusedError: no verified model, or the request was made for other features or another window length.
        """
        return self.champion(request.strategy).answer(request)

    def check_health(self) -> None:
        """Make a real prediction with every champion.

        Raises:
            IntegrityError: a champion no longer answers its warm-up vectors, or there is no champion.
        """
        if not self._champions:
            raise IntegrityError("no verified model is loaded; publish one")
        for champion in self._champions.values():
            champion.package.session.check_warmup()


def make_predictions(
    request: PredictionRequest,
    probabilities: NDArray[np.float32],
    *,
    model_name: str,
    model_version: str,
    model_digest: str,
    revision: int,
    answered_by: AnsweredBy,
) -> list[Prediction]:
    """Return one prediction per instrument of a request from probabilities float32 [N, 3]."""
    return [
        Prediction(
            decision_id=decision_id,
            instrument=instrument,
            time_ns=request.time_ns,
            probability_short=short,
            probability_flat=flat,
            probability_long=long,
            model_name=model_name,
            model_version=model_version,
            model_digest=model_digest,
            policy_revision=revision,
            answered_by=answered_by,
        )
        for decision_id, instrument, (short, flat, long) in zip(
            request.decision_ids, request.instruments, probabilities.tolist(), strict=True
        )
    ]
