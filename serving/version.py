"""One verified version as it answers requests: what it refuses, and the rows it gives no distribution for."""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES, PredictionRequest
from core.errors import IntegrityError, RefusedError
from serving.answer import VersionName
from serving.release.evidence import VerifiedPackage

_FEW = 32
_TOLERANCE = 1e-3  # of a sum of probabilities; the trader refuses beyond it


@dataclass(frozen=True)
class ServedVersion:
    """A verified package under its version of the registered model."""

    package: VerifiedPackage
    version: str

    @property
    def strategy(self) -> tuple[tuple[str, float], ...]:
        """Return the strategy parameters that training put into the manifest, sorted by name; empty where it did not.

        Raises:
            IntegrityError: they are no numbers by name.
        """
        found = self.package.manifest.parameters.get("strategy", {})
        try:
            values = msgspec.convert(found, dict[str, float])
        except msgspec.ValidationError as error:
            raise IntegrityError(
                f"model version {self.version}: parameters.strategy of its manifest: {error}; build the package again"
            ) from None
        return tuple(sorted(values.items()))

    @property
    def name(self) -> VersionName:
        """What predictions say of it."""
        return VersionName(self.package.manifest.name, self.version, self.package.model_digest)

    def probabilities(self, request: PredictionRequest) -> NDArray[np.float32]:
        """Return probabilities float32 [N, 3] (short, flat, long) of a request; a row may hold no number.

        A request with a longer window than this version looks at is answered from its newest rows.

        Raises:
            RefusedError: the request was made for other features or has a shorter window.
        """
        manifest, session, features = self.package.manifest, self.package.session, request.features
        if request.feature_digest != manifest.feature_digest:
            raise RefusedError(
                f"strategy {request.strategy}: the request has features {request.feature_digest}, model version "
                f"{self.version} was made for {manifest.feature_digest}; publish a version for these features"
            )
        rows, lookback, count = len(request.instruments), session.lookback, session.feature_count
        shape = features.shape
        if shape != (rows, lookback, count) or features.dtype != np.float32:
            longer = len(shape) == 3 and (shape[0], shape[2]) == (rows, count) and shape[1] > lookback
            if not longer or features.dtype != np.float32:
                raise RefusedError(
                    f"strategy {request.strategy}: features are {features.dtype} {shape}, model version "
                    f"{self.version} needs float32 {(rows, lookback, count)}"
                )
            features = features[:, -lookback:]
        return session.run(np.ascontiguousarray(features))

    def no_number(self, request: PredictionRequest, probabilities: NDArray[np.float32]) -> RefusedError:
        """Return the refusal of an answer that has no number somewhere."""
        row = int(np.argmin(np.isfinite(probabilities).all(axis=1)))
        return RefusedError(
            f"strategy {request.strategy}: model version {self.version} gives no probability for "
            f"{request.instruments[row]}; look at its features"
        )


def distributions(probabilities: NDArray[np.float32], rows: int) -> list[bool]:
    """Return which of the rows are probability distributions; none where the shape is not [N, 3]."""
    if probabilities.shape != (rows, len(CLASSES)):
        return [False] * rows
    if rows <= _FEW:  # as an array, a decision of a few instruments takes four times as long
        return [
            short >= 0.0 and flat >= 0.0 and long >= 0.0 and abs(short + flat + long - 1.0) < _TOLERANCE
            for short, flat, long in probabilities.tolist()
        ]
    with np.errstate(invalid="ignore"):  # infinities of both signs sum to NaN, which compares false
        usable = (np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1.0) < _TOLERANCE) & (
            probabilities.min(axis=1) >= 0.0
        )
    return usable.tolist()
