"""A network behind the ``Forecaster`` interface."""

import io
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from core.digest import digest_bytes, digest_source, digest_value
from core.errors import BadInputError
from core.files import replacing
from training.dataset import TrainingData
from training.model_parameters import NetworkParameters
from training.models.graph import INPUT, OPSET, OUTPUT, from_recurrent
from training.models.interface import VALIDATION_SHARE
from training.models.networks import fitting
from training.models.networks.layers import Answering, Network, build
from training.models.networks.moments import moments
from training.splits import validation_tail
from training.windows import AnyWindows, Windows

NATIVE = "network.npz"
_CHUNK = 4096  # windows answered at a time: the last digits follow it, so it is part of what a model is


class NetworkForecaster:
    """A network fitted by Lightning, stopped early on the purged last part of the training window.

    Torch runs on one thread with deterministic kernels: two fits on a processor give the same bytes, and so does one
    that was killed and went on from its checkpoint. On a GPU the same holds for GPUs of one kind.
    """

    def __init__(self, name: str, parameters: NetworkParameters, seed: int, checkpoints: Path | None = None) -> None:
        self.name = name
        self.parameters = parameters
        self.lookback = parameters.lookback
        self.incremental = parameters.incremental
        self.seed = seed
        self.checkpoints = checkpoints
        self._network: Network | None = None
        self._fitted: dict[str, float] = {}

    def fit(self, data: TrainingData) -> None:
        self._fit(data, self.parameters.epochs, None)

    def refit(self, data: TrainingData) -> None:
        """Go on from the fitted weights; they stay where no epoch is better on the last part of the new rows."""
        self._fit(data, self.parameters.refit_epochs, self._require())

    def _fit(self, data: TrainingData, epochs: int, start: Network | None) -> None:
        p = self.parameters
        fitting.accelerator_of(p)
        fitting.deterministic(self.seed)
        fit, tail = validation_tail(data.time_ns, data.label_end_ns, VALIDATION_SHARE)
        generator = torch.Generator().manual_seed(self.seed)
        validation = fitting.Batches(data, tail, 4 * p.batch_size)
        if start is None:
            # What standardises belongs to the weights: a refit keeps it.
            network, loss = build(p, *moments(data.windows, fit)), float("inf")
        else:
            network, loss = start, _loss(start, validation)
        folder = self._checkpoint_folder(data, epochs, start)
        checkpoint = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint = folder / fitting.CHECKPOINT
        module = fitting.Fitting(network, p, generator, checkpoint, loss)
        fitting.run(module, epochs, fitting.Batches(data, fit, p.batch_size, generator), validation)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        self._network = module.network.eval()
        self._fitted = {"epochs": float(module.best_epoch + 1), "validation_loss": module.best_loss}

    def predict_proba(self, windows: AnyWindows) -> NDArray[np.float64]:
        answering = Answering(self._require()).eval()
        answers = np.empty((len(windows), 3))
        with torch.inference_mode():
            for start in range(0, len(windows), _CHUNK):
                part = torch.from_numpy(windows[start : start + _CHUNK])
                answers[start : start + _CHUNK] = answering(part).numpy()
        return answers

    def graph(self) -> Any:
        import onnx

        network = self._require()
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's note on dynamic batches: parity is checked afterwards
            torch.onnx.export(
                Answering(network).eval(),
                (torch.zeros(2, self.lookback, len(network.mean)),),
                cast(Any, buffer),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "N"}, OUTPUT: {0: "N"}},
                opset_version=OPSET,
                dynamo=False,
            )
        return from_recurrent(onnx.load_from_string(buffer.getvalue()), self.lookback, len(network.mean))

    def importance(self, feature_names: tuple[str, ...]) -> dict[str, float] | None:
        return None

    def fitted(self) -> dict[str, float]:
        return dict(self._fitted)

    def save_native(self, folder: Path) -> None:
        """Write the weights as arrays, ``network.npz``."""
        state = {key: value.numpy() for key, value in self._require().state_dict().items()}
        with replacing(folder / NATIVE) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **cast(Mapping[str, Any], state))

    def load_native(self, folder: Path) -> None:
        path = folder / NATIVE
        if not path.is_file():
            raise BadInputError(f"{path} is missing: there is no {self.name} in this folder")
        with np.load(path, allow_pickle=False) as archive:
            state = {key: torch.from_numpy(archive[key]) for key in archive.files}
        network = build(self.parameters, state["mean"], state["scale"])
        network.load_state_dict(state)
        self._network = network.eval()

    def _require(self) -> Network:
        if self._network is None:
            raise RuntimeError("the network is not fitted")
        return self._network

    def _checkpoint_folder(self, data: TrainingData, epochs: int, start: Network | None) -> Path | None:
        """Return the folder of exactly this fit: of another fit's checkpoint nothing may be taken over."""
        if self.checkpoints is None:
            return None
        made_of = {
            "kind": self.name,
            "parameters": msgspec.to_builtins(self.parameters),
            "epochs": epochs,
            "seed": self.seed,
            "data": _digest(data),
            "start": None if start is None else _state_digest(start),
            "code": digest_source("training.models"),
            "torch": torch.__version__,
        }
        return self.checkpoints / f"{self.name}-{digest_value(made_of)[:24]}"


def _state_digest(network: Network) -> list[str]:
    return [digest_bytes(value.numpy().tobytes()) for value in network.state_dict().values()]


def _digest(data: TrainingData) -> list[str]:
    windows = data.windows
    parts = [windows.features, windows.rows] if isinstance(windows, Windows) else [windows]
    arrays = [*parts, data.labels, data.weights, data.time_ns, data.label_end_ns]
    # Hashed where they lie: a copy as bytes would be a second matrix.
    return [digest_bytes(cast(bytes, np.ascontiguousarray(array).reshape(-1).view(np.uint8))) for array in arrays]


def _loss(network: Network, batches: fitting.Batches) -> float:
    """Return the weighted mean cross-entropy of a network as it is."""
    with torch.inference_mode():
        parts: list[tuple[torch.Tensor, torch.Tensor]] = []
        for windows, labels, weights in batches:
            losses = torch.nn.functional.cross_entropy(network(windows), labels, reduction="none")
            parts.append(((losses * weights).sum(), weights.sum()))
    return fitting.mean_loss(parts)
