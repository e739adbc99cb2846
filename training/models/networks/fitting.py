"""How a network is fitted: weighted cross-entropy, Adam, early stopping, and a checkpoint after each epoch.

A checkpoint holds everything the rest of the fit depends on, the state of both random generators included: a fit that
was killed goes on from it and ends with the same bytes as one that was not.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import BadInputError
from training.dataset import TrainingData
from training.model_parameters import NetworkParameters
from training.models.networks.layers import Network

MAXIMUM_GRADIENT = 1.0
CHECKPOINT = "epoch.ckpt"
Batch = tuple[Tensor, Tensor, Tensor]


class Batches:
    """Batches of windows, classes and weights, gathered from memory; a data loader would copy them row by row."""

    def __init__(
        self, data: TrainingData, rows: NDArray[np.int64], size: int, generator: torch.Generator | None = None
    ) -> None:
        self.windows = data.windows
        self.labels = torch.from_numpy(data.labels.astype(np.int64))
        self.weights = torch.from_numpy(data.weights.astype(np.float32))
        self.rows = rows
        self.size = size
        self.generator = generator

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        count = len(self.rows)
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        for start in range(0, count, self.size):
            part = self.rows[order[start : start + self.size].numpy()]
            yield torch.from_numpy(self.windows[part]), self.labels[part], self.weights[part]


class Fitting(lightning.LightningModule):
    """One fit: loss, optimiser, and the state of the best validation epoch.

    Args:
        network: what is fitted, with its first weights.
        parameters: of the network.
        generator: of the order of the training rows.
        checkpoint: file to write after each epoch, or None.
        best_loss: validation loss of the first weights where they are worth keeping, infinite where they are random.
    """

    def __init__(
        self,
        network: Network,
        parameters: NetworkParameters,
        generator: torch.Generator,
        checkpoint: Path | None,
        best_loss: float = float("inf"),
    ) -> None:
        super().__init__()
        self.network = network
        self.options = parameters
        self.generator = generator
        self.checkpoint = checkpoint
        self.best_loss = best_loss
        self.best_epoch = -1  # the first weights
        self.best_state: dict[str, Tensor] = _clone(network)
        self._validation: list[tuple[Tensor, Tensor]] = []
        self._resumed: dict[str, Any] | None = None

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the losses and of the weights."""
        windows, labels, weights = batch
        losses = nn.functional.cross_entropy(self.network(windows), labels, reduction="none")
        return (losses * weights).sum(), weights.sum()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        total, weight = self.loss(batch)
        return total / weight

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        total, weight = self.loss(batch)
        self._validation.append((total.detach(), weight))

    def on_validation_epoch_end(self) -> None:
        """Keep the best state."""
        loss = mean_loss(self._validation)
        self._validation.clear()
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.current_epoch
            self.best_state = _clone(self.network)
        self._stop_after(self.current_epoch)

    def _stop_after(self, epoch: int) -> None:
        if epoch - self.best_epoch >= self.options.patience:
            self.trainer.should_stop = True

    def on_train_start(self) -> None:
        """Go on where a checkpoint left off: its generators, and its early stop where that was reached."""
        if self._resumed is not None:
            torch.set_rng_state(self._resumed["random"].cpu())
            if self._resumed["gpu"]:
                torch.cuda.set_rng_state_all([state.cpu() for state in self._resumed["gpu"]])
            self._stop_after(int(self._resumed["epoch"]))

    def on_train_epoch_end(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if self.checkpoint is not None:
            partial = self.checkpoint.with_suffix(".partial")
            self.trainer.save_checkpoint(partial)
            partial.replace(self.checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of."""
        checkpoint["fitting"] = {
            "epoch": self.current_epoch,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            "order": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "gpu": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it back."""
        own = checkpoint["fitting"]
        self.best_loss, self.best_epoch = own["best_loss"], own["best_epoch"]
        self.best_state = own["best_state"]
        self.generator.set_state(own["order"].cpu())
        self._resumed = {key: own[key] for key in ("epoch", "random", "gpu")}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.options.learning_rate, foreach=True)


def _clone(network: Network) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def mean_loss(parts: list[tuple[Tensor, Tensor]]) -> float:
    """Return the weighted mean of summed losses and weights."""
    return sum(float(loss) for loss, _ in parts) / sum(float(weight) for _, weight in parts)


def accelerator_of(parameters: NetworkParameters) -> str:
    """Return ``gpu`` or ``cpu``.

    Raises:
        BadInputError: a GPU is asked for and there is none.
    """
    found = torch.cuda.is_available()
    if parameters.accelerator == "gpu" and not found:
        raise BadInputError("params.yaml: accelerator is gpu and torch sees none here: say auto or cpu")
    return "gpu" if found and parameters.accelerator != "cpu" else "cpu"


def deterministic(seed: int) -> None:
    """Make torch repeat itself: fixed kernels, one thread, a seeded generator."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; its default is not repeatable
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)


def run(module: Fitting, epochs: int, training: Batches, validation: Batches) -> None:
    """Fit ``module`` for at most so many epochs, from its checkpoint where there is one; leave the best state in it."""
    resumed = module.checkpoint if module.checkpoint is not None and _readable(module.checkpoint) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on loaders, loggers and workers
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator=accelerator_of(module.options),
            devices=1,
            deterministic=True,
            gradient_clip_val=MAXIMUM_GRADIENT,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, train_dataloaders=training, val_dataloaders=validation, ckpt_path=resumed)
    module.network.load_state_dict({key: value.cpu() for key, value in module.best_state.items()})
    module.cpu()


def _readable(checkpoint: Path) -> bool:
    """Whether a checkpoint is there and whole; one that a disk damaged is told of, removed and not used."""
    if not checkpoint.is_file():
        return False
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no class of its own for a damaged file
        logging.getLogger(__name__).warning("%s is damaged (%s): the fit begins anew", checkpoint, error)
        checkpoint.unlink()
        return False
    return True
