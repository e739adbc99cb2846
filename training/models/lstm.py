"""A small LSTM (Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997) over a window of one instrument's features.

Standardisation and the replacement of missing values are layers of the network, so that the exported graph takes raw
features. Torch runs on one thread with deterministic kernels: two fits give the same bytes.
"""

import io
import logging
import warnings
from typing import Any, cast

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.dataset import TrainingData
from training.models.graph import INPUT, OPSET, OUTPUT, from_recurrent
from training.models.interface import VALIDATION_SHARE
from training.parameters import LstmParameters
from training.splits import validation_tail

CLIP = 6.0  # standard deviations: a feature's outlier must not saturate every gate
MAXIMUM_GRADIENT = 1.0


class Network(nn.Module):
    """Missing values to the mean, standardise, clip, LSTM, dropout, linear: logits [N, 3] from windows [N, L, F]."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, parameters: LstmParameters) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.recurrent = nn.LSTM(len(mean), parameters.hidden, parameters.layers, batch_first=True)
        self.dropout = nn.Dropout(parameters.dropout)
        self.head = nn.Linear(parameters.hidden, 3)

    def forward(self, windows: Tensor) -> Tensor:
        filled = torch.where(torch.isnan(windows), self.mean, windows)
        standard = torch.clamp((filled - self.mean) * self.scale, -CLIP, CLIP)
        states, _ = self.recurrent(standard)
        return self.head(self.dropout(states[:, -1]))


class Answering(nn.Module):
    """The network with probabilities as its output: what is exported."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return torch.softmax(self.network(features), dim=1)


class Fitting(lightning.LightningModule):
    """Weighted cross-entropy, Adam, and the state of the best validation epoch."""

    def __init__(self, network: Network, learning_rate: float, patience: int) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.patience = patience
        self.best_loss = float("inf")
        self.best_epoch = 0
        self.best_state: dict[str, Tensor] = {}
        self.validation: list[tuple[Tensor, Tensor]] = []

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the losses and of the weights."""
        windows, labels, weights = batch
        losses = nn.functional.cross_entropy(self.network(windows), labels, reduction="none")
        return (losses * weights).sum(), weights.sum()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        total, weight = self.loss(batch)
        return total / weight

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        total, weight = self.loss(batch)
        self.validation.append((total.detach(), weight))

    def on_validation_epoch_end(self) -> None:
        """Keep the best state and stop after ``patience`` epochs without a better one."""
        total = sum(float(loss) for loss, _ in self.validation)
        loss = total / sum(float(weight) for _, weight in self.validation)
        self.validation.clear()
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.current_epoch
            self.best_state = {key: value.clone() for key, value in self.network.state_dict().items()}
        elif self.current_epoch - self.best_epoch >= self.patience:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, foreach=True)


class Batches:
    """Batches of tensors that already lie in memory; a data loader would copy them row by row."""

    def __init__(
        self, tensors: tuple[Tensor, Tensor, Tensor], rows: Tensor, size: int, generator: torch.Generator | None
    ) -> None:
        self.tensors = tensors
        self.rows = rows
        self.size = size
        self.generator = generator

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __iter__(self) -> Any:
        count = len(self.rows)
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        for start in range(0, count, self.size):
            part = self.rows[order[start : start + self.size]]
            yield tuple(tensor[part] for tensor in self.tensors)


class LstmForecaster:
    """The network, fitted by Lightning with early stopping on the purged last part of the training window."""

    name = "lstm"

    def __init__(self, parameters: LstmParameters, seed: int) -> None:
        self.parameters = parameters
        self.lookback = parameters.lookback
        self.seed = seed
        self._network: Network | None = None
        self._fitted: dict[str, float] = {}

    def fit(self, data: TrainingData) -> None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(self.seed)
        fit, tail = validation_tail(data.time_ns, data.label_end_ns, VALIDATION_SHARE)
        mean, scale = _moments(data.windows[fit, -1])
        p = self.parameters
        module = Fitting(Network(mean, scale, p), p.learning_rate, p.patience)
        generator = torch.Generator().manual_seed(self.seed)
        tensors = (
            torch.from_numpy(data.windows),
            torch.from_numpy(data.labels.astype(np.int64)),
            torch.from_numpy(data.weights.astype(np.float32)),
        )
        batches = Batches(tensors, torch.from_numpy(fit), p.batch_size, generator)
        validation = Batches(tensors, torch.from_numpy(tail), 4 * p.batch_size, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning's advice on loaders, loggers and workers
            logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
            trainer = lightning.Trainer(
                max_epochs=p.epochs,
                accelerator="cpu",
                devices=1,
                deterministic=True,
                gradient_clip_val=MAXIMUM_GRADIENT,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
            trainer.fit(module, train_dataloaders=batches, val_dataloaders=validation)
        module.network.load_state_dict(module.best_state)
        self._network = module.network.eval()
        self._fitted = {"epochs": float(module.best_epoch + 1), "validation_loss": module.best_loss}

    def predict_proba(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        answering = Answering(self._require()).eval()
        with torch.inference_mode():
            parts = [answering(torch.from_numpy(windows[i : i + 4096])).numpy() for i in range(0, len(windows), 4096)]
        return np.concatenate(parts).astype(np.float64)

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

    def _require(self) -> Network:
        if self._network is None:
            raise RuntimeError("the network is not fitted")
        return self._network


def _moments(rows: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Return mean and inverse standard deviation per feature over known values; a constant feature is scaled to 0."""
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    values = np.where(known, rows, 0.0).astype(np.float64)
    mean = values.sum(axis=0) / count
    spread = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(spread > 1e-12, 1.0 / np.maximum(spread, 1e-12), 0.0)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(scale, dtype=torch.float32)
