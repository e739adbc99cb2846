"""DEAP's side of the search: individuals, variation that cools down, and NSGA-II selection.

DEAP draws from Python's global generator. ``seeded`` sets it for the length of one island's turn from the search's
seed and the place of that turn, and puts back what was there: a turn can be repeated by itself, in any process, and
nothing has to be stored to go on after a kill.

NSGA-II: Deb, Pratap, Agarwal and Meyarivan, IEEE Transactions on Evolutionary Computation 6(2), 2002.
"""

import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from deap import base, creator, tools
from deap.benchmarks.tools import hypervolume

from training.search.strategy.parameters import Evolution
from training.search.strategy.space import Genes, Space, Values

# At module level, so that a spawned process that imports this module knows the classes too.
creator.create("StrategyFitness", base.Fitness, weights=(1.0,))
creator.create("StrategyIndividual", list, fitness=None, values=None)

Individual: TypeAlias = Any  # of creator.StrategyIndividual: a list of genes with ``values`` and ``fitness``

_ATTEMPTS = 20  # draws for a child that nobody tried before


@contextmanager
def seeded(seed: int, *place: int) -> Generator[None]:
    """Seed Python's global generator from a seed and a place in the search, and restore it afterwards."""
    before = random.getstate()
    random.seed(f"{seed}/{'/'.join(map(str, place))}")  # text is hashed with SHA-512, the same in every process
    try:
        yield
    finally:
        random.setstate(before)


def individual(genes: Genes, values: Values, weights: tuple[float, ...]) -> Individual:
    """Return an individual without a fitness; ``weights`` are the directions of the objectives."""
    made: Any = creator.StrategyIndividual(genes)  # pyright: ignore[reportAttributeAccessIssue]
    made.values = values
    made.fitness = creator.StrategyFitness()  # pyright: ignore[reportAttributeAccessIssue]
    made.fitness.weights = weights
    return made


def newcomers(space: Space, count: int, weights: tuple[float, ...], known: set[Values]) -> list[Individual]:
    """Return ``count`` individuals spread over the space, new to the island as far as it has room."""
    found: list[Individual] = []
    taken = set(known)
    for _ in range(count):
        values = space.decode([random.random() for _ in range(space.dimension)])
        for _ in range(_ATTEMPTS):
            if values not in taken:
                break
            values = space.decode([random.random() for _ in range(space.dimension)])
        taken.add(values)
        found.append(individual(space.encode(values), values, weights))
    return found


def heat(evolution: Evolution, generation: int) -> tuple[float, float]:
    """Return mutation probability and distribution index of a generation: mutation cools down geometrically.

    Early children are thrown far, late ones stay near; both have a limit, so that no search freezes.
    """
    factor = evolution.cooling**generation
    probability = max(evolution.mutation * factor, min(evolution.mutation_floor, evolution.mutation))
    index = min(evolution.mutation_index / factor, max(evolution.mutation_index_ceiling, evolution.mutation_index))
    return probability, index


def children(
    parents: Sequence[Individual], space: Space, evolution: Evolution, generation: int, known: set[Values]
) -> list[Individual]:
    """Return one child per parent: tournament, simulated binary crossover, polynomial mutation, repair.

    A child that the island already tried is mutated again, so that backtests are spent on new candidates.
    """
    probability, index = heat(evolution, generation)
    weights = parents[0].fitness.weights
    ranked = tools.selNSGA2(list(parents), len(parents))  # gives each its crowding distance within its front
    chosen = tools.selTournamentDCD(ranked, len(ranked))
    genes = [list(parent) for parent in chosen]
    for first, second in zip(genes[::2], genes[1::2], strict=True):
        if random.random() <= evolution.crossover:
            tools.cxSimulatedBinaryBounded(first, second, evolution.crossover_index, 0.0, 1.0)
    made: list[Individual] = []
    taken = set(known)
    for position in genes:
        tools.mutPolynomialBounded(position, index, 0.0, 1.0, probability)
        values = space.decode(position)
        for _ in range(_ATTEMPTS):
            if values not in taken:
                break
            tools.mutPolynomialBounded(position, index, 0.0, 1.0, max(probability, 1.0 / space.dimension))
            values = space.decode(position)
        taken.add(values)
        made.append(individual(space.encode(values), values, weights))
    return made


def survivors(candidates: Sequence[Individual], count: int) -> list[Individual]:
    """Return the ``count`` best by front and crowding; a candidate that comes twice counts once while others last."""
    first: list[Individual] = []
    again: list[Individual] = []
    seen: set[Values] = set()
    for candidate in candidates:
        (again if candidate.values in seen else first).append(candidate)
        seen.add(candidate.values)
    if count < 1:
        return []
    kept = tools.selNSGA2(first, min(count, len(first)))
    return kept + again[: count - len(kept)]


def front(candidates: Sequence[Individual]) -> list[Individual]:
    """Return the non-dominated candidates, each parameter set once, ordered by their values."""
    unique = {candidate.values: candidate for candidate in reversed(candidates)}
    ordered = [unique[values] for values in sorted(unique)]
    if not ordered:
        return []
    points = np.array([member.fitness.wvalues for member in ordered], dtype=np.float64)
    return [
        member
        for member, point in zip(ordered, points, strict=True)
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]


def volume(members: Sequence[Individual], reference: Sequence[float]) -> float:
    """Return the hypervolume a front dominates up to a reference point, both in objectives that are better when larger.

    Zitzler and Thiele, IEEE Transactions on Evolutionary Computation 3(4), 1999.
    """
    inside = [m for m in members if all(a > b for a, b in zip(m.fitness.wvalues, reference, strict=True))]
    return float(hypervolume(inside, [-value for value in reference])) if inside else 0.0
