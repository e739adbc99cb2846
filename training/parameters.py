"""The sections of ``params.yaml`` that training reads, typed and checked once."""

from typing import Any, Literal

import msgspec

from core.errors import BadInputError
from training.label_parameters import LabelParameters, check_labels
from training.model_parameters import ModelParameters, check_models
from training.section import Section


class ValidationParameters(Section, frozen=True):
    """Walk-forward validation, in decision times (all instruments of one time together)."""

    train_steps: int
    folds: int = 5
    embargo: int = 5
    scheme: Literal["rolling", "anchored"] = "rolling"


class EvaluationParameters(Section, frozen=True):
    """Moving-block bootstrap and calibration bins."""

    bootstrap_draws: int = 1000
    block_length: int = 20  # decision times
    calibration_bins: int = 10


class Parameters(msgspec.Struct, frozen=True):
    """Everything training needs from ``params.yaml``; ``raw`` is the whole file for other rooms' readers."""

    market: str
    seed: int
    instruments: tuple[str, ...]
    feature_set: str
    warmup: int
    holdout: dict[str, Any]
    costs: dict[str, Any]
    labels: LabelParameters
    validation: ValidationParameters
    models: ModelParameters
    evaluation: EvaluationParameters
    raw: dict[str, Any]


def parse(content: dict[str, Any]) -> Parameters:
    """Build typed parameters from the mapping of ``core.params.read_params``.

    Raises:
        BadInputError: a key is missing, unknown, of the wrong type or out of range; the message names it.
    """
    try:
        data, features = content["data"], content["features"]
        flat = {
            "market": content["market"],
            "seed": content["seed"],
            "instruments": sorted(data["instruments"]),
            "feature_set": features["set"],
            "warmup": features.get("warmup", 0),
            "holdout": data["holdout"],
            "costs": content["costs"],
            "labels": content["labels"],
            "validation": content["validation"],
            "models": content.get("models", {}),
            "evaluation": content.get("evaluation", {}),
            "raw": content,
        }
        parameters = msgspec.convert(flat, Parameters)
    except KeyError as error:
        raise BadInputError(f"params.yaml has no key {error}: add it") from None
    except (TypeError, msgspec.ValidationError) as error:
        raise BadInputError(f"params.yaml: {error}") from None
    _check(parameters)
    return parameters


def _check(parameters: Parameters) -> None:
    positive = {
        "validation.folds": parameters.validation.folds,
        "validation.train_steps": parameters.validation.train_steps,
        "evaluation.bootstrap_draws": parameters.evaluation.bootstrap_draws,
        "evaluation.block_length": parameters.evaluation.block_length,
    }
    for name, value in positive.items():
        if value < 1:
            raise BadInputError(f"params.yaml: {name} must be at least 1, not {value}")
    for name, value in {
        "validation.embargo": parameters.validation.embargo,
        "features.warmup": parameters.warmup,
    }.items():
        if value < 0:
            raise BadInputError(f"params.yaml: {name} must not be negative, not {value}")
    check_labels(parameters.labels, parameters.validation.train_steps)
    check_models(parameters.models)
