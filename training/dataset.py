"""The training matrix: features as Feast served them, labels, economics, and the look-back windows of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from training.labels import Labels, assert_before_holdout
from training.weights import average_uniqueness
from training.windows import AnyWindows, Windows, adjoining, instrument_order

DATASET = Path("data/processed/dataset/dataset.parquet")
LABELS = Path("data/processed/labels/labels.parquet")

ECONOMICS = ("net_long", "net_short", "cost_return", "side_cost", "step_return", "volatility", "trailing_return")
KEYS = ("instrument", "event_timestamp", "time_ns", "label_end_ns", "bar", "label")
# Of labels that end at barriers: the last bar of the label, and the side that the primary rule of a meta-label takes.
OPTIONAL = ("end_bar", "side")
_CUTOFF = b"tidegate.cutoff_ns"


@dataclass(frozen=True)
class TrainingData:
    """What a model is fitted on.

    ``windows`` is float32 [N, L, F], oldest row first, NaN where a value is missing: an array, or ``Windows``, which
    gathers what is asked for. ``feature_names`` may be left out where no parameter of the model names a feature.
    """

    windows: AnyWindows
    labels: NDArray[np.int8]
    weights: NDArray[np.float64]
    time_ns: NDArray[np.int64]
    label_end_ns: NDArray[np.int64]
    feature_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """R decision rows, ordered by time and then instrument.

    ``features`` is float32 [R, F]; ``economics`` holds one float64 [R] per name of ``ECONOMICS`` (see ``Labels``).
    """

    instruments: tuple[str, ...]
    instrument: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    label_end_ns: NDArray[np.int64]
    bar: NDArray[np.int64]
    label: NDArray[np.int8]
    features: NDArray[np.float32]
    feature_names: tuple[str, ...]
    economics: dict[str, NDArray[np.float64]]
    cutoff_ns: int
    horizon: int
    end_bar: NDArray[np.int64] | None = None  # ordinal of each label's last bar; None: ``horizon`` bars ahead
    side: NDArray[np.int8] | None = None  # of meta-labels: 1 long, -1 short, 0 nothing to take; None: no meta-labels

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Average uniqueness of each label, float64 [R]; 0 where a meta-label has nothing to take."""
        spans = self.horizon if self.end_bar is None else self.end_bar - self.bar
        if self.side is None:
            return average_uniqueness(self.instrument, self.bar, spans)
        taken = np.flatnonzero(self.side)
        weights = np.zeros(len(self.side))
        lengths = np.broadcast_to(spans, self.bar.shape)[taken]
        weights[taken] = average_uniqueness(self.instrument[taken], self.bar[taken], lengths)
        return weights

    @cached_property
    def _positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        return instrument_order(self.instrument, self.time_ns)

    def windows(self, rows: NDArray[np.int64], lookback: int) -> NDArray[np.float32]:
        """Return the last ``lookback`` feature rows of the same instrument up to each row; float32 [N, L, F].

        A window looks back only, over whatever fold edge lies there: what was known then is known now, and live
        windows reach back the same way. It never crosses into another instrument; before its first row there is NaN.
        """
        return self.view(rows, lookback)[:]

    def view(self, rows: NDArray[np.int64], lookback: int) -> Windows:
        """Return the same windows as ``windows``, gathered when they are asked for."""
        return Windows(self.features, rows, lookback, *(self._positions if lookback > 1 else ()))

    def training_data(self, rows: NDArray[np.int64], lookback: int) -> TrainingData:
        """Return what a model with this look-back is fitted on, without rows in which there is nothing to take."""
        rows = rows if self.side is None else rows[self.side[rows] != 0]
        return TrainingData(
            self.view(rows, lookback),
            adjoining(self.label, rows),
            adjoining(self.weights, rows),
            adjoining(self.time_ns, rows),
            adjoining(self.label_end_ns, rows),
            self.feature_names,
        )


