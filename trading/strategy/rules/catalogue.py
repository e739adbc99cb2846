"""The rules there are, with their parameters: names, ranges and defaults for whoever searches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from trading.strategy.rules import channel_breakout, ema_cross, mean_reversion
from trading.strategy.rules.step import CHANNEL_BREAKOUT, EMA_CROSS, MEAN_REVERSION


@dataclass(frozen=True)
class RuleParameter:
    """One number of a rule: a value outside of ``low``..``high`` is refused."""

    name: str
    low: float
    high: float
    default: float
    integer: bool
    words: str


@dataclass(frozen=True)
class Rule:
    """A rule: its number in the compiled step and its parameters, in the order of the columns.

    ``size`` gives the places of the state from a row of parameters; ``order`` names parameters that must rise.
    """

    name: str
    number: int
    words: str
    parameters: tuple[RuleParameter, ...]
    size: Callable[[Sequence[float]], int]
    order: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    def row(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """Return float64 [K] from values by name; what is not named has its default.

        Raises:
            BadInputError: no such parameter, or a value out of range.
        """
        unknown = sorted(set(values) - set(self.names))
        if unknown:
            raise BadInputError(f"rule {self.name} has no {', '.join(unknown)}; it has {', '.join(self.names)}")
        row = np.array([float(values.get(item.name, item.default)) for item in self.parameters])
        return self.check(row[None])[0]

    def check(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return parameter sets as contiguous float64 [P, K].

        Raises:
            BadInputError: another shape, no set at all, or a value out of range, naming the first.
        """
        sets = np.ascontiguousarray(table, np.float64)
        if sets.ndim != 2 or sets.shape[1] != len(self.parameters) or not len(sets):
            raise BadInputError(
                f"rule {self.name} takes a table of sets of {len(self.parameters)} ({', '.join(self.names)}), "
                f"not one of shape {np.shape(table)}"
            )
        for column, parameter in enumerate(self.parameters):
            values = sets[:, column]
            wrong = ~((values >= parameter.low) & (values <= parameter.high))
            if parameter.integer:
                wrong |= values != np.rint(values)
            if wrong.any():
                first = int(np.flatnonzero(wrong)[0])
                kind = "a whole number" if parameter.integer else "a number"
                raise BadInputError(
                    f"rule {self.name}, set {first}: {parameter.name} must be {kind} from {parameter.low:g} to "
                    f"{parameter.high:g}, not {values[first]:g}"
                )
        for lower, higher in zip(self.order, self.order[1:], strict=False):
            wrong = sets[:, self.names.index(lower)] >= sets[:, self.names.index(higher)]
            if wrong.any():
                first = int(np.flatnonzero(wrong)[0])
                raise BadInputError(f"rule {self.name}, set {first}: {lower} must be below {higher}")
        return sets

    def state_size(self, table: NDArray[np.float64]) -> int:
        """Return the places of the state that are enough for every set."""
        return max(self.size([float(value) for value in row]) for row in np.unique(table, axis=0))


def _bars(name: str, high: float, default: float, words: str, low: float = 1.0) -> RuleParameter:
    return RuleParameter(name, low, high, default, True, f"{words}, in bars")


def _ranges(name: str, default: float, words: str) -> RuleParameter:
    return RuleParameter(name, 0.0, 100.0, default, False, f"{words}, in average true ranges; 0: none")


_STOP = _ranges("stop", 0.0, "distance of the stop-loss")
_TARGET = _ranges("target", 0.0, "distance of the take-profit")
_TRAILING = _ranges("trailing", 0.0, "distance of the trailing stop")
_PERIODS = _bars("range_periods", 1000.0, 14.0, "memory of the average true range")

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "ema_cross",
            EMA_CROSS,
            "long while the fast average of the bid is at or above the slow one, else short",
            (
                _bars("fast", 5000.0, 10.0, "period of the fast average"),
                _bars("slow", 5000.0, 20.0, "period of the slow average", 2.0),
                _STOP,
                _TARGET,
                _TRAILING,
                _PERIODS,
            ),
            lambda row: ema_cross.STATE_SIZE,
            ("fast", "slow"),
        ),
        Rule(
            "channel_breakout",
            CHANNEL_BREAKOUT,
            "with a close that leaves the channel of the bars before it",
            (
                _bars("enter", 5000.0, 55.0, "channel that is entered on"),
                _bars("leave", 5000.0, 20.0, "channel that is left on; 0: none", 0.0),
                _ranges("stop", 2.0, "distance of the stop-loss"),
                _ranges("target", 4.0, "distance of the take-profit"),
                _TRAILING,
                _PERIODS,
            ),
            lambda row: channel_breakout.state_size(row[0], row[1]),
        ),
        Rule(
            "mean_reversion",
            MEAN_REVERSION,
            "against a close that is far from its moving average",
            (
                _bars("window", 5000.0, 50.0, "closes of mean and deviation", 2.0),
                RuleParameter("enter", 0.1, 20.0, 2.0, False, "standard deviations from the mean to enter"),
                RuleParameter("leave", 0.0, 20.0, 0.5, False, "standard deviations from the mean to leave"),
                _ranges("stop", 3.0, "distance of the stop-loss"),
                _TARGET,
                _ranges("offset", 0.0, "distance of an entry by limit order from the standing price"),
                _PERIODS,
            ),
            lambda row: mean_reversion.state_size(row[0]),
            ("leave", "enter"),
        ),
    )
}


def rule_of(name: str) -> Rule:
    """Return a rule by name.

    Raises:
        BadInputError: there is none.
    """
    if name not in RULES:
        raise BadInputError(f"no rule {name!r}: there are {', '.join(RULES)}")
    return RULES[name]
