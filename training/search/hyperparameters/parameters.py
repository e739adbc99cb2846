"""``params.yaml: search.hyperparameters``, typed and checked before any work."""

from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from core.errors import BadInputError
from core.params import section
from training.search.hyperparameters.objectives import OBJECTIVES

NAME = "search.hyperparameters"


class PruningParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a trial is given up before its last fold; it is judged by the first objective on the folds so far."""

    kind: Literal["percentile", "hyperband", "none"] = "percentile"
    percentile: float = 50.0  # of the earlier trials at the same fold that a trial must be among; 50: the better half
    warm_trials: int = 8  # trials that had reached the fold before the first is given up there
    warm_folds: int = 1  # folds every trial is given
    reduction: int = 2  # hyperband: one in so many trials goes on from rung to rung


class SearchParameters(msgspec.Struct, frozen=True):
    """What is searched, how, and for how long; the space itself is read by ``space``."""

    model: str = "xgboost"
    objectives: tuple[str, ...] = ("skill",)  # the first decides pruning and, among equals of a front, the choice
    trials: int | None = 100  # trials that ended (completed, pruned or failed), over all runs of the study
    minutes: float | None = None  # of searching, over all runs of the study
    patience: int | None = 40  # trials in a row without a better result that end the search
    workers: int = 2
    backend: Literal["processes", "ray"] = "processes"
    ray_address: str | None = None  # of a running cluster, such as ray://host:10001; None: a cluster of this machine
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    startup_trials: int = 12  # drawn at random before the sampler learns
    repeatable: bool = True  # the n-th proposal knows the same earlier results whatever the timing of the workers
    retries: int = 2  # times the parameters of a trial are tried again whose process died
    pruning: PruningParameters = PruningParameters()

    @property
    def lag(self) -> int:
        """How many trials a proposal may be ahead of the results it is made from, when repeatable."""
        # Twice the workers: one long trial does not keep the others waiting while they are done with short ones.
        return 2 * self.workers if self.workers > 1 else 1


def read_search(params: Mapping[str, Any], **overrides: Any) -> SearchParameters:
    """Read the section of a whole ``params.yaml``, with values of the command line before it.

    Args:
        params: the content of ``params.yaml``.
        overrides: values that replace those of the file; None leaves the file's.

    Raises:
        BadInputError: an unknown key, a value out of range, an objective that does not exist, no budget.
    """
    found = params.get("search") or {}
    if not isinstance(found, Mapping):
        raise BadInputError("search parameters: a mapping with the section hyperparameters is needed")
    content = cast("Mapping[str, Any]", found).get("hyperparameters") or {}
    given = {key: value for key, value in overrides.items() if value is not None}
    merged = {NAME: {**content, **given} if isinstance(content, Mapping) else content}
    parameters = section(merged, NAME, SearchParameters, others=("space",))
    _check(parameters)
    return parameters


def _check(parameters: SearchParameters) -> None:
    p, pruning = parameters, parameters.pruning
    if p.trials is None and p.minutes is None:
        raise BadInputError(f"{NAME}: the search has no budget; set trials, minutes or both")
    for name, value, least in (
        ("trials", p.trials, 1),
        ("patience", p.patience, 1),
        ("workers", p.workers, 1),
        ("startup_trials", p.startup_trials, 1),
        ("retries", p.retries, 0),
        ("pruning.warm_trials", pruning.warm_trials, 1),
        ("pruning.warm_folds", pruning.warm_folds, 1),
        ("pruning.reduction", pruning.reduction, 2),
    ):
        if value is not None and value < least:
            raise BadInputError(f"{NAME}: {name} must be at least {least}, not {value}")
    if p.minutes is not None and not p.minutes > 0:
        raise BadInputError(f"{NAME}: minutes must be above 0, not {p.minutes:g}")
    if not 0 < pruning.percentile < 100:
        raise BadInputError(f"{NAME}: pruning.percentile must lie between 0 and 100, not {pruning.percentile:g}")
    if not p.objectives:
        raise BadInputError(f"{NAME}: objectives is empty; choose from {', '.join(sorted(OBJECTIVES))}")
    for name in p.objectives:
        if name not in OBJECTIVES:
            raise BadInputError(f"{NAME}: no objective {name!r}; choose from {', '.join(sorted(OBJECTIVES))}")
    if len(set(p.objectives)) < len(p.objectives):
        raise BadInputError(f"{NAME}: an objective is named twice in {', '.join(p.objectives)}")