def labels_frame(labels: Labels) -> dict[str, NDArray[Any]]:
    """Return the columns of ``labels.parquet``; timestamps as numpy datetime64[us]."""
    names = np.array(labels.instruments, dtype=object)
    columns: dict[str, NDArray[Any]] = {
        "instrument": names[labels.instrument],
        "event_timestamp": (labels.arrival_ns // 1000).astype("datetime64[us]"),
        "time_ns": labels.time_ns,
        "label_end_ns": labels.label_end_ns,
        "bar": labels.bar,
        "label": labels.label,
    }
    columns |= {name: getattr(labels, name) for name in ECONOMICS}
    if labels.end_bar is not None:
        columns["end_bar"] = labels.end_bar
    if labels.outcomes is not None:
        columns |= vars(labels.outcomes)
    return columns


def write_table(path: Path, columns: dict[str, Any], metadata: dict[str, str]) -> None:
    """Write columns as parquet, atomically and with the same bytes for the same values; timestamps in UTC."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from core.files import replacing

    arrays = {
        name: pa.array(value).cast(pa.timestamp("us", tz="UTC")) if name.endswith("timestamp") else pa.array(value)
        for name, value in columns.items()
    }
    table = pa.table(arrays).replace_schema_metadata({f"tidegate.{key}": value for key, value in metadata.items()})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, stage: str, columns: Sequence[str] | None = None) -> Any:
    """Read a parquet file that an earlier stage wrote, or the named columns of it.

    Raises:
        BadInputError: it is missing or no parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: run the {stage} stage first") from None
    except pa.ArrowInvalid as error:
        raise BadInputError(f"{path} is no parquet file ({error}): run the {stage} stage again") from None


def read_cutoff(table: Any, path: Path) -> int:
    """Return the holdout cutoff that a labels or dataset table was made for, UTC nanoseconds."""
    metadata = table.schema.metadata or {}
    if _CUTOFF not in metadata:
        raise BadInputError(f"{path} names no holdout cutoff: run the labels stage again")
    return int(metadata[_CUTOFF])


def load_dataset(path: Path, feature_names: Sequence[str], horizon: int) -> Dataset:
    """Read ``dataset.parquet``.

    Raises:
        BadInputError: the file is missing or lacks a column.
        IntegrityError: a row reaches into the holdout.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = read_table(path, "dataset", ())
    known = set(pq.read_schema(path).names)
    missing = sorted({*KEYS, *ECONOMICS, *feature_names} - known)
    if missing:
        raise BadInputError(f"{path} lacks the columns {', '.join(missing[:5])}: run the dataset stage again")

    def values(name: str) -> NDArray[Any]:
        # One column at a time: the file holds double precision, all of it at once would be twice the matrix.
        return read_table(path, "dataset", (name,))[name].to_numpy(zero_copy_only=False)

    instruments, codes = _coded(read_table(path, "dataset", ("instrument",))["instrument"])
    columns = {name: values(name) for name in (*KEYS[2:], *ECONOMICS)}
    features = np.empty((len(codes), len(feature_names)), np.float32)
    for position, name in enumerate(feature_names):
        features[:, position] = values(name)
    pa.default_memory_pool().release_unused()
    cutoff = read_cutoff(table, path)
    assert_before_holdout(columns["time_ns"], columns["label_end_ns"], cutoff)
    return Dataset(
        instruments,
        codes,
        columns["time_ns"],
        columns["label_end_ns"],
        columns["bar"],
        columns["label"].astype(np.int8),
        features,
        tuple(feature_names),
        {name: columns[name].astype(np.float64, copy=False) for name in ECONOMICS},
        cutoff,
        horizon,
        *(values(name) if name in known else None for name in OPTIONAL),
    )


def _coded(column: Any) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the sorted names of a column of text and which one each row holds; no text per row is made."""
    encoded = column.combine_chunks().dictionary_encode()
    names = [str(name) for name in encoded.dictionary.to_pylist()]
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return tuple(names[index] for index in order), rank[encoded.indices.to_numpy(zero_copy_only=False)]
