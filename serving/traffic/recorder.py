"""The figures of one version in one arm of one replica: a sliding minute, and everything since it was installed."""

import time
import zlib
from collections import deque

import msgspec
import numpy as np
from numpy.typing import NDArray

WINDOW_SECONDS = 60
_SLOTS = WINDOW_SECONDS + 1  # the second that is filling beside a whole minute
_PER_DECADE = 32  # bins of latencies: neighbours differ by 7.5 %
_FLOOR = -6.0  # log10 of the shortest, a microsecond
_BINS = 7 * _PER_DECADE + 1  # up to 10 s; the last holds what is longer
_SAMPLED_ROWS = 256  # newest rows whose outputs are compared
_SAMPLES_A_TURN = 32  # of them, at most so many from one turn of the thread: it shares the interpreter with requests

Floats = NDArray[np.float32]


class ArmWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What one version did in one arm of one replica.

    Counts without ``total`` are of the last ``window_seconds``. A request is counted for every version that was to
    score it, traded or not. ``errors`` are requests in which the version failed or left a row without a distribution,
    ``missing_rows`` those rows; their decisions were the champion's. Latencies are of the scoring alone, to the next
    7.5 %; None without any. ``spread`` is the largest difference of one class's probability over the newest
    ``sampled_rows`` rows, ``distinct_inputs`` how many different feature windows these had: a spread of 0 over many
    different inputs is a model that no longer looks at them.
    """

    strategy: str
    arm: str  # champion or challenger
    version: str
    model_digest: str
    revision: int  # of the policy this replica carries out now
    current: bool  # whether that policy still has this version in this arm
    pid: int
    time_ns: int  # UTC, when this was written
    installed_ns: int  # UTC
    window_seconds: int
    requests: int
    rows: int
    errors: int
    missing_rows: int
    p50_ms: float | None
    p99_ms: float | None
    spread: float | None
    sampled_rows: int
    distinct_inputs: int
    total_requests: int
    total_rows: int
    total_errors: int
    total_missing_rows: int


class ArmRecorder:
    """Takes measurements on the path of a request (``add``) and adds them up in another thread (``collect``)."""

    def __init__(self, strategy: str, arm: str, version: str, model_digest: str) -> None:
        self.strategy, self.arm, self.version, self.model_digest = strategy, arm, version, model_digest
        self.installed_ns = time.time_ns()
        self.removed_at: float | None = None  # monotonic seconds; None while a policy has it
        self._pending: deque[tuple[float | None, int, int, Floats | None, Floats | None]] = deque()
        self._second = int(time.monotonic())
        self._counts = np.zeros((_SLOTS, 4), np.int64)  # requests, rows, errors, missing rows
        self._latencies = np.zeros((_SLOTS, _BINS), np.int32)
        self._totals = np.zeros(4, np.int64)
        self._samples: deque[tuple[int, tuple[float, ...]]] = deque(maxlen=_SAMPLED_ROWS)

    def add(
        self,
        seconds: float | None,
        rows: int,
        missing: int,
        outputs: Floats | None = None,
        features: Floats | None = None,
    ) -> None:
        """Note one scored request; thread-safe, under a microsecond.

        Args:
            seconds: how long the scoring took; None where the version could not be asked.
            rows: of the request.
            missing: rows without a distribution.
            outputs: probabilities [N, 3], NaN where missing.
            features: what they were made from [N, L, F].
        """
        if features is None or outputs is None or len(self._pending) >= _SAMPLES_A_TURN:
            self._pending.append((seconds, rows, missing, None, None))
        elif rows > _SAMPLES_A_TURN:  # keeps a few rows alive until the next turn, not the whole body of a backfill
            self._pending.append((seconds, rows, missing, outputs[:1].copy(), features[:1].copy()))
        else:
            self._pending.append((seconds, rows, missing, outputs, features))

    def collect(self) -> None:
        """Add up what was noted since the last call. Called by one thread at a time."""
        self._advance()
        items = [self._pending.popleft() for _ in range(len(self._pending))]
        if not items:
            return
        slot = self._second % _SLOTS
        seconds = np.array([item[0] for item in items if item[0] is not None])
        rows = sum(item[1] for item in items)
        missing = sum(item[2] for item in items)
        counts = np.array([len(items), rows, sum(1 for item in items if item[2]), missing])
        self._counts[slot] += counts
        self._totals += counts
        if len(seconds):
            bins = np.ceil((np.log10(np.maximum(seconds, 1e-6)) - _FLOOR) * _PER_DECADE).astype(np.int64)
            self._latencies[slot] += np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS).astype(np.int32)
        left = _SAMPLES_A_TURN
        for _, _, _, outputs, features in items:
            if outputs is None or features is None or left <= 0:
                continue
            for row, values in enumerate(outputs[:left].tolist()):
                if values[0] == values[0]:  # not NaN
                    self._samples.append((zlib.crc32(features[row].tobytes()), tuple(values)))
            left -= len(outputs)

    def window(self, revision: int, pid: int) -> ArmWindow:
        """Return the figures as they were at the last ``collect``."""
        requests, rows, errors, missing = (int(value) for value in self._counts.sum(axis=0))
        histogram = self._latencies.sum(axis=0).cumsum()
        spread: float | None = None
        if self._samples:
            outputs = np.array([values for _, values in self._samples])
            spread = float((outputs.max(axis=0) - outputs.min(axis=0)).max())
        return ArmWindow(
            strategy=self.strategy,
            arm=self.arm,
            version=self.version,
            model_digest=self.model_digest,
            revision=revision,
            current=self.removed_at is None,
            pid=pid,
            time_ns=time.time_ns(),
            installed_ns=self.installed_ns,
            window_seconds=WINDOW_SECONDS,
            requests=requests,
            rows=rows,
            errors=errors,
            missing_rows=missing,
            p50_ms=_quantile(histogram, 0.50),
            p99_ms=_quantile(histogram, 0.99),
            spread=spread,
            sampled_rows=len(self._samples),
            distinct_inputs=len({checksum for checksum, _ in self._samples}),
            total_requests=int(self._totals[0]),
            total_rows=int(self._totals[1]),
            total_errors=int(self._totals[2]),
            total_missing_rows=int(self._totals[3]),
        )

    def _advance(self) -> None:
        """Empty the slots of the seconds that have begun since."""
        now = int(time.monotonic())
        for second in range(max(self._second + 1, now - _SLOTS + 1), now + 1):
            self._counts[second % _SLOTS] = 0
            self._latencies[second % _SLOTS] = 0
        self._second = now


def _quantile(cumulative: NDArray[np.int64], share: float) -> float | None:
    """Return the upper end of the bin that holds a quantile, in milliseconds."""
    total = int(cumulative[-1])
    if total == 0:
        return None
    found = int(np.searchsorted(cumulative, share * total))
    return round(10.0 ** (_FLOOR + found / _PER_DECADE) * 1e3, 6)
