"""The space of a strategy search: what is refused, how constraints are repaired."""

import pytest

from core.errors import BadInputError
from training.search.strategy.parameters import read_search
from training.search.strategy.space import Bound, Space

FAST, SLOW = Bound(2, 60, integer=True), Bound(5, 200, integer=True)


@pytest.mark.parametrize(
    ("bounds", "constraints", "words"),
    [
        ({}, [], "no parameter"),
        ({"a": Bound(3, 3)}, [], "low < high"),
        ({"a": Bound(5, 3)}, [], "low < high"),
        ({"a": Bound(0, float("nan"))}, [], "low < high"),
        ({"a": Bound(0, 5, log=True)}, [], "logarithmic"),
        ({"a": Bound(0.5, 5, integer=True)}, [], "whole bounds"),
        ({"a": Bound(0, 1, step=2.0)}, [], "step"),
        ({"a": Bound(0, 9, integer=True, step=1.5)}, [], "whole step"),
        ({"a": Bound(0, 1), "b": Bound(0, 1)}, ["a > b"], "no constraint"),
        ({"a": Bound(0, 1), "b": Bound(0, 1)}, ["a < c"], "not searched"),
        ({"a": Bound(0, 1), "b": Bound(0, 1)}, ["a < b", "b < a"], "circle"),
        ({"a": Bound(5, 9), "b": Bound(1, 5)}, ["a < b"], "empty"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(bounds: dict[str, Bound], constraints: list[str], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        Space.of("rule", bounds, constraints)


def test_values_the_wrong_way_round_are_exchanged_and_else_raised_as_far_as_needed() -> None:
    space = Space.of("ema_cross", {"fast": FAST, "slow": SLOW}, ["fast < slow"])
    assert space.repair([50, 20]) == (20, 50)
    assert space.repair([4, 3]) == (4, 5), "3 is below the bounds of slow: no exchange"
    assert space.repair([20, 20]) == (20, 21)
    assert space.named((20.0, 21.0)) == {"fast": 20, "slow": 21}


def test_constraints_tighten_the_bounds() -> None:
    space = Space.of("rule", {"fast": Bound(2, 60, integer=True), "slow": Bound(2, 40, integer=True)}, ["fast < slow"])
    assert (space.low, space.high) == ((2, 3), (39, 40))


def test_a_logarithmic_parameter_has_its_geometric_mean_in_the_middle() -> None:
    space = Space.of("rule", {"a": Bound(1.0, 100.0, log=True)})
    assert space.decode([0.5])[0] == pytest.approx(10.0)
    assert space.encode((10.0,))[0] == pytest.approx(0.5)


def section(**changes: object) -> dict[str, object]:
    content: dict[str, object] = {
        "rule": "ema_cross",
        "space": {"ema_cross": {"parameters": {"fast": {"low": 2, "high": 9}}}},
    }
    return {"search": {"strategy": {**content, **changes}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": "moon"}, "has no space; there is ema_cross"),
        ({"space": {"ema_cross": {"parameters": {}}}}, "no parameter"),
        ({"objectives": ["return", "fortune"]}, "no metric 'fortune'"),
        ({"choose_by": "luck"}, "no metric 'luck'"),
        ({"choose_by": "drawdown"}, "better when larger"),
        ({"objectives": ["return"]}, "two different"),
        ({"objectives": ["return", "return"]}, "two different"),
        ({"budget": {"generations": 0}}, "budget of nothing"),
        ({"budget": {"trials": 0}}, "budget of nothing"),
        ({"budget": {"minutes": -1.0}}, "budget of nothing"),
        ({"budget": {"trials": 20}}, "first generation alone tries 120"),
        ({"budget": {"generations": None}}, "no limit"),
        ({"evolution": {"population": 10}}, "multiple of 4"),
        ({"evolution": {"migrants": 9}}, "half of the population"),
        ({"evolution": {"cooling": 0.0}}, "between 0 and 1"),
        ({"windows": {"folds": 1}}, "windows.folds"),
        ({"windows": {"unseen_share": 1.0}}, "unseen_share"),
        ({"plateau": {"radius": 0.0}}, "radius"),
        ({"plateau": {"share": 2.0}}, "share"),
        ({"colour": "blue"}, "colour"),
        ({"evolution": {"speed": 3}}, "speed"),
    ],
)
def test_bad_parameters_are_refused_by_name(changes: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_search(section(**changes))


def test_a_missing_section_is_refused_and_overrides_are_checked_too() -> None:
    with pytest.raises(BadInputError, match=r"no section search\.strategy"):
        read_search({})
    assert read_search(section(), generations=3, trials=500).budget.generations == 3
    with pytest.raises(BadInputError, match="budget of nothing"):
        read_search(section(), trials=0)
