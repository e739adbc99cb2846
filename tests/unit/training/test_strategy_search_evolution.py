"""The engine of the strategy search on a function whose Pareto front is known, without a market."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import IntegrityError
from training.search.strategy.evolve import Search
from training.search.strategy.objectives import NAMES, column
from training.search.strategy.parameters import StrategySearchParameters, read_search
from training.search.strategy.population import heat, seeded
from training.search.strategy.space import Values
from training.search.strategy.state import Assessment, State, begin, load, result_digest, save

FOLDS = 3
REAL = {f"x{index}": {"low": 0.0, "high": 1.0} for index in range(3)}


def parameters(**changes: Any) -> StrategySearchParameters:
    content: dict[str, Any] = {
        "rule": "zdt1",
        "space": {"zdt1": {"parameters": {**REAL, "n": {"low": 1, "high": 50, "integer": True, "log": True}}}},
        "objectives": ["return", "drawdown"],
        "choose_by": "return",
        "windows": {"folds": FOLDS - 1},
        "budget": {"generations": 12, "patience": None},
    }
    return read_search({"search": {"strategy": {**content, **changes}}})


class Zdt1:
    """Zitzler, Deb and Thiele's first function (Evolutionary Computation 8(2), 2000), minimised; a whole number added.

    The front is ``f2 = 1 − sqrt(f1)``, at ``x1 = x2 = 0`` and ``n = 10``. ``shift`` moves the optimum of one fold.
    """

    def __init__(self, shift: dict[int, float] | None = None, few: bool = False) -> None:
        self.batches: list[list[Values]] = []
        self._shift = shift or {}
        self._few = few

    def __call__(self, candidates: Sequence[Values], generation: int) -> list[Assessment]:
        self.batches.append(list(candidates))
        return [self._assess(candidate) for candidate in candidates]

    def _assess(self, values: Values) -> Assessment:
        rows: list[tuple[float, ...]] = []
        for fold in range(FOLDS):
            away = abs(values[1] - self._shift.get(fold, 0.0)) + values[2] + abs(math.log(values[3] / 10.0))
            spread = 1.0 + 3.0 * away
            row = dict.fromkeys(NAMES, 0.0)
            row["return"] = -values[0]
            row["drawdown"] = spread * (1.0 - math.sqrt(values[0] / spread))
            rows.append(tuple(row[name] for name in NAMES))
        outside = 1.0 if self._few and values[3] < 10 else 0.0
        return Assessment("", tuple(rows), (), (outside,) * FOLDS)


def run(folder: Path, given: StrategySearchParameters, evaluator: Zdt1, seed: int = 7) -> State:
    return Search(given, FOLDS, seed, evaluator, begin("digest", FOLDS, given.evolution.islands), folder).run()


def distance(state: State, fold: int) -> float:
    """How far the worst of a fold's front lies above the known front."""
    figures = [state.assessments[index].train[fold] for index in state.fronts[fold]]
    return max(row[column("drawdown")] - (1.0 - math.sqrt(-row[column("return")])) for row in figures)


def test_the_fronts_come_near_the_known_one_and_spread_along_it(tmp_path: Path) -> None:
    state = run(tmp_path, parameters(budget={"generations": 30, "patience": None}), Zdt1())
    for fold in range(FOLDS):
        assert distance(state, fold) < 0.12
        returns = [-state.assessments[index].train[fold][column("return")] for index in state.fronts[fold]]
        assert min(returns) < 0.02 and max(returns) > 0.8 and len(returns) > 40
    assert len(set(state.values)) == len(state.values) == state.trials, "nobody is tried twice"


def test_the_same_seed_gives_the_same_search_and_another_seed_another(tmp_path: Path) -> None:
    first = run(tmp_path / "a", parameters(), Zdt1())
    assert result_digest(run(tmp_path / "b", parameters(), Zdt1())) == result_digest(first)
    assert result_digest(run(tmp_path / "c", parameters(), Zdt1(), seed=8)) != result_digest(first)


def test_a_search_broken_off_after_any_generation_ends_as_one_that_was_not(tmp_path: Path) -> None:
    given = parameters()
    whole = run(tmp_path / "whole", given, Zdt1())

    class BrokenError(Exception):
        pass

    def breaking(generation: object) -> None:
        raise BrokenError

    folder = tmp_path / "broken"
    processes = 0
    while True:
        state = load(folder, "digest") or begin("digest", FOLDS, given.evolution.islands)
        search = Search(given, FOLDS, 7, Zdt1(), state, folder, breaking if processes % 2 else lambda _: None)
        processes += 1
        if processes % 2:  # one generation, then the process ends between two
            assert not search.state.stopped
            single = parameters(budget={"generations": state.generation + 1, "patience": None})
            ended = Search(single, FOLDS, 7, Zdt1(), state, folder).run()
            if ended.generation == whole.generation:
                break
            ended.stopped = ""
            save(folder, ended)
        else:  # the process ends inside a generation, before its checkpoint
            with pytest.raises(BrokenError):
                search.run()
    assert result_digest(ended) == result_digest(whole)


