"""Every position of the unit cube becomes a parameter set inside bounds, grids and constraints."""

import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import BadInputError
from training.search.strategy.space import Bound, Space

NAMES = ("a", "b", "c", "d")


@st.composite
def bounds(draw: st.DrawFn) -> Bound:
    kind = draw(st.sampled_from(["real", "integer", "step"]))
    log = draw(st.booleans())
    low = draw(st.integers(1, 40))
    high = low + draw(st.integers(1, 200))
    if kind == "real":
        return Bound(low=low + 0.25, high=float(high) + 0.5, log=log)
    if kind == "integer":
        return Bound(low=low, high=high, integer=True, log=log)
    return Bound(low=low, high=high, log=log, step=draw(st.sampled_from([0.1, 0.25, 0.5])))


@st.composite
def spaces(draw: st.DrawFn) -> Space | None:
    """A random space with constraints between neighbours in the alphabet; None where they leave no point."""
    chosen = {name: draw(bounds()) for name in NAMES}
    pairs = draw(st.lists(st.sampled_from([("a", "b"), ("b", "c"), ("a", "d"), ("c", "d")]), max_size=4, unique=True))
    relations = [draw(st.sampled_from(["<", "<="])) for _ in pairs]
    try:
        return Space.of("rule", chosen, [f"{x} {r} {y}" for (x, y), r in zip(pairs, relations, strict=True)])
    except BadInputError:
        return None


_HAIR_ABOVE = Space.of(  # exp(log(34)) is a hair above 34, within the tolerance of a grid
    "rule",
    {
        "a": Bound(1.25, 2.5),
        "b": Bound(34, 35, integer=True),
        "c": Bound(1.25, 34.5, log=True),
        "d": Bound(1, 35, integer=True),
    },
    ["b <= c", "c <= d"],
)


@settings(max_examples=150, deadline=None)
@example(space=_HAIR_ABOVE, seed=0)
@given(space=spaces(), seed=st.integers(0, 2**32 - 1))
def test_every_position_becomes_a_set_that_holds(space: Space | None, seed: int) -> None:
    if space is None:
        return
    generator = np.random.default_rng(seed)
    corners = [[0.0] * 4, [1.0] * 4, [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    for position in [*generator.random((20, 4)).tolist(), *corners]:
        values = space.decode(position)
        for bound, value in zip(space.bounds, values, strict=True):
            assert bound.low <= value <= bound.high + 1e-9
            if bound.integer:
                assert value == round(value)
            if bound.step:
                assert math.isclose(
                    (value - bound.low) / bound.step, round((value - bound.low) / bound.step), abs_tol=1e-6
                )
        for small, strict, large in space.constraints:
            assert values[small] < values[large] if strict else values[small] <= values[large]
        assert space.holds(values)
        assert space.repair(values) == values, "a set that holds is left alone"
        assert all(0.0 <= gene <= 1.0 for gene in space.encode(values))


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_a_latin_hypercube_has_one_position_in_each_slice(count: int, seed: int) -> None:
    space = Space.of("rule", {"a": Bound(0.0, 1.0), "b": Bound(1.0, 2.0)})
    cube = space.hypercube(count, np.random.default_rng(seed))
    for column in cube.T:
        assert sorted(np.floor(column * count).astype(int).tolist()) == list(range(count))
