"""From what is searched to what the compiled rule takes: a row of all its parameters, the rest at one value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from trading.strategy.rules.catalogue import Rule, rule_of
from training.search.strategy.parameters import SECTION, StrategySearchParameters
from training.search.strategy.space import Space, Values


@dataclass(frozen=True)
class Candidates:
    """A rule, its searched space, and the values of what is not searched. Build with ``of``."""

    rule: Rule
    space: Space
    base: NDArray[np.float64]

    @property
    def memory(self) -> int:
        """Bars that warm the rule up before a window: the largest whole parameter it can be given."""
        largest = self.base.copy()
        for name, high in zip(self.space.names, self.space.high, strict=True):
            largest[self.rule.names.index(name)] = high
        return int(max(v for v, item in zip(largest, self.rule.parameters, strict=True) if item.integer))

    @classmethod
    def of(cls, parameters: StrategySearchParameters) -> "Candidates":
        """Put the space beside the rule and check that the rule takes every value in it.

        Raises:
            BadInputError: there is no such rule or parameter, or a bound lies outside of what the rule takes.
        """
        rule, space = rule_of(parameters.rule), parameters.searched
        fixed = parameters.space[parameters.rule].fixed
        where = f"{SECTION}.space.{rule.name}"
        both = sorted(set(fixed) & set(space.names))
        if both:
            raise BadInputError(f"{where}: {', '.join(both)} cannot be both searched and fixed")
        known = {item.name: item for item in rule.parameters}
        unknown = sorted(set(space.names) - set(known))
        if unknown:
            raise BadInputError(f"{where}: the rule has no {', '.join(unknown)}; it has {', '.join(known)}")
        for name, bound in zip(space.names, space.bounds, strict=True):
            allowed = known[name]
            if bound.low < allowed.low or bound.high > allowed.high:
                raise BadInputError(
                    f"{where}: {name} from {bound.low:g} to {bound.high:g} leaves what the rule takes, "
                    f"{allowed.low:g} to {allowed.high:g}"
                )
            if allowed.integer and not bound.integer:
                raise BadInputError(f"{where}: {name} is a whole number: set integer: true")
        missing = [
            f"{lower} < {higher}"
            for lower, higher in zip(rule.order, rule.order[1:], strict=False)
            if {lower, higher} <= set(space.names) and not _demanded(space, lower, higher)
        ]
        if missing:
            raise BadInputError(f"{where}: the rule needs {', '.join(missing)}: add it to constraints")
        made = cls(rule, space, rule.row(fixed))
        for corner in (space.low, space.high):  # a fixed value may stand against the whole range of a searched one
            made.table([space.repair(corner)])
        return made

    def table(self, candidates: Sequence[Values]) -> NDArray[np.float64]:
        """Return the rows of the rule's parameters, float64 [P, K], checked.

        Raises:
            BadInputError: the rule does not take a value.
        """
        rows = np.tile(self.base, (len(candidates), 1))
        columns = [self.rule.names.index(name) for name in self.space.names]
        rows[:, columns] = np.array(candidates, np.float64).reshape(len(candidates), self.space.dimension)
        return self.rule.check(rows)


def _demanded(space: Space, lower: str, higher: str) -> bool:
    pair = space.names.index(lower), space.names.index(higher)
    return any((small, large) == pair and strict for small, strict, large in space.constraints)
