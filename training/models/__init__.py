"""Forecasters behind one interface, their calibration, and their export to one ONNX graph."""

from pathlib import Path

from core.errors import UsageError
from training.models.interface import Forecaster
from training.parameters import Parameters

COMPONENTS: tuple[str, ...] = ("lstm", "random_forest", "xgboost")
BLEND = "blend"


def create(name: str, parameters: Parameters) -> Forecaster:
    """Return an unfitted model; its library is imported now and not before.

    Raises:
        UsageError: no model of this name.
    """
    if name == "xgboost":
        from training.models.xgboost import XgboostForecaster

        return XgboostForecaster(parameters.models.xgboost, parameters.seed)
    if name == "random_forest":
        from training.models.random_forest import RandomForestForecaster

        return RandomForestForecaster(parameters.models.random_forest, parameters.seed)
    if name == "lstm":
        from training.models.lstm import LstmForecaster

        return LstmForecaster(parameters.models.lstm, parameters.seed)
    raise UsageError(f"unknown model {name!r}: choose one of {', '.join(COMPONENTS)}")


def model_folder(name: str) -> Path:
    """Return where a stage writes the model ``name``, relative to the workspace."""
    return Path("models") / name
