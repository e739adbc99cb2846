"""Checks that trust nobody: live features against the batch driver, the journal through the loop once more."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from core.domain import BarKind


def feature_parity(workspace: Path, live_features: Path, kind: BarKind) -> dict[str, Any]:
    """Compare every live feature row of a session with the batch driver's, bit for bit.

    The batch rows come from the features stage, which folds the same kernel over the recorded history including the
    window that was traded. For bars rebuilt from simulated ticks the tick count is the only input that may differ.
    """
    import pandas as pd

    with np.load(live_features, allow_pickle=False) as archive:
        times, live = archive["time_ns"], archive["values"]
        instruments, columns = [str(n) for n in archive["instruments"]], [str(c) for c in archive["columns"]]
    path = workspace / "data" / "processed" / "features" / "features.parquet"
    frame = pd.read_parquet(path, filters=[("event_timestamp", ">=", pd.Timestamp(int(times[0]), tz="UTC"))])
    stamps = pd.DatetimeIndex(frame["event_timestamp"]).as_unit("ns").asi8
    row_of = {(name, int(stamp)): i for i, (name, stamp) in enumerate(zip(frame["instrument"], stamps, strict=True))}
    batch_values = frame[columns].to_numpy(dtype=np.float64)
    compared = missing = 0
    unequal = np.zeros(len(columns), dtype=np.int64)
    for step, time_ns in enumerate(times):
        for index, name in enumerate(instruments):
            row = row_of.get((name, int(time_ns)))
            if row is None:
                missing += int(np.isfinite(live[step, index]).any())
                continue
            compared += 1
            same = live[step, index].view(np.int64) == batch_values[row].view(np.int64)
            same |= np.isnan(live[step, index]) & np.isnan(batch_values[row])
            unequal += ~same
    differing = [columns[i] for i in np.flatnonzero(unequal)]
    equal = not differing and not missing and compared > 0
    words = f"{compared:,} live rows of {len(columns)} features"
    if equal:
        words += " equal the batch rows bit for bit"
    else:
        words += f": {len(differing)} features differ ({', '.join(differing[:5])}), {missing} rows have no batch row"
    return {"equal": equal, "rows": compared, "columns": len(columns), "differing": differing, "missing": missing,
            "kind": kind.value, "words": words}  # fmt: skip


def replayed(session: Path) -> dict[str, Any]:
    """Run the session's journal through the same loop again and compare every decision and order byte for byte."""
    from trading.replay import replay_session

    report = asyncio.run(replay_session(session))
    if report.difference is not None:
        words = "; ".join(report.difference.lines())
    else:
        decisions, orders = report.records.get("decision", 0), report.records.get("submitted", 0)
        words = f"{decisions:,} decisions and {orders:,} orders made again from the journal, byte for byte"
    return {"equal": report.equal, "entries": report.entries, "seconds": report.seconds, "words": words}
