"""Features of history: a fold of the kernel's step over a panel."""

import numpy as np
from numpy.typing import NDArray

from core.domain import Panel
from core.errors import IntegrityError
from features.advance import Advancer
from features.sets import FeatureSet
from features.state import KernelState


def compute(
    panel: Panel, feature_set: FeatureSet, state: KernelState | None = None
) -> tuple[NDArray[np.float64], KernelState]:
    """Return the features of a panel and the state after its last step.

    Computing a panel in pieces, each from the state of the one before, gives the same bits as computing it at once.

    Args:
        panel: T steps of N instruments.
        feature_set: which features.
        state: where to go on from; it is not changed. None starts from nothing.

    Returns:
        float64 [T, N, F], NaN where an instrument has no bar or a feature is not warm, and the new state.

    Raises:
        BadInputError: the panel starts before the state ends.
        IntegrityError: the state is of another feature set or other instruments.
    """
    if state is not None and (state.definition.digest != feature_set.digest or state.instruments != panel.instruments):
        raise IntegrityError(
            f"the given state is of {state.definition.name} {state.definition.digest[:12]} over "
            f"{', '.join(state.instruments)}: it cannot go on with {feature_set.name} {feature_set.digest[:12]} over "
            f"{', '.join(panel.instruments)}"
        )
    following = KernelState.fresh(feature_set, panel.instruments) if state is None else state.copy()
    return Advancer(following).advance(panel.time_ns, panel.values), following
