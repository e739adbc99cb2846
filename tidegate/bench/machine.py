"""What a figure was measured on."""

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np


def machine(folder: Path | None = None) -> dict[str, Any]:
    """Return processor, cores, Python and, with ``folder``, its file system."""
    result: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    if folder is not None:
        result["disk"] = _file_system(folder)
    return result


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    best, kind = "", "unknown"
    try:
        for line in Path("/proc/mounts").read_text().splitlines():
            fields = line.split()
            if str(folder.absolute()).startswith(fields[1]) and len(fields[1]) > len(best):
                best, kind = fields[1], fields[2]
    except OSError:
        pass
    return kind


def percentiles(nanoseconds: list[int]) -> dict[str, float]:
    """Return count, p50, p99, p99.9 and maximum in milliseconds."""
    samples = np.asarray(nanoseconds, np.float64) / 1e6
    p50, p99, p999 = (round(float(value), 4) for value in np.percentile(samples, [50, 99, 99.9]))
    return {"count": len(samples), "p50_ms": p50, "p99_ms": p99, "p99.9_ms": p999, "max_ms": round(samples.max(), 4)}
