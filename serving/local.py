"""The trader's own predictor: carries out the same policy in process when Ray Serve does not, from the same store."""

from pathlib import Path
from types import TracebackType
from typing import Self

from core.domain import AnsweredBy, Prediction, PredictionRequest
from serving.loader import ChampionLoader
from serving.predictor import PredictorCore
from serving.store import ModelStore, Pointer


class LocalPredictor:
    """A ``core.domain.Predictor`` over onnxruntime in this process; says ``answered_by=local``.

    Use it as a context manager: inside, a thread follows the policies, so that what is local is what is served.
    """

    def __init__(self, root: Path, poll_seconds: float = 0.1) -> None:
        """``root`` is ``<state>/serving``."""
        self.core = PredictorCore()
        self._store = ModelStore(root)
        self._loader = ChampionLoader(self._store, self.core, poll_seconds)

    def __enter__(self) -> Self:
        self._loader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loader.stop()

    def pointer(self, strategy: str) -> Pointer | None:
        """Return the installed policy with its approvals: the trader reads version and scope from it."""
        return self._loader.pointers.get(strategy)

    def policy_at(self, strategy: str, revision: int) -> Pointer | None:
        """Return a policy by its revision, None when this machine never had it; the installed one needs no file.

        Raises:
            IntegrityError: its file is damaged.
        """
        installed = self.pointer(strategy)
        if installed is not None and installed.revision == revision:
            return installed
        return self._store.policy_at(strategy, revision)

    @property
    def failures(self) -> dict[str, str]:
        """What is wrong with policies that could not be installed whole, by strategy."""
        return self._loader.failures

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer in the order of ``request.instruments``.

        Runs inline: one decision time is tens of microseconds, less than a hop to another thread.

        Raises:
            RefusedError: no verified model for this request, or the policy is flat.
        """
        return self.core.predict(request).predictions(request, AnsweredBy.LOCAL)
