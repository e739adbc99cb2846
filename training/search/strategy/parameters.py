"""The section ``search.strategy`` of ``params.yaml``, typed and checked before anything is computed."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from core.errors import BadInputError
from core.params import section
from training.search.strategy.objectives import MEASURES
from training.search.strategy.space import Bound, Space

SECTION = "search.strategy"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of parameters. An unknown key is an error: a typing mistake must not be a silent default."""


class RuleSpace(Part, frozen=True):
    """What is searched of one rule: bounds by parameter name, and constraints such as ``fast < slow``."""

    parameters: dict[str, Bound]
    constraints: tuple[str, ...] = ()
    fixed: dict[str, float] = {}  # parameters that keep one value, where that is not the rule's default


class Windows(Part, frozen=True):
    """Walk-forward windows, as shares of the history before the holdout."""

    folds: int = 4
    train_share: float = 0.4  # of the research span: a fold's training window (the least, for anchored)
    unseen_share: float = 0.2  # last part of the history; read once, when the search is over
    scheme: Literal["rolling", "anchored"] = "rolling"


class Budget(Part, frozen=True):
    """When to stop, whichever comes first. The annealing does not depend on it: a longer search begins the same way."""

    generations: int | None = 15
    trials: int | None = None  # backtests of distinct parameter sets, plateau and validation not counted
    minutes: float | None = None
    patience: int | None = 5  # generations without a gain in hypervolume; null: never
    gain: float = 0.002  # relative growth of the hypervolume that counts as a gain


class Evolution(Part, frozen=True):
    """Islands, variation and its cooling."""

    islands: int = 2  # per fold
    population: int = 12  # per island; a multiple of four, as the tournament takes pairs of pairs
    crossover: float = 0.9  # probability that a pair of parents is crossed
    crossover_index: float = 12.0  # distribution index of simulated binary crossover: larger stays closer to parents
    mutation: float = 0.4  # probability of a parameter to mutate in generation 0
    mutation_floor: float = 0.1  # the probability never cools below it
    mutation_index: float = 8.0  # distribution index of polynomial mutation in generation 0
    mutation_index_ceiling: float = 60.0  # the index never cools above it
    cooling: float = 0.9  # factor of one generation on the probability, and of its inverse on the index
    migrate_every: int = 3  # generations between migrations; 0: islands never meet
    migrants: int = 2  # individuals that an island sends


class Plateau(Part, frozen=True):
    """The neighbourhood of a winner that must hold up too."""

    neighbours: int = 48  # Latin hypercube around the winner
    radius: float = 0.1  # of a parameter's range, on its own scale
    fraction: float = 0.5  # of the winner's figure that a neighbour must keep, and be above zero
    share: float = 0.6  # of the neighbours that must hold


class Sizes(Part, frozen=True):
    """How large a position of full weight is; as ``training.backtest.Sizing``."""

    kind: Literal["volatility", "fixed"] = "volatility"
    units: float = 10_000.0  # of the base currency, for fixed
    target_volatility: float = 0.08  # a year, per instrument
    maximum_leverage: float = 1.0
    rebalance_threshold: float = 0.25
    steps_per_year: float | None = None  # None: as many bars as a year of the research span has


class Limits(Part, frozen=True):
    """What the verdict asks for beside the gate's policy: least probabilities that a Sharpe ratio is above zero."""

    walk_forward: float = 0.95  # of the folds' choices on their test windows
    unseen: float = 0.5  # of the winner on the unseen span, which is short


class StrategySearchParameters(Part, frozen=True):
    """Everything the strategy search reads."""

    space: dict[str, RuleSpace]
    rule: str
    objectives: tuple[str, ...] = ("return", "drawdown", "turnover")
    choose_by: str = "sharpe"
    minimum_trades: int = 30
    hall_of_fame: int = 5
    windows: Windows = Windows()
    budget: Budget = Budget()
    evolution: Evolution = Evolution()
    plateau: Plateau = Plateau()
    sizing: Sizes = Sizes()
    limits: Limits = Limits()
    backend: Literal["threads", "ray"] = "threads"
    ray_address: str | None = None  # of a running cluster; None: one of this machine

    @property
    def searched(self) -> Space:
        """The space of the chosen rule.

        Raises:
            BadInputError: it has no parameter, no point, or a bound that makes no sense.
        """
        chosen = self.space[self.rule]
        return Space.of(self.rule, chosen.parameters, chosen.constraints)


