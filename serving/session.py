"""One ONNX model in process: opened only if its signature holds and it answers its own warm-up vectors."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from core.domain import CLASSES
from core.errors import IntegrityError
from serving.release.evidence import MODEL_FILE, WARMUP_FILE, Manifest

INPUT_NAME = "features"
OUTPUT_NAME = "probabilities"
TOLERANCE = 1e-5  # warm-up answers: the same graph on another processor differs in the last float32 digits only


class ModelSession:
    """A verified ONNX session.

    Attributes:
        lookback: L, rows of one window.
        feature_count: F.
        warmup_inputs: float32 [K, L, F] from the package.
        warmup_outputs: float32 [K, 3], what the model answered where it was made.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Open the model of a package, check its signature and its warm-up answers.

        One intra-op thread: a request is a few rows, and the second core belongs to the trader.

        Raises:
            IntegrityError: signature or warm-up answers are not those of the manifest; the message gives both.
        """
        self._where = f"model package {folder}"
        self.lookback = manifest.lookback
        self.feature_count = len(manifest.features)
        if manifest.classes != CLASSES:
            raise IntegrityError(f"{self._where}: classes {manifest.classes}, expected {CLASSES}")
        if len(set(manifest.features)) != self.feature_count or self.lookback < 1 or not manifest.features:
            raise IntegrityError(f"{self._where}: features must be unique and lookback at least 1")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(folder / MODEL_FILE), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has no common base class for what a broken file raises
            raise IntegrityError(f"{self._where}: model.onnx does not load: {str(error).splitlines()[0]}") from None
        self._check_signature()
        self.warmup_inputs, self.warmup_outputs = self._read_warmup(folder / WARMUP_FILE)
        self.check_warmup()

    def run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities float32 [N, 3] of ``features`` float32 [N, L, F]."""
        # In quotes: to build the type anew costs as much as a small model.
        return cast("NDArray[np.float32]", self._session.run([OUTPUT_NAME], {INPUT_NAME: features})[0])

    def check_warmup(self) -> None:
        """Answer the warm-up vectors.

        Raises:
            IntegrityError: an answer is off by more than 1e-5 or is no probability.
        """
        try:
            answers = self.run(self.warmup_inputs)
        except Exception as error:
            line = str(error).splitlines()[0]
            raise IntegrityError(f"{self._where}: the model fails on its warm-up vectors: {line}") from None
        if answers.shape != self.warmup_outputs.shape:
            raise IntegrityError(
                f"{self._where}: warm-up answers have shape {answers.shape}, expected {self.warmup_outputs.shape}"
            )
        difference = np.abs(answers.astype(np.float64) - self.warmup_outputs)
        worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
        row, column = divmod(worst, len(CLASSES))
        if not difference.ravel()[worst] <= TOLERANCE:
            raise IntegrityError(
                f"{self._where}: warm-up row {row} class {CLASSES[column]} answers {answers[row, column]:.9g}, "
                f"expected {self.warmup_outputs[row, column]:.9g} within {TOLERANCE:g}"
            )
        if not (np.all(answers >= 0) and np.allclose(answers.sum(axis=1), 1.0, atol=1e-4)):
            raise IntegrityError(f"{self._where}: warm-up answers are no probabilities that sum to 1")

    def _check_signature(self) -> None:
        def describe(values: Iterable[Any]) -> list[tuple[str, str, list[Any]]]:
            return [(value.name, value.type, list(value.shape)) for value in values]

        inputs, outputs = describe(self._session.get_inputs()), describe(self._session.get_outputs())
        wanted_input = (INPUT_NAME, "tensor(float)", ["N", self.lookback, self.feature_count])
        wanted_output = (OUTPUT_NAME, "tensor(float)", ["N", len(CLASSES)])
        for what, found, wanted in (("input", inputs, wanted_input), ("output", outputs, wanted_output)):
            if len(found) != 1 or not _fits(found[0], wanted):
                raise IntegrityError(f"{self._where}: {what} signature is {found}, expected [{wanted}]")

    def _read_warmup(self, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            with np.load(path, allow_pickle=False) as archive:
                inputs, outputs = archive["inputs"], archive["outputs"]
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise IntegrityError(f"{self._where}: warmup.npz is malformed: {error}") from None
        shape = (self.lookback, self.feature_count)
        if inputs.dtype != np.float32 or inputs.ndim != 3 or inputs.shape[1:] != shape or len(inputs) == 0:
            raise IntegrityError(
                f"{self._where}: warm-up inputs are {inputs.dtype} {inputs.shape}, expected float32 [K, {shape}]"
            )
        if outputs.shape != (len(inputs), len(CLASSES)):
            raise IntegrityError(
                f"{self._where}: warm-up outputs have shape {outputs.shape}, expected {(len(inputs), len(CLASSES))}"
            )
        return np.ascontiguousarray(inputs), outputs.astype(np.float32)


def _fits(found: tuple[str, str, list[Any]], wanted: tuple[str, str, list[Any]]) -> bool:
    """Whether a tensor is as wanted: the batch axis open, a fixed axis equal; an open axis is proven by the warm-up."""
    if found[:2] != wanted[:2] or len(found[2]) != len(wanted[2]) or isinstance(found[2][0], int):
        return False
    return all(
        not isinstance(size, int) or size == want for size, want in zip(found[2][1:], wanted[2][1:], strict=True)
    )
