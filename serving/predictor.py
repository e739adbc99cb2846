"""The predictor: the policies of all strategies in one process, each swapped by one reference.

A plain class: the Ray Serve replica, the trader's own process and the Bento all answer with it, so that the same
policy gives the same bits wherever it is carried out.
"""

import threading

from core.domain import PredictionRequest
from core.errors import IntegrityError
from serving.answer import Answer
from serving.release.evidence import VerifiedPackage
from serving.traffic.served import FlatError, NoModelError, ServedPolicy
from serving.traffic.statistics import ArmStatistics
from serving.version import ServedVersion

__all__ = ["Answer", "FlatError", "NoModelError", "PredictorCore", "ServedPolicy", "ServedVersion"]


class PredictorCore:
    """Answers for every strategy that has a policy. Reads are lock-free; a change swaps one reference."""

    def __init__(self, statistics: ArmStatistics | None = None) -> None:
        """``statistics`` takes what is measured of each arm; None measures nothing."""
        self.statistics = statistics
        self._policies: dict[str, ServedPolicy] = {}
        self._previous: dict[str, ServedVersion] = {}  # the champion before the present one, by strategy
        self._changing = threading.Lock()

    @property
    def policies(self) -> dict[str, ServedPolicy]:
        """The policies by strategy, at this moment. Do not change it."""
        return self._policies

    def loaded(self, evidence_digest: str) -> VerifiedPackage | None:
        """Return a version that is still in memory: going back to it needs no load."""
        versions = [version for policy in self._policies.values() for version in policy.versions]
        for version in (*versions, *self._previous.values()):
            if version.package.evidence_digest == evidence_digest:
                return version.package
        return None

    def install(self, package: VerifiedPackage, *, version: str, revision: int) -> ServedPolicy:
        """Let one verified package answer everything for its strategy."""
        return self.change(ServedPolicy(package.manifest.strategy, revision, ServedVersion(package, version)))

    def change(self, policy: ServedPolicy) -> ServedPolicy:
        """Install a policy; the champion it replaces stays in memory.

        Requests in flight finish with the policy they began with; the next request sees the new one.
        """
        with self._changing:
            if self.statistics is not None:
                policy.recorders = self.statistics.enter(policy.strategy, policy.revision, policy.names)
            standing = self._policies.get(policy.strategy)
            before = standing.champion if standing else None
            if before is not None and (policy.champion is None or policy.champion.package is not before.package):
                self._previous = {**self._previous, policy.strategy: before}
            self._policies = {**self._policies, policy.strategy: policy}
        return policy

    def policy(self, strategy: str) -> ServedPolicy:
        """Return the policy of a strategy.

        Raises:
            NoModelError: there is no verified model for it.
        """
        policy = self._policies.get(strategy)
        if policy is None:
            known = ", ".join(sorted(self._policies)) or "none"
            raise NoModelError(f"no verified model for strategy {strategy!r} (served: {known}); publish one")
        return policy

    def predict(self, request: PredictionRequest) -> Answer:
        """Answer a request as the policy of its strategy says.

        Raises:
            NoModelError: no verified model, or the policy is flat (``FlatError``).
            RefusedError: the request was made for other features or has too short a window.
        """
        return self.policy(request.strategy).answer(request)

    def check_health(self) -> None:
        """Make a real prediction with every champion; a challenger in its trial does not decide on health.

        Raises:
            IntegrityError: a champion no longer answers its warm-up vectors, or there is no policy.
        """
        if not self._policies:
            raise IntegrityError("no verified model is loaded; publish one")
        for policy in self._policies.values():
            if policy.champion is not None:
                policy.champion.package.session.check_warmup()
