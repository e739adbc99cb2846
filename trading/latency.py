"""How long each hop of the tick path takes: raw nanoseconds, so that percentiles need no bucket."""

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
    "broker",
    "tick_to_order",
    "step",
)


class LatencyRecorder:
    """Samples of each hop in nanoseconds, kept in growing arrays; 8 bytes a sample."""

    def __init__(self) -> None:
        self._samples: dict[str, NDArray[np.int64]] = {hop: np.empty(1024, np.int64) for hop in HOPS}
        self._counts = dict.fromkeys(HOPS, 0)

    def add(self, hop: str, nanoseconds: int) -> None:
        """Record one sample."""
        count = self._counts[hop]
        samples = self._samples[hop]
        if count == len(samples):
            samples = self._samples[hop] = np.concatenate([samples, np.empty_like(samples)])
        samples[count] = nanoseconds
        self._counts[hop] = count + 1

    def samples(self, hop: str) -> NDArray[np.int64]:
        """Return the samples of a hop in the order they were taken."""
        return self._samples[hop][: self._counts[hop]]

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
