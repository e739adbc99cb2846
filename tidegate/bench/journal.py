"""A durable journal entry with room ahead and without, beside a raw write, in turns on the same disk."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from core.journal import Journal
from tidegate.bench.machine import machine, percentiles

_WARM = 50


def run(entries: int, folder: Path) -> dict[str, Any]:
    """Append ``entries`` durable entries each way below ``folder`` and return the latencies."""
    folder.mkdir(parents=True, exist_ok=True)
    payload = os.urandom(300)
    with tempfile.TemporaryDirectory(prefix="bench-journal-", dir=folder) as scratch:
        place = Path(scratch)
        raw = os.open(place / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        taken: dict[str, list[int]] = {"room ahead": [], "growing file": [], "raw write and fdatasync": []}
        with Journal(place / "ahead") as ahead, Journal(place / "growing", reserve_bytes=0) as growing:
            for number in range(entries + _WARM):
                for name, journal in (("room ahead", ahead), ("growing file", growing)):
                    began = time.perf_counter_ns()
                    journal.append("order", payload, number, durable=True)
                    if number >= _WARM:
                        taken[name].append(time.perf_counter_ns() - began)
                began = time.perf_counter_ns()
                os.write(raw, payload)
                os.fdatasync(raw)
                if number >= _WARM:
                    taken["raw write and fdatasync"].append(time.perf_counter_ns() - began)
        os.close(raw)
        found: dict[str, Any] = {name: percentiles(samples) for name, samples in taken.items()}
        ratio = found["room ahead"]["p50_ms"] / found["growing file"]["p50_ms"]
        return {"machine": machine(place), "entries": entries} | found | {"room_over_growing_p50": round(ratio, 3)}
