"""A BentoML service as one would write it for an ONNX file: the peer in ``tidegate bench serving``.

BentoML imports this module in a process of its own; the model's path comes from the environment.
"""

import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime

from tidegate.bench.serving_processes import MODEL_VARIABLE

Values = np.ndarray[Any, np.dtype[np.float32]]  # BentoML reads the type from this


@bentoml.service(workers=1)
class BentoPeer:
    """Probabilities of one ONNX model, as arrays."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as ours
        self._session = onnxruntime.InferenceSession(os.environ[MODEL_VARIABLE], options)

    @bentoml.api
    def predict(self, features: Values) -> Values:
        """Return the probabilities [N, 3] of ``features`` [N, L, F]."""
        return np.asarray(self._session.run(["probabilities"], {"features": features})[0])