def read_search(params: Mapping[str, Any], **overrides: Any) -> StrategySearchParameters:
    """Return the checked section of the content of a ``params.yaml``.

    Args:
        params: the content.
        overrides: ``rule``, ``generations``, ``trials``, ``minutes``; None leaves what the file says.

    Raises:
        BadInputError: the section is missing, or a value cannot be used; the message names it.
    """
    searches = params.get("search")
    content = searches.get("strategy") if isinstance(searches, Mapping) else None
    if not isinstance(content, Mapping):
        raise BadInputError(f"params.yaml has no section {SECTION}: add it, as in the params.yaml of the repository")
    merged: dict[str, Any] = dict(content)
    if overrides.get("rule") is not None:
        merged["rule"] = overrides["rule"]
    limits = {key: overrides[key] for key in ("generations", "trials", "minutes") if overrides.get(key) is not None}
    if limits:
        merged["budget"] = {**(merged.get("budget") or {}), **limits}
    parameters = section({SECTION: merged}, SECTION, StrategySearchParameters)
    _check(parameters)
    return parameters


def _check(given: StrategySearchParameters) -> None:
    if given.rule not in given.space:
        known = ", ".join(sorted(given.space)) or "none: add its parameters with their bounds"
        raise BadInputError(f"{SECTION}.rule is {given.rule!r}, which has no space; there is {known}")
    _ = given.searched
    for name in (*given.objectives, given.choose_by):
        if name not in MEASURES:
            raise BadInputError(f"{SECTION}: there is no metric {name!r}; there are {', '.join(sorted(MEASURES))}")
    if len(given.objectives) < 2 or len(set(given.objectives)) < len(given.objectives):
        raise BadInputError(f"{SECTION}.objectives needs at least two different metrics, not {list(given.objectives)}")
    if MEASURES[given.choose_by].direction < 0:
        raise BadInputError(f"{SECTION}.choose_by is {given.choose_by}: choose a metric that is better when larger")
    _budget(given.budget, given.evolution, given.windows)
    _least("minimum_trades", given.minimum_trades, 1)
    _least("hall_of_fame", given.hall_of_fame, 1)
    _least("windows.folds", given.windows.folds, 2)
    _least("plateau.neighbours", given.plateau.neighbours, 8)
    evolution = given.evolution
    _least("evolution.islands", evolution.islands, 1)
    if evolution.population < 4 or evolution.population % 4:
        raise BadInputError(f"{SECTION}.evolution.population must be a multiple of 4, not {evolution.population}")
    _least("evolution.migrate_every", evolution.migrate_every, 0)
    if not 0 <= evolution.migrants <= evolution.population // 2:
        raise BadInputError(
            f"{SECTION}.evolution.migrants is {evolution.migrants}: from 0 to half of the population of an island"
        )
    for name, value in {
        "windows.train_share": given.windows.train_share,
        "windows.unseen_share": given.windows.unseen_share,
        "evolution.cooling": evolution.cooling,
        "plateau.radius": given.plateau.radius,
        "plateau.fraction": given.plateau.fraction,
    }.items():
        if not 0.0 < value < 1.0 and not (name == "evolution.cooling" and value == 1.0):
            raise BadInputError(f"{SECTION}.{name} must lie between 0 and 1, not {value}")
    for name, value in {
        "evolution.crossover": evolution.crossover,
        "evolution.mutation": evolution.mutation,
        "evolution.mutation_floor": evolution.mutation_floor,
        "plateau.share": given.plateau.share,
        "limits.walk_forward": given.limits.walk_forward,
        "limits.unseen": given.limits.unseen,
    }.items():
        if not 0.0 <= value <= 1.0:
            raise BadInputError(f"{SECTION}.{name} must be a share from 0 to 1, not {value}")
    for name, value in {
        "evolution.crossover_index": evolution.crossover_index,
        "evolution.mutation_index": evolution.mutation_index,
        "evolution.mutation_index_ceiling": evolution.mutation_index_ceiling,
    }.items():
        if not 0.0 < value < float("inf"):
            raise BadInputError(f"{SECTION}.{name} must be above 0, not {value}")


def _budget(budget: Budget, evolution: Evolution, windows: Windows) -> None:
    for name in ("generations", "trials", "minutes", "patience"):
        value = getattr(budget, name)
        if value is not None and not value > 0:
            raise BadInputError(f"{SECTION}.budget.{name} is {value}: a search with a budget of nothing finds nothing")
    if budget.generations is None and budget.trials is None and budget.minutes is None:
        raise BadInputError(f"{SECTION}.budget has no limit: set generations, trials or minutes")
    first = (windows.folds + 1) * evolution.islands * evolution.population
    if budget.trials is not None and budget.trials < first:
        raise BadInputError(
            f"{SECTION}.budget.trials is {budget.trials}, but the first generation alone tries {first} "
            f"({windows.folds} folds and the final one × {evolution.islands} islands × {evolution.population}): "
            "raise it, or lower population"
        )


def _least(name: str, value: int, least: int) -> None:
    if value < least:
        raise BadInputError(f"{SECTION}.{name} must be at least {least}, not {value}")
