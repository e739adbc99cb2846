"""Islands in walk-forward order: one generation after another until a budget is used up or nothing is gained.

Each fold has islands of its own. They see the fold's training window only: the fitness of a candidate in fold ``k`` is
measured there, and so are selection, fronts and the choice. Two ways lead from island to island: around the ring of one
fold, and *forward* from a fold to the next one, whose training window ends later. Nothing ever moves back, so that
no fold is offered a candidate that somebody bred on days after its training window. That is what makes the returns of a
fold's choice on its test window out-of-sample returns of the whole procedure.

One backtest covers all windows, and candidates of all islands of a generation go out as one batch. A parameter set that
was tried before, by whichever island, is not tried again.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from training.search.strategy.objectives import MEASURES, PENALTY, column
from training.search.strategy.parameters import StrategySearchParameters
from training.search.strategy.population import (
    Individual,
    children,
    front,
    heat,
    individual,
    newcomers,
    seeded,
    survivors,
    volume,
)
from training.search.strategy.space import Space, Values
from training.search.strategy.state import Assessment, Generation, State, save

_MARGIN = 0.1  # of the range of the first candidates: how far the reference point lies behind the worst


class Evaluator(Protocol):
    """Backtests parameter sets on the research span."""

    def __call__(self, candidates: Sequence[Values], generation: int) -> list[Assessment]:
        """Return one assessment per candidate, in their order; each candidate becomes a row of the trial ledger."""
        ...


class Search:
    """A search over the islands of all folds.

    Args:
        parameters: the section ``search.strategy``.
        folds: number of folds, the final one included.
        seed: of all random draws.
        evaluator: backtests candidates.
        state: where the search stands; changed in place.
        folder: where the checkpoint goes after each generation.
        report: called with each finished generation.
        clock: seconds, for the budget in minutes.
    """

    def __init__(
        self,
        parameters: StrategySearchParameters,
        folds: int,
        seed: int,
        evaluator: Evaluator,
        state: State,
        folder: Path,
        report: Callable[[Generation], None] = lambda generation: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parameters = parameters
        self._space: Space = parameters.searched
        self._folds = folds
        self._seed = seed
        self._evaluate = evaluator
        self.state = state
        self._folder = folder
        self._report = report
        self._clock = clock
        self._weights = tuple(float(MEASURES[name].direction) for name in parameters.objectives)
        self._columns = [column(name) for name in parameters.objectives]
        self._choice = column(parameters.choose_by)
        self._index = {values: place for place, values in enumerate(state.values)}
        self._fresh: list[set[int]] = []

    def run(self) -> State:
        """Run generations until the search stops; return its state."""
        while not self.state.stopped:
            begin = self._clock()
            self.state.stopped = self._spent() or self._generation()
            self.state.seconds += self._clock() - begin
            save(self._folder, self.state)
        return self.state

    def choose(self, fold: int) -> list[int]:
        """Return a fold's front inside the limits, the best by the choice metric on its *training* window first."""
        inside = [place for place in self.state.fronts[fold] if self.state.assessments[place].shortfall[fold] == 0.0]
        return sorted(inside, key=lambda place: (-self._figure(place, fold), self.state.values[place]))

    def _figure(self, place: int, fold: int) -> float:
        return self.state.assessments[place].train[fold][self._choice]

    def _spent(self) -> str:
        """Return which budget is used up before the next generation, if any."""
        budget, state = self._parameters.budget, self.state
        if budget.generations is not None and state.generation >= budget.generations:
            return f"budget of {budget.generations} generations"
        if budget.minutes is not None and state.seconds >= 60.0 * budget.minutes:
            return f"budget of {budget.minutes:g} minutes"
        if budget.patience is not None and state.idle >= budget.patience:
            return f"no gain in {budget.patience} generations"
        return ""

    def _generation(self) -> str:
        """Breed, backtest and select once; return a reason where the trials do not suffice, with nothing changed."""
        state, evolution = self.state, self._parameters.evolution
        offspring = [self._breed(place) for place in range(len(state.islands))]
        new = list(dict.fromkeys(child.values for family in offspring for child in family))
        new = [values for values in new if values not in self._index]
        trials = self._parameters.budget.trials
        if trials is not None and state.trials + len(new) > trials:
            return f"budget of {trials} trials"
        if not new:
            return "every parameter set in reach was tried"
        for values, assessment in zip(new, self._evaluate(new, state.generation), strict=True):
            self._index[values] = len(state.values)
            state.values.append(values)
            state.assessments.append(assessment)
        number, every = state.generation, evolution.migrate_every
        self._fresh = [set() for _ in range(self._folds)]
        for place, family in enumerate(offspring):
            tried = [self._index[child.values] for child in family]
            self._meet(place, tried)
            pool = [self._member(index, place) for index in [*state.islands[place], *tried]]
            state.islands[place] = [self._index[kept.values] for kept in survivors(pool, evolution.population)]
        migrated = bool(every) and evolution.migrants > 0 and number > 0 and number % every == 0
        if migrated:
            self._migrate()
        for fold in range(self._folds):
            self._update_front(fold)
        volumes = self._volumes()
        self._judge_gain(volumes)
        state.generation += 1
        state.history.append(self._summary(number, offspring, len(new), volumes, migrated))
        self._report(state.history[-1])
        return ""

    def _breed(self, place: int) -> list[Individual]:
        """Return the next children of an island. Its own draws: what other islands do changes nothing here."""
        state, evolution = self.state, self._parameters.evolution
        known = {state.values[index] for index in state.tried[place]}
        with seeded(self._seed, state.generation, place // evolution.islands, place % evolution.islands):
            if not state.islands[place]:
                return newcomers(self._space, evolution.population, self._weights, known)
            parents = [self._member(index, place) for index in state.islands[place]]
            return children(parents, self._space, evolution, state.generation, known)

    def _member(self, index: int, place: int) -> Individual:
        """Return a candidate with its fitness on the training window of an island's fold."""
        fold = place // self._parameters.evolution.islands
        values, assessment = self.state.values[index], self.state.assessments[index]
        member = individual(self._space.encode(values), values, self._weights)
        shortfall = assessment.shortfall[fold]
        if shortfall > 0.0:  # worse than everybody inside, and the worse the further outside (Deb 2002, section VI)
            member.fitness.values = tuple(-weight * PENALTY * (1.0 + shortfall) for weight in self._weights)
        else:
            member.fitness.values = tuple(assessment.train[fold][at] for at in self._columns)
        return member

    def _meet(self, place: int, indices: Sequence[int]) -> None:
        """Remember which candidates an island has held."""
        tried = self.state.tried[place]
        have = set(tried)
        tried += [index for index in dict.fromkeys(indices) if index not in have]
        self._fresh[place // self._parameters.evolution.islands].update(indices)

    def _migrate(self) -> None:
        """Send the best of each island around the ring of its fold and forward to the next fold, all at once."""
        state, evolution = self.state, self._parameters.evolution
        leaving: list[list[int]] = []
        for place, island in enumerate(state.islands):
            best = survivors([self._member(index, place) for index in island], evolution.migrants)
            leaving.append([self._index[member.values] for member in best])
        arriving: list[list[int]] = [[] for _ in state.islands]
        for place in range(len(state.islands)):
            fold, island = divmod(place, evolution.islands)
            if evolution.islands > 1:
                arriving[fold * evolution.islands + (island + 1) % evolution.islands] += leaving[place]
            if fold + 1 < self._folds:
                arriving[place + evolution.islands] += leaving[place]
        for place, guests in enumerate(arriving):
            strangers = [index for index in dict.fromkeys(guests) if index not in state.islands[place]]
            members = [self._member(index, place) for index in state.islands[place]]
            stay = survivors(members, evolution.population - len(strangers))
            state.islands[place] = [self._index[member.values] for member in stay] + strangers
            self._meet(place, strangers)

    def _update_front(self, fold: int) -> None:
        """Keep what is not dominated among a fold's front and what its islands met in this generation."""
        islands = self._parameters.evolution.islands
        pool = {*self.state.fronts[fold], *self._fresh[fold]}
        members = front([self._member(index, fold * islands) for index in sorted(pool)])
        self.state.fronts[fold] = [self._index[member.values] for member in members]

    def _volumes(self) -> list[float]:
        """Return the hypervolume of each fold's front; its reference point is set by the first candidates inside."""
        state, islands = self.state, self._parameters.evolution.islands
        volumes: list[float] = []
        for fold in range(self._folds):
            inside = [self._member(i, fold * islands) for i in state.fronts[fold]]
            inside = [m for m in inside if self.state.assessments[self._index[m.values]].shortfall[fold] == 0.0]
            if not state.reference[fold] and inside:
                known = [i for i in range(len(state.values)) if state.assessments[i].shortfall[fold] == 0.0]
                known = [i for i in known if any(i in state.tried[fold * islands + n] for n in range(islands))]
                points = [self._member(i, fold * islands).fitness.wvalues for i in known]
                columns = list(zip(*points, strict=True))
                state.reference[fold] = [min(c) - _MARGIN * (max(c) - min(c)) - 1e-12 for c in columns]
            volumes.append(volume(inside, state.reference[fold]) if inside else 0.0)
        return volumes

    def _judge_gain(self, volumes: Sequence[float]) -> None:
        """Count generations without a gain: the mean relative growth of the folds' hypervolumes since the last one."""
        state = self.state
        growth = [
            (now - before) / before if before > 0.0 else float(now > 0.0)
            for now, before in zip(volumes, state.mark, strict=True)
        ]
        if sum(growth) / len(growth) >= self._parameters.budget.gain:
            state.mark, state.idle = list(volumes), 0
        else:
            state.idle += 1

    def _summary(
        self, number: int, offspring: list[list[Individual]], new: int, volumes: Sequence[float], migrated: bool
    ) -> Generation:
        state, islands = self.state, self._parameters.evolution.islands
        tried = [(self._index[child.values], place // islands) for place, f in enumerate(offspring) for child in f]
        inside = [state.assessments[index].shortfall[fold] == 0.0 for index, fold in tried]
        best = [self._best(self.choose(fold), fold) for fold in range(self._folds)]
        peaks = [
            self._best([i for i in island if state.assessments[i].shortfall[place // islands] == 0.0], place // islands)
            for place, island in enumerate(state.islands)
        ]
        return Generation(
            number,
            new,
            state.trials,
            tuple(volumes),
            tuple(best),
            tuple(peaks),
            sum(inside) / len(inside),
            heat(self._parameters.evolution, number)[0],
            migrated,
        )

    def _best(self, places: Sequence[int], fold: int) -> float:
        """Return the largest choice metric of some candidates on a training window; NaN where there is none."""
        return max((self._figure(place, fold) for place in places), default=float("nan"))
