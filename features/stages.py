"""Pipeline stages of this room: ``python -m features.stages build`` in a workspace."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import structlog
from numpy.typing import NDArray

from core.domain import Panel
from core.errors import BadInputError
from core.files import replacing, write_json
from core.params import read_params
from core.stage import dispatch
from features.advance import Advancer
from features.sets import FeatureSet, feature_set
from features.state import KernelState

CATALOG = Path("data/raw/catalog")
OUTPUT = Path("data/processed/features")
_STEPS_AT_ONCE = 20_000  # bounds memory: nine instruments of 72 features are 100 MB


def known_ns(panel: Panel) -> NDArray[np.int64]:
    """Return when the features of each step were known, int64 [T].

    A row rests on the whole cross-section and on every row before it, so it is known once the last of them has
    arrived: a bar that was corrected later holds back the features that saw the correction.
    """
    return np.maximum.accumulate(np.maximum(panel.arrival_ns.max(axis=1), panel.time_ns))


def build() -> None:
    """Compute the features of the catalog and write ``features.parquet``, ``features.json`` and ``state.npz``.

    The state is the one at the cutoff: a trader that restores it goes on with the first row of the holdout.

    Raises:
        BadInputError: parameters or catalog cannot be used. Nothing is written then.
    """
    from data.holdout import cutoff_ns
    from data.panel import load_panel

    parameters = read_params()
    definition, instruments, holdout = _parameters(parameters)
    panel = load_panel(CATALOG, instruments)
    cutoff = cutoff_ns(panel.time_ns, holdout)
    write_outputs(OUTPUT, panel, definition, cutoff)
    structlog.get_logger().info(
        "features built",
        set=definition.name,
        columns=len(definition.columns),
        steps=len(panel.time_ns),
        instruments=len(panel.instruments),
        digest=definition.digest[:12],
    )


def write_outputs(folder: Path, panel: Panel, definition: FeatureSet, cutoff: int) -> None:
    """Compute a panel's features and write the three files, each atomically."""
    import pyarrow.parquet as pq

    state = KernelState.fresh(definition, panel.instruments)
    advancer = Advancer(state)
    known = known_ns(panel)
    at_cutoff = int(np.searchsorted(panel.time_ns, cutoff))
    edges = sorted({*range(0, len(known), _STEPS_AT_ONCE), at_cutoff, len(known)})
    with replacing(folder / "features.parquet") as temporary:
        writer: Any = None
        try:
            for low, high in pairwise(edges):
                values = advancer.advance(panel.time_ns[low:high], panel.values[low:high])
                table = feature_table(
                    panel.instruments, panel.time_ns[low:high], known[low:high], values, definition.columns
                )
                writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd", compression_level=1)
                writer.write_table(table)
                if high == at_cutoff:
                    state.save(folder / "state.npz")
        finally:
            if writer is not None:
                writer.close()
    write_json(
        folder / "features.json",
        {
            "set": definition.name,
            "columns": list(definition.columns),
            "digest": definition.digest,
            "instruments": list(panel.instruments),
            "cutoff_ns": cutoff,
            "warm_up": list(definition.warm_up),
        },
    )


def feature_table(
    instruments: tuple[str, ...],
    time_ns: NDArray[np.int64],
    created_ns: NDArray[np.int64],
    values: NDArray[np.float64],
    columns: tuple[str, ...],
) -> Any:
    """Return the rows that were bars as an Arrow table, ordered by time and then instrument.

    Args:
        instruments: names, N of them.
        time_ns, created_ns: int64 [T], event and arrival time; kept to the microsecond, as Feast reads them.
        values: float64 [T, N, F].
        columns: F names.
    """
    import pyarrow as pa

    from features.advance import PRESENT_COLUMN

    step, index = np.nonzero(~np.isnan(values[:, :, PRESENT_COLUMN]))
    names = pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(list(instruments)))
    rows = values[step, index]
    moment = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "instrument": names.cast(pa.string()),
            "event_timestamp": pa.array(time_ns[step] // 1000).cast(moment),
            "created_timestamp": pa.array(created_ns[step] // 1000).cast(moment),
        }
        | {name: pa.array(np.ascontiguousarray(rows[:, position])) for position, name in enumerate(columns)}
    )


def _parameters(parameters: dict[str, Any]) -> tuple[FeatureSet, list[str], dict[str, Any]]:
    try:
        name, instruments = parameters["features"]["set"], parameters["data"]["instruments"]
        holdout = parameters["data"]["holdout"]
    except (KeyError, TypeError):
        raise BadInputError("params.yaml lacks features.set, data.instruments or data.holdout: add it") from None
    if not isinstance(instruments, list) or not instruments or not isinstance(holdout, dict):
        raise BadInputError("params.yaml: data.instruments must be a list of names, data.holdout a mapping")
    names = sorted(str(item) for item in cast(list[Any], instruments))
    return feature_set(str(name)), names, cast(dict[str, Any], holdout)


STAGES = {"build": build}

if __name__ == "__main__":
    dispatch(STAGES, sys.argv[1:], "features")
