"""The ``models`` section of ``params.yaml``: which models are trained, with what, and how they are blended."""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import msgspec

from core.domain import CLASSES
from core.errors import BadInputError
from training.section import Section

ModelKind = Literal["gru", "lstm", "random_forest", "transformer", "xgboost"]
MODEL_KINDS: tuple[str, ...] = get_args(ModelKind)
BLEND = "blend"
MAXIMUM_LOOKBACK = 64  # feature rows kept live

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Direction = Literal[-1, 1]
# None: each row counts as its sample weight says. "balanced": the classes weigh the same in sum. Or a factor a class.
ClassWeights = Literal["balanced"] | dict[str, Positive] | None


class XgboostParameters(Section, frozen=True):
    """Gradient-boosted trees. The defaults are shallow and slow: the signal in FX returns is faint."""

    rounds: Count = 300
    learning_rate: Share = 0.03
    maximum_depth: Count = 3
    subsample: Share = 0.7
    column_sample: Share = 0.5
    minimum_child_weight: NotNegative = 50.0
    l2: NotNegative = 10.0
    early_stopping: Count = 40  # rounds without a better validation loss
    # Feature to 1 or -1: the odds of long to short never fall, or never rise, in it.
    monotone: dict[str, Direction] = msgspec.field(default_factory=dict)
    class_weights: ClassWeights = None
    incremental: bool = False  # each fold goes on from the trees of the fold before
    refit_rounds: Count = 50  # at most so many are added then


class RandomForestParameters(Section, frozen=True):
    """A forest of shallow trees with large leaves."""

    trees: Count = 150
    maximum_depth: Count = 6
    minimum_leaf: Count = 200
    maximum_features: Share | Literal["sqrt", "log2"] = "sqrt"
    sample_share: Share = 0.4  # of the rows a tree sees: less alike trees, and less than half the time
    criterion: Literal["gini", "entropy"] = "gini"
    minimum_gain: NotNegative = 0.0  # weighted impurity decrease that a split must bring
    class_weights: ClassWeights = None


class NetworkParameters(Section, frozen=True):
    """What all networks over the last ``lookback`` feature rows of one instrument share."""

    lookback: Annotated[int, msgspec.Meta(ge=1, le=MAXIMUM_LOOKBACK)] = 20
    hidden: Count = 24
    layers: Count = 1
    dropout: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.1
    epochs: Count = 6
    batch_size: Count = 1024
    learning_rate: Positive = 0.002
    patience: Count = 2  # epochs without a better validation loss
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"  # auto: a GPU where there is one
    incremental: bool = False  # each fold goes on from the network of the fold before
    refit_epochs: Count = 2  # at most so many follow then


class LstmParameters(NetworkParameters, frozen=True):
    """A small long short-term memory network."""


class GruParameters(NetworkParameters, frozen=True):
    """A small network of gated recurrent units."""


class TransformerParameters(NetworkParameters, frozen=True):
    """A small transformer encoder; ``hidden`` is its width and a multiple of ``heads``."""

    layers: Count = 2
    heads: Count = 4


class BlendParameters(Section, frozen=True):
    """How the components' out-of-fold predictions become one."""

    method: Literal["pool", "stacking"] = "pool"  # weighted mean, or logistic regression on the log-odds
    ridge: Positive = 0.001  # stacking: pull towards equal shares


class ModelParameters(Section, frozen=True):
    """Parameters per model, which ones are trained, and which one is packaged."""

    components: tuple[ModelKind, ...] = ("xgboost", "random_forest", "lstm")
    chosen: str = "best"  # best out-of-sample log loss, or a model's name
    blend: BlendParameters = BlendParameters()
    xgboost: XgboostParameters = XgboostParameters()
    random_forest: RandomForestParameters = RandomForestParameters()
    lstm: LstmParameters = LstmParameters()
    gru: GruParameters = GruParameters()
    transformer: TransformerParameters = TransformerParameters()


def check_models(models: ModelParameters) -> None:
    """Check what the types cannot say.

    Raises:
        BadInputError: no component, one named twice, a choice that is not trained, class weights that name other
            classes, or a transformer whose width its heads cannot share.
    """
    components = models.components
    if not components:
        raise BadInputError(f"params.yaml: models.components names no model: choose from {', '.join(MODEL_KINDS)}")
    if len(set(components)) < len(components):
        raise BadInputError(f"params.yaml: models.components names a model twice: {', '.join(components)}")
    known = ("best", BLEND, *components)
    if models.chosen not in known:
        raise BadInputError(
            f"params.yaml: models.chosen is {models.chosen!r}, the trained ones are {', '.join(known[1:])}: "
            "name one of them, best, or add it to models.components"
        )
    for name, weights in (
        ("xgboost", models.xgboost.class_weights),
        ("random_forest", models.random_forest.class_weights),
    ):
        if isinstance(weights, dict) and set(weights) != set(CLASSES):
            raise BadInputError(
                f"params.yaml: models.{name}.class_weights names {', '.join(sorted(weights)) or 'no class'}: "
                f"give one factor each for {', '.join(CLASSES)}"
            )
    width, heads = models.transformer.hidden, models.transformer.heads
    if width % heads:
        raise BadInputError(f"params.yaml: models.transformer.hidden is {width}, no multiple of its {heads} heads")


def check_features(models: ModelParameters, feature_names: Sequence[str]) -> None:
    """Check that parameters name features that there are.

    Raises:
        BadInputError: a monotone constraint names another.
    """
    unknown = sorted(set(models.xgboost.monotone) - set(feature_names))
    if unknown and "xgboost" in models.components:
        raise BadInputError(
            f"params.yaml: models.xgboost.monotone names {', '.join(unknown)}, which the feature set does not have"
        )
