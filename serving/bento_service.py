"""The BentoML service: the same ``PredictorCore`` as in Ray Serve, over the one package inside the Bento.

Imports bentoml: only the Bento itself and ``serving.bento`` load this module.
"""

from pathlib import Path
from typing import Any

import bentoml
import numpy as np

from core.domain import PredictionRequest
from core.errors import RefusedError, TidegateError
from core.settings import get_settings
from serving.authentication import LoopbackOnly, TokenAuthentication, token_digest
from serving.predictor import PredictorCore
from serving.release.evidence import verify_package

PACKAGE = Path(__file__).resolve().parents[1] / "package"  # beside the source inside the Bento


@bentoml.service(name="tidegate_predictions", workers=1)
class Predictions:
    """Calibrated probabilities of one verified model version."""

    def __init__(self) -> None:
        """Verify the package in the Bento and load it; a Bento that was tampered with does not start."""
        self._package = verify_package(PACKAGE)
        self._core = PredictorCore()
        self._core.install(self._package, version=self._package.evidence_digest, revision=0)

    @bentoml.api
    def predict(self, features: list[list[list[float | None]]]) -> dict[str, Any]:
        """Return probabilities [rows][short, flat, long] of ``features`` [rows][lookback][features]; null: missing."""
        manifest = self._package.manifest
        names = tuple(f"row {row}" for row in range(len(features)))
        try:
            values = np.array(features, dtype=np.float32)
        except ValueError:
            raise bentoml.exceptions.InvalidArgument("features is ragged") from None
        request = PredictionRequest(manifest.strategy, 0, names, names, manifest.feature_digest, values)
        try:
            probabilities = self._core.predict(request).probabilities
        except RefusedError as error:
            raise bentoml.exceptions.InvalidArgument(error.message) from None
        return {
            "model_name": manifest.name,
            "model_digest": manifest.model_digest,
            "classes": list(manifest.classes),
            "probabilities": probabilities.tolist(),
        }

    @bentoml.api(route="/model")
    def model(self) -> dict[str, Any]:
        """Say which model this is."""
        return {
            "manifest_digest": self._package.manifest.digest,
            "evidence_digest": self._package.evidence_digest,
            "feature_digest": self._package.manifest.feature_digest,
            "features": list(self._package.manifest.features),
            "lookback": self._package.session.lookback,
        }

    def __is_ready__(self) -> bool:
        """Make a real prediction."""
        try:
            self._core.check_health()
        except TidegateError:
            return False
        return True


# `bentoml serve` listens on all interfaces unless told otherwise.
_service: Any = Predictions  # BentoML's type of a middleware knows Starlette's only
_token = get_settings().serving.token
if _token is None:
    _service.add_asgi_middleware(LoopbackOnly)
else:
    _service.add_asgi_middleware(TokenAuthentication, digest=token_digest(_token))
