"""How long each hop of the tick path takes: raw nanoseconds, so that percentiles need no bucket."""

from array import array

import numpy as np
from numpy.typing import NDArray

HOPS: tuple[str, ...] = (
    "features",
    "prediction",
    "catch_up",
    "decision",
    "risk",
    "journal",
    "risk_and_journal",
    "decision_to_bytes",
    "broker",
    "tick_to_order",
    "step",
)


class LatencyRecorder:
    """Samples of each hop in nanoseconds, kept in growing arrays; 8 bytes a sample."""

    def __init__(self) -> None:
        self._samples = {hop: array("q") for hop in HOPS}

    def add(self, hop: str, nanoseconds: int) -> None:
        """Record one sample."""
        self._samples[hop].append(nanoseconds)

    def samples(self, hop: str) -> NDArray[np.int64]:
        """Return a copy of the samples of a hop in the order they were taken."""
        return np.array(self._samples[hop], np.int64)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return count, p50, p90, p99 and maximum of each hop that was taken, in milliseconds."""
        result: dict[str, dict[str, float]] = {}
        for hop in HOPS:
            samples = self.samples(hop)
            if len(samples):
                p50, p90, p99 = (float(value) / 1e6 for value in np.percentile(samples, [50, 90, 99]))
                result[hop] = {
                    "count": len(samples),
                    "p50_ms": round(p50, 4),
                    "p90_ms": round(p90, 4),
                    "p99_ms": round(p99, 4),
                    "max_ms": round(float(samples.max()) / 1e6, 4),
                }
        return result
