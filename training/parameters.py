"""The sections of ``params.yaml`` that training reads, typed and checked once."""

from typing import Any, Literal

import msgspec

from core.errors import BadInputError


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of parameters. An unknown key is an error: a typing mistake must not be a silent default."""


class LabelParameters(Section, frozen=True):
    """Cost-aware fixed-horizon labels."""

    horizon: int  # own bars of the instrument
    minimum_edge: float = 1.0  # multiple of the round-trip cost from which a move is long or short
    kind: Literal["fixed_horizon"] = "fixed_horizon"


class ValidationParameters(Section, frozen=True):
    """Walk-forward validation, in decision times (all instruments of one time together)."""

    train_steps: int
    folds: int = 5
    embargo: int = 5
    scheme: Literal["rolling", "anchored"] = "rolling"


class XgboostParameters(Section, frozen=True):
    """Gradient-boosted trees. The defaults are shallow and slow: the signal in FX returns is faint."""

    rounds: int = 300
    learning_rate: float = 0.03
    maximum_depth: int = 3
    subsample: float = 0.7
    column_sample: float = 0.5
    minimum_child_weight: float = 50.0
    l2: float = 10.0
    early_stopping: int = 40  # rounds without a better validation loss


class RandomForestParameters(Section, frozen=True):
    """A forest of shallow trees with large leaves."""

    trees: int = 150
    maximum_depth: int = 6
    minimum_leaf: int = 200
    maximum_features: float | Literal["sqrt", "log2"] = "sqrt"
    sample_share: float = 0.4  # of the rows a tree sees: less alike trees, and less than half the time


class LstmParameters(Section, frozen=True):
    """A small recurrent network over the last ``lookback`` feature rows of one instrument."""

    lookback: int = 20
    hidden: int = 24
    layers: int = 1
    dropout: float = 0.1
    epochs: int = 6
    batch_size: int = 1024
    learning_rate: float = 0.002
    patience: int = 2


class ModelParameters(Section, frozen=True):
    """Parameters per model, and which one is packaged."""

    chosen: str = "best"  # best out-of-sample log loss, or a model's name
    xgboost: XgboostParameters = XgboostParameters()
    random_forest: RandomForestParameters = RandomForestParameters()
    lstm: LstmParameters = LstmParameters()


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
        "labels.horizon": parameters.labels.horizon,
        "validation.folds": parameters.validation.folds,
        "validation.train_steps": parameters.validation.train_steps,
        "evaluation.bootstrap_draws": parameters.evaluation.bootstrap_draws,
        "evaluation.block_length": parameters.evaluation.block_length,
        "models.lstm.lookback": parameters.models.lstm.lookback,
    }
    for name, value in positive.items():
        if value < 1:
            raise BadInputError(f"params.yaml: {name} must be at least 1, not {value}")
    for name, value in {
        "validation.embargo": parameters.validation.embargo,
        "features.warmup": parameters.warmup,
        "labels.minimum_edge": parameters.labels.minimum_edge,
    }.items():
        if value < 0:
            raise BadInputError(f"params.yaml: {name} must not be negative, not {value}")
    if parameters.models.lstm.lookback > 64:
        raise BadInputError(
            f"params.yaml: models.lstm.lookback is {parameters.models.lstm.lookback}, at most 64 rows are kept live"
        )
