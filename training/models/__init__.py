"""Forecasters behind one interface, their calibration, and their export to one ONNX graph."""

from pathlib import Path

from core.errors import UsageError
from training.model_parameters import BLEND as BLEND
from training.model_parameters import MODEL_KINDS as MODEL_KINDS
from training.models.interface import Forecaster
from training.parameters import Parameters


def create(name: str, parameters: Parameters, checkpoints: Path | None = None) -> Forecaster:
    """Return an unfitted model; its library is imported now and not before.

    Args:
        name: one of ``MODEL_KINDS``.
        parameters: of the run.
        checkpoints: where a network keeps what it has learnt after each epoch, so that a fit that was killed goes on
            from there; None: nowhere. Trees are fitted in one go and keep none.

    Raises:
        UsageError: no model of this name.
    """
    models, seed = parameters.models, parameters.seed
    if name == "xgboost":
        from training.models.xgboost import XgboostForecaster

        return XgboostForecaster(models.xgboost, seed)
    if name == "random_forest":
        from training.models.random_forest import RandomForestForecaster

        return RandomForestForecaster(models.random_forest, seed)
    if name in ("gru", "lstm", "transformer"):
        from training.models.networks import NetworkForecaster

        return NetworkForecaster(name, getattr(models, name), seed, checkpoints)
    raise UsageError(f"unknown model {name!r}: choose one of {', '.join(MODEL_KINDS)}")


def model_folder(name: str) -> Path:
    """Return where a stage writes the model ``name``, relative to the workspace."""
    return Path("models") / name
