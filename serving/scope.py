"""The guard of a live account: an answer counts only while the models that gave it are approved for live trading.

A session checks the approval when it begins. A policy changed later is picked up without a restart, so its scopes must
be checked with each answer: a version approved for paper must not reach a live account by being published, nor by
being given a share of the decisions, nor as a part of a blend. Beside a live champion it may be scored.
"""

from core.domain import Prediction, PredictionRequest, Predictor
from core.errors import IntegrityError, RefusedError
from serving.local import LocalPredictor
from serving.release.approval import Scope
from serving.traffic.pointer import Pointer, blend_digest
from serving.traffic.policy import Arm


class LiveScopeGuard:
    """A predictor that passes on only what models approved for live trading said."""

    def __init__(self, predictor: Predictor, local: LocalPredictor) -> None:
        """``local`` follows the policies of this machine, with the approvals they stand on."""
        self._predictor = predictor
        self._local = local

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer as the predictor behind.

        Raises:
            RefusedError: a version that would trade is not approved for live trading, or another model answered.
            UnavailableError: as the predictor behind.
        """
        answers = await self._predictor.predict(request)
        for arm, revision, digest in {(one.arm, one.policy_revision, one.model_digest) for one in answers}:
            self._check(self._newest(request.strategy, revision), request.strategy, arm, digest)
        return answers

    def _newest(self, strategy: str, revision: int) -> Pointer | None:
        """The installed policy, or the one of the answer where the service has installed a later one already.

        Never an earlier one: what was taken back meanwhile no longer counts.
        """
        installed = self._local.pointer(strategy)
        if installed is not None and installed.revision >= revision:
            return installed
        try:
            return self._local.policy_at(strategy, revision)
        except IntegrityError as error:
            raise RefusedError(error.message) from None

    def _check(self, policy: Pointer | None, strategy: str, arm: str, digest: str) -> None:
        standings = policy.standings if policy is not None else ()
        blend = blend_digest(*(one.model_digest for one in standings)) if len(standings) == 2 else ""
        answered = standings if arm == Arm.BLEND and digest == blend else ()
        answered = answered or tuple(one for one in standings if one.model_digest == digest)
        if not answered:
            approved = " or ".join(one.model_digest[:12] for one in standings) or "none"
            raise RefusedError(
                f"model {digest[:12]} answered, the version approved for live trading of {strategy} is {approved}"
            )
        for one in answered:
            if one.approval.scope != Scope.LIVE:
                raise RefusedError(
                    f"version {one.version} of {strategy}, the {arm}, is approved for {one.approval.scope}, not for a "
                    "live account"
                )
