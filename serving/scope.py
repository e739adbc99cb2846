"""The guard of a live account: an answer counts only while the model that gave it is approved for live trading.

A session checks the approval when it begins. A version published later is picked up without a restart, so its scope
must be checked with each answer: a version approved for paper must not reach a live account by being published.
"""

from core.domain import Prediction, PredictionRequest, Predictor
from core.errors import RefusedError
from serving.local import LocalPredictor
from serving.release.approval import Scope


class LiveScopeGuard:
    """A predictor that passes on only what models approved for live trading said."""

    def __init__(self, predictor: Predictor, local: LocalPredictor) -> None:
        """``local`` follows the pointers of this machine, with the approvals they stand on."""
        self._predictor = predictor
        self._local = local

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer as the predictor behind.

        Raises:
            RefusedError: the champion is not approved for live trading, or another model answered.
            UnavailableError: as the predictor behind.
        """
        answers = await self._predictor.predict(request)
        pointer = self._local.pointer(request.strategy)
        if pointer is None or pointer.approval.scope != Scope.LIVE:
            scope = "nothing" if pointer is None else str(pointer.approval.scope)
            raise RefusedError(f"the champion of {request.strategy} is approved for {scope}, not for a live account")
        strange = {answer.model_digest for answer in answers} - {pointer.model_digest}
        if strange:
            raise RefusedError(
                f"model {min(strange)[:12]} answered, the version approved for live trading of {request.strategy} is "
                f"{pointer.model_digest[:12]}"
            )
        return answers
