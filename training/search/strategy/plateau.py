"""The plateau check: the neighbours of a winner must hold up, or the winner is a spike that noise put there.

A Latin hypercube of parameter sets around the winner, each parameter moved by up to ``radius`` of its range on its own
scale, is backtested on the research span. A neighbour *holds* when its figure on the final training window is above
zero and at least ``fraction`` of the winner's; the share of neighbours that hold must reach a limit. The unseen span is
not looked at. Each neighbour is a trial like any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.search.strategy.parameters import Plateau
from training.search.strategy.space import Space, Values
from training.search.strategy.state import Assessment


@dataclass(frozen=True)
class PlateauResult:
    """What the neighbourhood of one parameter set looks like.

    Attributes:
        values: the parameter set in the middle.
        figure: its figure.
        neighbours: the distinct neighbours.
        figures: theirs, float64 [N].
        trials: rows of the trial ledger of the neighbours.
        share: of the neighbours that hold; 0 where there is no neighbour.
        limit: what the share must reach.
    """

    values: Values
    figure: float
    neighbours: tuple[Values, ...]
    figures: NDArray[np.float64]
    trials: tuple[str, ...]
    share: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether enough of the neighbours hold up."""
        return self.share >= self.limit


def neighbours(space: Space, values: Values, plateau: Plateau, seed: int) -> list[Values]:
    """Return distinct neighbours of a parameter set, the set itself left out.

    What lies outside a bound is reflected at it, so that a winner at the edge has as many neighbours as another.
    Whole parameters are rounded and constraints repaired, so that a coarse space gives fewer than were asked for.
    """
    middle = np.array(space.encode(values))
    cube = space.hypercube(plateau.neighbours, np.random.default_rng(seed))
    positions = middle + (2.0 * cube - 1.0) * plateau.radius
    positions = np.where(positions < 0.0, -positions, positions)
    positions = np.where(positions > 1.0, 2.0 - positions, positions)
    found = dict.fromkeys(space.decode(position.tolist()) for position in positions)
    found.pop(values, None)
    return list(found)


def check_plateau(
    space: Space,
    values: Values,
    figure: float,
    plateau: Plateau,
    seed: int,
    evaluate: Callable[[Sequence[Values]], list[Assessment]],
    choice: int,
) -> PlateauResult:
    """Backtest the neighbours of a parameter set and say how many hold.

    Args:
        space: of the rule.
        values: the set in the middle.
        figure: its figure on the final training window.
        plateau: size, shape and limits.
        seed: of the hypercube.
        evaluate: backtests on the research span.
        choice: which measure is compared.
    """
    around = neighbours(space, values, plateau, seed)
    assessments = evaluate(around) if around else []
    figures = np.array([a.train[-1][choice] if a.shortfall[-1] == 0.0 else -np.inf for a in assessments])
    held = (figures > 0.0) & (figures >= plateau.fraction * figure)
    share = float(held.mean()) if len(held) else 0.0
    trials = tuple(assessment.trial for assessment in assessments)
    return PlateauResult(values, figure, tuple(around), figures, trials, share, plateau.share)
