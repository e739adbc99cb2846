"""The trader's own champion: answers in process when Ray Serve does not, from the same disk store."""

from pathlib import Path
from types import TracebackType
from typing import Self

from core.domain import AnsweredBy, Prediction, PredictionRequest
from serving.loader import ChampionLoader
from serving.predictor import PredictorCore
from serving.store import ModelStore, Pointer


class LocalPredictor:
    """A ``core.domain.Predictor`` over onnxruntime in this process; says ``answered_by=local``.

    Use it as a context manager: inside, a thread follows the pointers, so that the local champion is the served one.
    """

    def __init__(self, root: Path, poll_seconds: float = 0.5) -> None:
        """``root`` is ``<state>/serving``."""
        self.core = PredictorCore()
        self._loader = ChampionLoader(ModelStore(root), self.core, poll_seconds)

    def __enter__(self) -> Self:
        self._loader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loader.stop()

    def pointer(self, strategy: str) -> Pointer | None:
        """Return the installed pointer with its approval: the trader reads version and scope from it."""
        return self._loader.pointers.get(strategy)

    @property
    def failures(self) -> dict[str, str]:
        """What is wrong with the pointers that could not be installed, by strategy."""
        return self._loader.failures

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer in the order of ``request.instruments``.

        Runs inline: one decision time is tens of microseconds, less than a hop to another thread.

        Raises:
            RefusedError: no verified model for this request.
        """
        return self.core.predict(request).predictions(request, AnsweredBy.LOCAL)
