"""What a row of the trial ledger says, and how its content becomes text that can be hashed."""

import math
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import PurePath
from typing import Any, Literal, cast

import msgspec
import numpy as np

from core.digest import canonical_json, digest_value
from core.errors import BadInputError
from training.trials.tables import trials

Kind = Literal["fit", "backtest"]
KINDS: tuple[Kind, ...] = ("fit", "backtest")
GENESIS = "0" * 64  # the hash before the first closed row of a lineage
_HASHED: tuple[str, ...] = tuple(column.name for column in trials.columns if column.name != "hash")


class Status(StrEnum):
    """What became of a trial. Only ``running`` is not final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"  # its work raised
    PRUNED = "pruned"  # stopped early because it was not promising
    LOST = "lost"  # its process died


class Fold(msgspec.Struct, frozen=True):
    """One fold of a trial. ``loss`` is in the unit of the study (log loss in nats, or the negative of a fitness)."""

    number: int
    loss: float
    rows: int = 0  # test rows


class Draft(msgspec.Struct, frozen=True):
    """One trial of a batch, before it begins."""

    parameters: Mapping[str, Any]
    seed: int
    number: int | None = None  # of the study's own count


class TrialRecord(msgspec.Struct, frozen=True):
    """A row of the ledger. ``id`` is ``<lineage>:<sequence>``."""

    id: str
    lineage: str
    sequence: int
    study: str
    kind: Kind
    subject: str
    parameters: dict[str, Any]
    seed: int
    code_digest: str
    data_digest: str
    number: int | None
    attempt: int  # from 1; more: the same trial of the study was begun before
    parent: str | None
    run: str  # MLflow run id, empty where there is none
    owner: str
    begun_ns: int
    status: Status
    folds: tuple[Fold, ...]
    values: dict[str, float]
    reason: str  # one line: why it was pruned, failed or lost
    closed_ns: int | None
    duration_ns: int | None  # by a steady clock; None: running or lost
    steps: int  # of the stored return series; 0: none
    axis_digest: str
    returns_digest: str
    position: int | None
    previous_hash: str
    hash: str


class StudySummary(msgspec.Struct, frozen=True):
    """How far a study is."""

    study: str
    lineage: str
    kinds: tuple[Kind, ...]
    trials: int
    statuses: dict[str, int]
    first_begun_ns: int
    last_closed_ns: int | None


class Head(msgspec.Struct, frozen=True):
    """The end of a lineage's ledger at one moment: kept elsewhere, it proves later that nothing before it changed."""

    lineage: str
    sequence: int  # trials begun
    closed: int  # trials closed
    hash: str  # of the last closed row


def trial_id(lineage: str, sequence: int) -> str:
    """Return the id of a row."""
    return f"{lineage}:{sequence}"


def record_of(row: Mapping[str, Any]) -> TrialRecord:
    """Turn a row into a record.

    Raises:
        msgspec.ValidationError, ValueError: the row was edited into something that is no record.
    """
    content = {name: row[name] for name in TrialRecord.__struct_fields__}
    content["parameters"] = msgspec.json.decode(row["parameters"])
    content["folds"] = folds_from(row["folds"])
    content["values"] = values_from(row["values"])
    return msgspec.convert(content, TrialRecord)


def row_hash(row: Mapping[str, Any]) -> str:
    """Return the SHA-256 over every column of a closed row but the hash itself; the hash before it is one of them."""
    return digest_value({name: row[name] for name in _HASHED})


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """Return parameters as canonical JSON.

    Raises:
        BadInputError: a value is not finite or has no JSON form.
    """
    return canonical_json(plain(parameters, "parameters")).decode()


def plain(value: Any, where: str) -> Any:
    """Return a value made of JSON types only.

    Raises:
        BadInputError: a number that is not finite, or a type without a JSON form; ``where`` names it.
    """
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return {str(key): plain(part, f"{where}.{key}") for key, part in mapping.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [plain(part, where) for part in cast("list[Any]", value)]
    if isinstance(value, msgspec.Struct):
        return plain(msgspec.to_builtins(value), where)
    if isinstance(value, PurePath | date):
        return str(value)  # a date as YYYY-MM-DD, as params.yaml has it
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInputError(f"a trial cannot be begun: {where} is {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise BadInputError(f"a trial cannot be begun: {where} is a {type(value).__name__}, which has no JSON form")


def values_text(values: Mapping[str, float]) -> str:
    """Return measured values as canonical JSON; what is not finite becomes a word instead of vanishing."""
    return canonical_json({str(name): _number(value) for name, value in values.items()}).decode()


def values_from(text: str) -> dict[str, float]:
    """Return what ``values_text`` was given."""
    return {name: float(value) for name, value in msgspec.json.decode(text).items()}


def folds_text(folds: tuple[Fold, ...]) -> str:
    """Return folds as canonical JSON: [number, loss, rows] each."""
    return canonical_json([[fold.number, _number(fold.loss), fold.rows] for fold in folds]).decode()


def folds_from(text: str) -> tuple[Fold, ...]:
    """Return what ``folds_text`` was given."""
    return tuple(Fold(int(number), float(loss), int(rows)) for number, loss, rows in msgspec.json.decode(text))


def _number(value: float) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)  # "nan", "inf", "-inf"
