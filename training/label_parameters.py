"""The section ``labels`` of ``params.yaml``."""

from typing import Literal

from core.errors import BadInputError
from training.section import Section


class BarrierParameters(Section, frozen=True):
    """Where the trades of ``triple_barrier`` and ``meta_labels`` end before the horizon; 0: no such barrier."""

    take_profit: float = 1.0  # units from the entry price
    stop_loss: float = 1.0
    unit: Literal["volatilities", "pips"] = "volatilities"  # volatilities: of the return over the whole horizon


class PrimaryParameters(Section, frozen=True):
    """The rule whose side ``meta_labels`` takes or skips: the sign of one feature."""

    feature: str = "momentum_16_48"  # a column of the feature set
    threshold: float = 0.0  # the feature must be further from 0 than this, else there is nothing to take
    direction: Literal["follow", "fade"] = "follow"


class LabelParameters(Section, frozen=True):
    """Labels net of cost."""

    horizon: int  # own bars of the instrument; the vertical barrier
    minimum_edge: float = 1.0  # multiple of the round-trip cost from which a move is long or short
    kind: Literal["fixed_horizon", "triple_barrier", "meta_labels"] = "fixed_horizon"
    barriers: BarrierParameters = BarrierParameters()
    primary: PrimaryParameters = PrimaryParameters()


def check_labels(labels: LabelParameters, train_steps: int) -> None:
    """Refuse values that make no label, or none that could be learnt.

    Raises:
        BadInputError: naming the parameter.
    """
    if labels.horizon < 1:
        raise BadInputError(f"params.yaml: labels.horizon must be at least 1, not {labels.horizon}")
    for name, value in {
        "minimum_edge": labels.minimum_edge,
        "barriers.take_profit": labels.barriers.take_profit,
        "barriers.stop_loss": labels.barriers.stop_loss,
        "primary.threshold": labels.primary.threshold,
    }.items():
        if not 0 <= value < float("inf"):
            raise BadInputError(f"params.yaml: labels.{name} must not be negative, not {value}")
    if labels.kind == "triple_barrier" and not (labels.barriers.take_profit or labels.barriers.stop_loss):
        raise BadInputError("params.yaml: labels.barriers sets neither take_profit nor stop_loss: use fixed_horizon")
    if labels.horizon >= train_steps:
        raise BadInputError(
            f"params.yaml: labels.horizon {labels.horizon} is not shorter than validation.train_steps {train_steps}: "
            "the purge would leave nothing to train on"
        )
