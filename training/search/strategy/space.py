"""The space of a rule's parameters: bounds, scales, and constraints that every candidate satisfies.

A candidate has two forms. Its *genes* are positions in the unit cube, one per parameter on the parameter's own scale
(linear or logarithmic): all variation happens there, so that a step of 0.1 means the same for each. Its *values* are
what the rule gets: whole where the parameter is whole, on the grid where it has a step, inside every constraint.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError

Values = tuple[float, ...]
Genes = tuple[float, ...]

_CONSTRAINT = re.compile(r"\s*(\w+)\s*(<=|<)\s*(\w+)\s*")
_GAP = 1e-6  # of the range: how far apart two real parameters under ``<`` are kept


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The range of one parameter, both ends included."""

    low: float
    high: float
    integer: bool = False
    log: bool = False  # equal ratios are equally likely
    step: float | None = None  # grid from ``low`` on; the last point may lie below ``high``


@dataclass(frozen=True)
class Space:
    """The searched parameters of a rule, D of them, in the order of their names in the file.

    ``low`` and ``high`` are the bounds as the constraints tighten them: with ``fast < slow`` no ``fast`` can reach the
    largest ``slow``. Build with ``of``.
    """

    rule: str
    names: tuple[str, ...]
    bounds: tuple[Bound, ...]
    constraints: tuple[tuple[int, bool, int], ...]  # smaller, whether it must differ, larger
    order: tuple[int, ...]  # parameters, each after those that must be smaller
    low: Values
    high: Values

    @property
    def dimension(self) -> int:
        """Number of parameters D."""
        return len(self.names)

    @classmethod
    def of(cls, rule: str, bounds: Mapping[str, Bound], constraints: Sequence[str] = ()) -> "Space":
        """Check bounds and constraints and build the space.

        Raises:
            BadInputError: no parameter, a bound that makes no sense, or constraints that leave nothing.
        """
        if not bounds:
            raise BadInputError(f"the space of {rule} has no parameter: give it at least one with low and high")
        names = tuple(bounds)
        for name in names:
            _check_bound(rule, name, bounds[name])
        pairs = tuple(_parse(rule, names, text) for text in constraints)
        order = _order(rule, names, pairs)
        low, high = [b.low for b in bounds.values()], [_top(b) for b in bounds.values()]
        listed = tuple(bounds.values())
        for index in order:
            for small, strict, large in pairs:
                if large == index:
                    low[large] = max(low[large], _above(listed, small, large, low[small], strict))
        for index in reversed(order):
            for small, strict, large in pairs:
                if small == index:
                    high[small] = min(high[small], _below(listed, small, large, high[large], strict))
        for index, name in enumerate(names):
            if low[index] > high[index]:
                raise BadInputError(
                    f"the space of {rule} is empty: its constraints leave {name} nothing between "
                    f"{low[index]:g} and {high[index]:g}"
                )
        return cls(rule, names, listed, pairs, order, tuple(low), tuple(high))

    def decode(self, genes: Sequence[float]) -> Values:
        """Return the values at a position of the unit cube, repaired where a constraint does not hold."""
        raw = [self.value(index, float(gene)) for index, gene in enumerate(genes)]
        return self.repair(raw)

    def encode(self, values: Sequence[float]) -> Genes:
        """Return the position of values in the unit cube."""
        return tuple(self._gene(index, float(value)) for index, value in enumerate(values))

    def repair(self, values: Sequence[float]) -> Values:
        """Return the values on their grids and inside bounds and constraints.

        Two values the wrong way round are exchanged where their bounds allow it; what still does not hold is raised
        just as far as needed, in an order that always ends well because the bounds are tight.
        """
        result = [self._snap(index, value, self.low[index]) for index, value in enumerate(values)]
        for small, strict, large in self.constraints:
            a, b = result[small], result[large]
            if a > b or (strict and a == b):
                swapped = self._snap(small, b, self.low[small]), self._snap(large, a, self.low[large])
                if swapped == (b, a):
                    result[small], result[large] = swapped
        for index in self.order:
            floor = self.low[index]
            for small, strict, large in self.constraints:
                if large == index:
                    floor = max(floor, _above(self.bounds, small, large, result[small], strict))
            result[index] = self._snap(index, max(result[index], floor), floor)
        return tuple(result)

    def holds(self, values: Sequence[float]) -> bool:
        """Return whether values lie on their grids and inside bounds and constraints."""
        inside = all(self._snap(i, v, self.low[i]) == v for i, v in enumerate(values))
        return inside and all(
            values[a] < values[b] if strict else values[a] <= values[b] for a, strict, b in self.constraints
        )

    def named(self, values: Sequence[float]) -> dict[str, float | int]:
        """Return values by parameter name; whole parameters as ``int``."""
        return {
            name: int(value) if bound.integer else float(value)
            for name, bound, value in zip(self.names, self.bounds, values, strict=True)
        }

    def hypercube(self, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return a Latin hypercube of ``count`` positions in the unit cube, float64 [count, D].

        Each parameter has exactly one position in each of ``count`` equal slices of its range (McKay, Beckman and
        Conover, Technometrics 21, 1979).
        """
        slices = np.argsort(generator.random((count, self.dimension)), axis=0)
        return (slices + generator.random((count, self.dimension))) / count

    def value(self, index: int, gene: float) -> float:
        """Return the value of one parameter at a position of its range, on no grid yet."""
        low, high, bound = self.low[index], self.high[index], self.bounds[index]
        gene = min(max(gene, 0.0), 1.0)
        if bound.log:
            return math.exp(math.log(low) + gene * (math.log(high) - math.log(low)))
        return low + gene * (high - low)

    def _gene(self, index: int, value: float) -> float:
        low, high, bound = self.low[index], self.high[index], self.bounds[index]
        if high == low:
            return 0.5
        if bound.log:
            return min(max((math.log(value) - math.log(low)) / (math.log(high) - math.log(low)), 0.0), 1.0)
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def _snap(self, index: int, value: float, floor: float) -> float:
        """Return the nearest admitted value that is not below ``floor``."""
        bound, high = self.bounds[index], self.high[index]
        value = min(max(value, floor), high)
        step = _step(bound)
        if step is None:
            return value
        number = round((value - bound.low) / step)
        while bound.low + number * step < floor - step * 1e-9:
            number += 1
        while bound.low + number * step > high + step * 1e-9:
            number -= 1
        return bound.low + number * step


def _step(bound: Bound) -> float | None:
    return bound.step or (1.0 if bound.integer else None)


def _top(bound: Bound) -> float:
    """Return the largest admitted value."""
    step = _step(bound)
    return bound.high if step is None else bound.low + math.floor((bound.high - bound.low) / step + 1e-9) * step


def _gap(bounds: Sequence[Bound], small: int, large: int) -> float:
    return _GAP * min(bounds[small].high - bounds[small].low, bounds[large].high - bounds[large].low)


def _above(bounds: Sequence[Bound], small: int, large: int, value: float, strict: bool) -> float:
    """Return the least admitted value of ``large`` when ``small`` has this value."""
    bound, step = bounds[large], _step(bounds[large])
    if step is None:
        return value + _gap(bounds, small, large) if strict else value
    number = (value - bound.low) / step
    whole = max(math.floor(number + 1e-9) + 1 if strict else math.ceil(number - 1e-9), 0)
    if bound.low + whole * step < value:  # the tolerance is for the grid's own rounding: what is below stays below
        whole += 1
    return bound.low + whole * step


def _below(bounds: Sequence[Bound], small: int, large: int, value: float, strict: bool) -> float:
    """Return the greatest admitted value of ``small`` when ``large`` has this value."""
    bound, step = bounds[small], _step(bounds[small])
    if step is None:
        return value - _gap(bounds, small, large) if strict else value
    number = (value - bound.low) / step
    whole = math.ceil(number - 1e-9) - 1 if strict else math.floor(number + 1e-9)
    if bound.low + whole * step > value:
        whole -= 1
    return bound.low + whole * step


def _check_bound(rule: str, name: str, bound: Bound) -> None:
    where = f"the space of {rule}: {name}"
    if not (math.isfinite(bound.low) and math.isfinite(bound.high)) or bound.low >= bound.high:
        raise BadInputError(f"{where} needs low < high, not {bound.low:g} and {bound.high:g}")
    if bound.log and bound.low <= 0:
        raise BadInputError(f"{where} is logarithmic and begins at {bound.low:g}: begin above 0")
    if bound.integer and (bound.low != round(bound.low) or bound.high != round(bound.high)):
        raise BadInputError(f"{where} is an integer between {bound.low:g} and {bound.high:g}: give whole bounds")
    if bound.step is not None and not 0 < bound.step <= bound.high - bound.low:
        raise BadInputError(f"{where} has the step {bound.step:g}: it must be above 0 and fit between the bounds")
    if bound.integer and bound.step is not None and bound.step != round(bound.step):
        raise BadInputError(f"{where} is an integer with the step {bound.step:g}: give a whole step")


def _parse(rule: str, names: tuple[str, ...], text: str) -> tuple[int, bool, int]:
    match = _CONSTRAINT.fullmatch(text)
    if match is None:
        raise BadInputError(f"the space of {rule}: {text!r} is no constraint; write two parameters with < or <=")
    small, relation, large = match.groups()
    for name in (small, large):
        if name not in names:
            raise BadInputError(f"the space of {rule}: {text!r} names {name}, which is not searched")
    return names.index(small), relation == "<", names.index(large)


def _order(rule: str, names: tuple[str, ...], pairs: Sequence[tuple[int, bool, int]]) -> tuple[int, ...]:
    """Return the parameters so that each comes after those that must be smaller."""
    order: list[int] = []
    while len(order) < len(names):
        free = [i for i in range(len(names)) if i not in order and all(a in order for a, _, b in pairs if b == i)]
        if not free:
            left = ", ".join(name for i, name in enumerate(names) if i not in order)
            raise BadInputError(f"the space of {rule} is empty: its constraints on {left} go round in a circle")
        order.append(free[0])
    return tuple(order)
