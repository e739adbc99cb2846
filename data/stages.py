"""Pipeline stages of the data room: ``python -m data.stages ingest`` in a workspace."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from core.clock import to_rfc3339
from core.errors import BadInputError
from core.params import read_params
from core.stage import dispatch
from data.ingest import IngestResult, ingest

_KEYS = frozenset(
    {
        "source",
        "path",
        "timezone",
        "granularity",
        "instruments",
        "since",
        "until",
        "holdout",
        "minimum_quality",
    }
)


def run_ingest() -> None:
    """Ingest what ``params.yaml`` asks for into the catalog of the current workspace.

    Raises:
        BadInputError: a parameter or the data cannot be used; nothing was changed.
    """
    result = ingest_params(Path(), data_section(Path("params.yaml")))
    sys.stderr.write(f"{summary(result)}\n")


def data_section(path: Path) -> Mapping[str, Any]:
    """Return the section ``data`` of a parameter file.

    Raises:
        BadInputError: the file cannot be read or has no such section.
    """
    data = read_params(path).get("data")
    if not isinstance(data, dict):
        raise BadInputError(f"{path} has no section data: it says what to ingest")
    return cast(Mapping[str, Any], data)


def minimum_quality(data: Mapping[str, Any]) -> float:
    """Return the score below which a batch is refused; the default is 0.9.

    Raises:
        BadInputError: it is no number.
    """
    minimum = data.get("minimum_quality", 0.9)
    if isinstance(minimum, bool) or not isinstance(minimum, int | float):
        raise BadInputError(f"params.yaml data.minimum_quality is {minimum!r}: give a number from 0 to 1")
    return float(minimum)


def ingest_params(workspace: Path, data: Mapping[str, Any]) -> IngestResult:
    """Run ``ingest`` with the ``data`` section of a parameter file.

    Raises:
        BadInputError: an unknown key, a value of the wrong kind, or data that cannot be used.
    """
    unknown = sorted(str(key) for key in data if key not in _KEYS)
    if unknown:
        raise BadInputError(f"params.yaml data.{unknown[0]} is no parameter: use {', '.join(sorted(_KEYS))}")
    for key in ("source", "path", "timezone", "granularity"):
        if data.get(key) is not None and not isinstance(data[key], str):
            raise BadInputError(f"params.yaml data.{key} is {data[key]!r}: give a text")
    instruments = data.get("instruments") or []
    if not isinstance(instruments, list):
        raise BadInputError(f"params.yaml data.instruments is {instruments!r}: give a list like [EUR_USD]")
    return ingest(
        workspace,
        data.get("source") or "ecb",
        data.get("path"),
        cast(list[str], instruments),
        data.get("since"),
        data.get("until"),
        timezone=data.get("timezone"),
        granularity=data.get("granularity"),
        minimum_quality=minimum_quality(data),
    )


def summary(result: IngestResult) -> str:
    """Return one line for people."""
    span = ""
    if result.first_event_ns is not None and result.last_event_ns is not None:
        span = f", {to_rfc3339(result.first_event_ns)[:10]} to {to_rfc3339(result.last_event_ns)[:10]}"
    return (
        f"ingested {len(result.instruments)} instruments, {result.granularity} from {result.source}{span}: "
        f"{result.rows_in} rows in = {result.rows_kept} kept + {result.rows_quarantined} quarantined, "
        f"{result.added} new, {result.corrected} corrected; quality {result.score:.3f} ({result.report})"
    )


if __name__ == "__main__":
    dispatch({"ingest": run_ingest}, sys.argv[1:], "data")
