"""The live loop's side of the online store: feature rows go into a Redis stream, off the tick path.

Redis may be slow or gone: the loop must not notice. ``publish`` puts a row into a bounded queue and returns; a thread
writes. What does not fit is dropped, counted and said. Nothing but the Redis client is imported.
"""

import queue
import threading
import time
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from features.sets import FeatureSet

STREAM_ENTRIES = 100_000  # kept in Redis, about: old entries are trimmed
_BATCH = 64
_PAUSE_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

Entry = dict[str, bytes]


def encode(
    definition: FeatureSet,
    instruments: tuple[str, ...],
    time_ns: int,
    created_ns: int,
    features: NDArray[np.float64],
) -> Entry:
    """Return the stream entry of one step: names and little-endian float64 rows of the instruments that had a bar."""
    return {
        "digest": definition.digest.encode(),
        "time_ns": str(time_ns).encode(),
        "created_ns": str(created_ns).encode(),
        "instruments": ",".join(instruments).encode(),
        "features": np.ascontiguousarray(features, "<f8").tobytes(),
    }


class FeaturePublisher:
    """Publishes feature rows of one definition.

    Args:
        url: Redis URL.
        definition: the feature set; it names the stream.
        capacity: steps that may wait; at one step a second, minutes of an absent Redis.
    """

    def __init__(self, url: str, definition: FeatureSet, capacity: int = 1_000) -> None:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.definition = definition
        # The client's own retries would keep the thread for ten seconds; ours can be told to stop.
        self._redis: Any = Redis.from_url(
            url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
        self._queue: queue.Queue[Entry] = queue.Queue(capacity)
        self._stopping = threading.Event()
        self._log = structlog.get_logger().bind(stream=definition.stream)
        self.published = 0
        self.dropped = 0
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="feature-publisher", daemon=True)
        self._thread.start()

    def publish(
        self,
        instruments: tuple[str, ...],
        time_ns: int,
        created_ns: int,
        features: NDArray[np.float64],
        present: NDArray[np.bool_],
    ) -> bool:
        """Hand one step over; return at once whether there was room.

        Args:
            instruments: names, N of them.
            time_ns, created_ns: the step's time, and when its last bar arrived.
            features: float64 [N, F], as ``LiveFeatures.update`` returned them.
            present: bool [N], which instruments had a bar; the others are left out.
        """
        names = tuple(name for name, here in zip(instruments, present, strict=True) if here)
        if not names:
            return True
        entry = encode(self.definition, names, time_ns, created_ns, features[present])
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a flood must not flood the log
                self._log.warning("feature rows dropped: Redis does not keep up", dropped=self.dropped)
            return False
        return True

    @property
    def waiting(self) -> int:
        """Steps in the queue."""
        return self._queue.qsize()

    def close(self, timeout_seconds: float = 5.0) -> int:
        """Write what waits and end the thread; return how many steps could not be written in time."""
        self._stopping.set()
        self._thread.join(timeout_seconds)
        left = self._unwritten + self.waiting
        if left:
            self._log.warning("feature rows not published before the end", steps=left)
        if not self._thread.is_alive():
            self._redis.close()
        return left

    _unwritten = 0

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            if not batch:
                if self._stopping.is_set():
                    return
                continue
            self._unwritten = len(batch)
            if not self._write(batch):
                return
            self._unwritten = 0

    def _next_batch(self) -> list[Entry]:
        batch: list[Entry] = []
        try:
            batch.append(self._queue.get(timeout=0.1))
            while len(batch) < _BATCH:
                batch.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _write(self, batch: list[Entry]) -> bool:
        """Write until it succeeds; False when told to stop while Redis is away. A repeated entry does no harm."""
        from redis.exceptions import RedisError

        attempt = 0
        while True:
            try:
                with self._redis.pipeline(transaction=False) as pipeline:
                    for entry in batch:
                        pipeline.xadd(self.definition.stream, entry, maxlen=STREAM_ENTRIES, approximate=True)
                    pipeline.execute()
            except (RedisError, OSError) as error:
                self.failures += 1
                if attempt == 0:
                    self._log.warning("cannot publish feature rows, trying on", error=str(error))
                if self._stopping.is_set():
                    return False
                time.sleep(_PAUSE_SECONDS[min(attempt, len(_PAUSE_SECONDS) - 1)])
                attempt += 1
            else:
                self.published += len(batch)
                if attempt:
                    self._log.info("publishing feature rows again", attempts=attempt)
                return True
