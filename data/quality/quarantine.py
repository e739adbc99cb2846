"""Quarantine: the rows that the gate took out, with the reason of each, as parquet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.digest import digest_bytes
from core.files import replacing
from data.batch import Reject
from data.quality.gate import Judged

_PRICES = (
    "bid",
    "ask",
    "bid_open",
    "bid_high",
    "bid_low",
    "bid_close",
    "ask_open",
    "ask_high",
    "ask_low",
    "ask_close",
    "tick_volume",
)


def quarantine_table(instrument: str, granularity: str, source: str, judged: Sequence[Judged]) -> pa.Table | None:
    """Return the quarantined rows of one series in one table, or None where there are none.

    Rows that could be read have their prices, rows that could not have the text as it stood.
    """
    rejects: list[Reject] = [reject for part in judged for reject in part.rejects]
    readable = sum(len(part.quarantined) for part in judged)
    rows = readable + len(rejects)
    if not rows:
        return None
    blank: list[None] = [None] * len(rejects)
    events = [part.quarantined.event_ns for part in judged]
    event_ns = np.concatenate(events) if events else np.empty(0, np.int64)
    stamps = pa.array(event_ns).cast(pa.timestamp("ns", "UTC"))
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "instrument": pa.array([instrument] * rows),
        "granularity": pa.array([granularity] * rows),
        "source": pa.array([source] * rows),
        "origin": pa.array(
            [part.quarantined.origin for part in judged for _ in range(len(part.quarantined))]
            + [reject.origin for reject in rejects]
        ),
        "row": pa.array(
            [row for part in judged for row in part.quarantined.row.tolist()] + [reject.row for reject in rejects]
        ),
        "reason": pa.array(
            [str(reason) for part in judged for reason in part.reasons.tolist()] + [r.reason for r in rejects]
        ),
        "text": pa.array([None] * readable + [reject.detail for reject in rejects], pa.string()),
        "event_time": pa.chunked_array([stamps, pa.array(blank, stamps.type)]),
    }
    for name in _PRICES:
        values = [
            part.quarantined.column(name)
            if name in part.quarantined.columns
            else np.full(len(part.quarantined), np.nan)
            for part in judged
        ]
        read = pa.array(np.concatenate(values) if values else np.empty(0), pa.float64(), from_pandas=True)
        columns[name] = pa.chunked_array([read, pa.array(blank, pa.float64())])
    return pa.table(columns)


def write_quarantine(folder: Path, table: pa.Table) -> Path:
    """Write a table as ``<source>-<instrument>-<granularity>-<digest>.parquet`` and return its path.

    The name follows from the content: the same rows taken out twice are kept once.
    """
    names = [str(table.column(name)[0].as_py()) for name in ("source", "instrument", "granularity")]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    digest = digest_bytes(sink.getvalue().to_pybytes())
    path = folder / f"{'-'.join(names)}-{digest[:12]}.parquet"
    if not path.is_file():
        with replacing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")
    return path
