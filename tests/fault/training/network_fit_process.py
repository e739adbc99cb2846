"""Fit a network on made-up rows and keep checkpoints: ``python network_fit_process.py FOLDER``, to be killed."""

import sys
from pathlib import Path

import numpy as np

from training.dataset import TrainingData
from training.model_parameters import GruParameters
from training.models.networks import NetworkForecaster

EPOCHS = 6


def made_data(count: int = 6_000) -> TrainingData:
    """Return rows whose class follows the first feature a little."""
    generator = np.random.default_rng(6)
    windows = generator.normal(size=(count, 6, 5)).astype(np.float32)
    score = 0.5 * windows[:, -1, 0] + generator.normal(size=count)
    labels = np.searchsorted([-0.3, 0.3], score).astype(np.int8)
    time_ns = np.arange(count, dtype=np.int64) * 10
    return TrainingData(windows, labels, np.ones(count), time_ns, time_ns + 10)


def model(
    checkpoints: Path | None, patience: int = EPOCHS, epochs: int = EPOCHS, learning_rate: float = 0.01
) -> NetworkForecaster:
    """Return a network with dropout, so that both random generators matter."""
    parameters = GruParameters(
        lookback=6,
        hidden=12,
        epochs=epochs,
        batch_size=256,
        dropout=0.2,
        learning_rate=learning_rate,
        patience=patience,
        accelerator="cpu",
    )
    return NetworkForecaster("gru", parameters, 3, checkpoints)


if __name__ == "__main__":
    model(Path(sys.argv[1])).fit(made_data())