def test_a_fold_never_hears_of_later_days(tmp_path: Path) -> None:
    """What is only known on the last fold's window changes nothing in the folds before it, migration or not."""
    evolution = {"migrate_every": 2}
    plain = run(tmp_path / "a", parameters(evolution=evolution), Zdt1())
    other = run(tmp_path / "b", parameters(evolution=evolution), Zdt1(shift={FOLDS - 1: 0.7}))

    def held(state: State, place: int) -> list[Values]:
        return [state.values[index] for index in state.tried[place]]

    per_fold = parameters().evolution.islands
    for place in range((FOLDS - 1) * per_fold):
        assert held(plain, place) == held(other, place)
    assert held(plain, (FOLDS - 1) * per_fold) != held(other, (FOLDS - 1) * per_fold)


def test_migration_carries_good_candidates_forward(tmp_path: Path) -> None:
    state = run(tmp_path, parameters(evolution={"migrate_every": 2}), Zdt1())
    per_fold = parameters().evolution.islands
    shared = set(state.tried[0]) & set(state.tried[per_fold])
    assert shared, "the next fold has met candidates of this one"
    alone = run(tmp_path / "alone", parameters(evolution={"migrate_every": 0}), Zdt1())
    assert not any(generation.migrated for generation in alone.history)


def test_candidates_outside_the_limits_lose_against_all_inside(tmp_path: Path) -> None:
    state = run(tmp_path, parameters(), Zdt1(few=True))
    for fold in range(FOLDS):
        assert all(state.assessments[index].shortfall[fold] == 0.0 for index in state.fronts[fold])
    assert any(item.shortfall[0] > 0.0 for item in state.assessments)


def test_budgets_stop_the_search_and_are_named(tmp_path: Path) -> None:
    generations = run(tmp_path / "g", parameters(budget={"generations": 2, "patience": None}), Zdt1())
    assert (generations.generation, generations.stopped) == (2, "budget of 2 generations")
    trials = run(tmp_path / "t", parameters(budget={"generations": None, "trials": 300, "patience": None}), Zdt1())
    assert 200 < trials.trials <= 300 and trials.stopped == "budget of 300 trials"
    idle = run(tmp_path / "i", parameters(budget={"generations": 500, "patience": 3, "gain": 0.05}), Zdt1())
    assert idle.stopped == "no gain in 3 generations" and idle.generation < 200
    ticks = iter(range(0, 10**6, 45))  # each look at the clock is 45 seconds later
    given = parameters(budget={"generations": None, "minutes": 2.0, "patience": None})
    clocked = Search(
        given, FOLDS, 7, Zdt1(), begin("d", FOLDS, 2), tmp_path / "m", clock=lambda: float(next(ticks))
    ).run()
    assert clocked.stopped == "budget of 2 minutes" and clocked.generation == 3


def test_a_small_space_is_tried_out_and_then_the_search_ends(tmp_path: Path) -> None:
    whole = {"low": 1, "high": 3, "integer": True}
    space = {"zdt1": {"parameters": dict.fromkeys(("a", "b", "c", "d"), whole)}}

    class Flat(Zdt1):
        def _assess(self, values: Values) -> Assessment:
            row = tuple(values[0] if name in ("return", "drawdown") else 0.0 for name in NAMES)
            return Assessment("", (row,) * FOLDS, (), (0.0,) * FOLDS)

    state = run(tmp_path, parameters(space=space, budget={"generations": 500, "patience": None}), Flat())
    assert state.trials <= 81 and state.stopped == "every parameter set in reach was tried"


def test_mutation_cools_down_to_its_floor() -> None:
    evolution = parameters().evolution
    heats = [heat(evolution, generation) for generation in range(60)]
    assert heats[0] == (evolution.mutation, evolution.mutation_index)
    assert all(later[0] <= earlier[0] and later[1] >= earlier[1] for earlier, later in itertools.pairwise(heats))
    assert heats[-1] == (evolution.mutation_floor, evolution.mutation_index_ceiling)


def test_draws_of_an_island_leave_the_global_generator_alone() -> None:
    import random

    random.seed(1)
    before = random.getstate()
    with seeded(3, 0, 1):
        inside = random.random()
    assert random.getstate() == before
    with seeded(3, 0, 1):
        assert random.random() == inside


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path, begin("digest", FOLDS, 2))
    assert load(tmp_path, "digest") == begin("digest", FOLDS, 2)
    with pytest.raises(IntegrityError, match="belongs to another search"):
        load(tmp_path, "other")
    path = tmp_path / "checkpoint.msgpack"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="is damaged"):
        load(tmp_path, "digest")
    assert load(tmp_path / "nowhere", "digest") is None
