"""The search space of a model: ranges and choices of ``params.yaml``, checked against the model's own parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from core.digest import digest_value
from core.errors import BadInputError
from training.model_parameters import MODEL_KINDS
from training.parameters import Parameters
from training.search.hyperparameters.parameters import NAME

Value = float | int | str | bool


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A closed range as written: whole numbers where the model's parameter is one."""

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True)
class Dimension:
    """One parameter that is searched: a range, or choices."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False
    choices: tuple[Value | None, ...] = ()

    def distribution(self) -> Any:
        """Return the dimension as an ``optuna.distributions.BaseDistribution``."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    @property
    def whole_values(self) -> list[int]:
        """Every value of a dimension of whole numbers."""
        if self.choices:
            return [int(cast("int", choice)) for choice in self.choices]
        return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))

    @property
    def words(self) -> str:
        """The dimension for a reader."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        form = "d" if self.whole else "g"
        ends = [f"{int(end) if self.whole else end:{form}}" for end in (self.low, self.high)]
        return (
            f"{ends[0]} to {ends[1]}{', logarithmic' if self.log else ''}{f', step {self.step:g}' if self.step else ''}"
        )


@dataclass(frozen=True)
class Space:
    """The dimensions of one model, sorted by name."""

    model: str
    dimensions: tuple[Dimension, ...]

    @property
    def digest(self) -> str:
        """Digest of what can be proposed."""
        return digest_value([self.model, [[d.name, d.words] for d in self.dimensions]])

    def distributions(self) -> dict[str, Any]:
        """Return Optuna's distributions by name."""
        return {dimension.name: dimension.distribution() for dimension in self.dimensions}

    def apply(self, parameters: Parameters, proposed: Mapping[str, Any]) -> Parameters:
        """Return the parameters with the proposed values in place of the model's own.

        Raises:
            BadInputError: a value the model's parameters do not accept.
        """
        try:
            chosen = msgspec.convert(
                {**msgspec.to_builtins(_section(self.model, parameters)), **proposed},
                type(_section(self.model, parameters)),
            )
        except msgspec.ValidationError as error:
            raise BadInputError(f"{NAME}.space.{self.model}: {error}") from None
        return msgspec.structs.replace(
            parameters, models=msgspec.structs.replace(parameters.models, **{self.model: chosen})
        )


def read_space(model: str, parameters: Parameters) -> Space:
    """Read the space of ``model`` from the raw parameters.

    Raises:
        BadInputError: an unknown model, no space for it, an unknown parameter, or a range that is none.
    """
    fields = _fields(model, parameters)
    search = cast("Mapping[str, Any]", (parameters.raw.get("search") or {}).get("hyperparameters") or {})
    spaces = search.get("space") or {}
    written = spaces.get(model) if isinstance(spaces, Mapping) else None
    if not isinstance(written, Mapping) or not written:
        raise BadInputError(
            f"{NAME}.space.{model} has no parameter: name at least one of {', '.join(sorted(fields))} with its range"
        )
    content = cast("Mapping[str, Any]", written)
    unknown = sorted(set(map(str, content)) - set(fields))
    if unknown:
        raise BadInputError(
            f"{NAME}.space.{model}: {model} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(fields))}"
        )
    space = Space(model, tuple(_dimension(model, name, content[name], fields[name]) for name in sorted(content)))
    for corner in ("low", "high"):
        space.apply(parameters, {d.name: _corner(d, corner) for d in space.dimensions})
    for dimension in space.dimensions:
        for choice in dimension.choices:
            space.apply(parameters, {dimension.name: choice})
    if model == "transformer":
        _check_widths(space, parameters)
    return space


def _check_widths(space: Space, parameters: Parameters) -> None:
    """Refuse a width that its heads cannot share: the types of single parameters cannot say it."""
    current = msgspec.to_builtins(_section(space.model, parameters))
    found = {name: [current[name]] for name in ("hidden", "heads")}
    for dimension in space.dimensions:
        if dimension.name in found:
            found[dimension.name] = dimension.whole_values
    for heads in found["heads"]:
        wrong = [width for width in found["hidden"] if width % heads]
        if wrong:
            raise BadInputError(
                f"{NAME}.space.{space.model}: hidden {wrong[0]} is no multiple of {heads} heads: give hidden a low end "
                "and a step that are multiples of every number of heads"
            )


def _section(model: str, parameters: Parameters) -> Any:
    if model not in MODEL_KINDS:
        raise BadInputError(f"{NAME}: no model {model!r}; choose one of {', '.join(MODEL_KINDS)}")
    return getattr(parameters.models, model)


def _fields(model: str, parameters: Parameters) -> dict[str, Any]:
    """Return the current value of each parameter of a model."""
    section = _section(model, parameters)
    return {name: getattr(section, name) for name in section.__struct_fields__}


def _dimension(model: str, name: str, written: Any, current: Any) -> Dimension:
    where = f"{NAME}.space.{model}.{name}"
    if isinstance(written, Mapping) and set(cast("Mapping[str, Any]", written)) == {"choices"}:
        choices = cast("Mapping[str, Any]", written)["choices"]
        if not isinstance(choices, list) or len(set(map(str, cast("list[Any]", choices)))) < 2:
            raise BadInputError(f"{where}: at least two different choices are needed, not {choices!r}")
        return Dimension(name, choices=tuple(cast("list[Any]", choices)))
    try:
        given = msgspec.convert(written, Range)
    except msgspec.ValidationError as error:
        raise BadInputError(f"{where}: {{low, high, log, step}} or {{choices: […]}} is needed ({error})") from None
    whole = isinstance(current, int) and not isinstance(current, bool)
    ends = (given.low, given.high) if given.step is None else (given.low, given.high, given.step)
    if not all(math.isfinite(end) for end in ends):
        raise BadInputError(f"{where}: a range needs finite ends")
    if not given.low < given.high:
        raise BadInputError(f"{where}: low {given.low:g} must be below high {given.high:g}")
    if given.log and not given.low > 0:
        raise BadInputError(f"{where}: a logarithmic range must start above 0, not at {given.low:g}")
    if given.log and given.step is not None:
        raise BadInputError(f"{where}: a logarithmic range takes no step")
    if given.step is not None and not 0 < given.step <= given.high - given.low:
        raise BadInputError(f"{where}: step {given.step:g} does not fit into the range")
    if whole and any(end != int(end) for end in ends):
        raise BadInputError(f"{where}: {name} is a whole number, so must be the ends and the step of its range")
    return Dimension(name, given.low, given.high, given.log, given.step, whole)


def _corner(dimension: Dimension, end: str) -> Value | None:
    if dimension.choices:
        return dimension.choices[0 if end == "low" else -1]
    value = getattr(dimension, end)
    return int(value) if dimension.whole else value
