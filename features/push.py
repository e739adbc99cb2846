"""The pusher: a process that takes feature rows from the Redis stream and pushes them through Feast.

``python -m features.push --set fixings`` in a workspace, with ``TIDEGATE_REDIS__URL``. A consumer group keeps what was
handed out until it is acknowledged, after the write: a pusher that dies leaves its entries to the next one. Doing an
entry twice changes nothing, because the online store takes only newer rows.
"""

import argparse
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from core.errors import ConfigurationError, UnavailableError
from core.settings import get_settings
from core.stage import run
from features.publish import FeaturePublisher
from features.sets import SET_NAMES, FeatureSet, feature_set
from features.store import apply, open_store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FeaturePublisher", "PushCounts", "decode", "run_pusher"]

GROUP = "feast"
_BATCH = 256
_RECLAIM_AFTER_MILLISECONDS = 30_000  # a pusher that holds entries this long is gone
_PAUSE_SECONDS = 1.0


@dataclass
class PushCounts:
    """What a pusher has done so far: stream entries (steps) pushed, set aside as unreadable, and failed attempts."""

    pushed: int = 0
    rejected: int = 0
    failures: int = 0


def decode(definition: FeatureSet, entry: dict[bytes, bytes]) -> "pd.DataFrame":
    """Return the rows of one stream entry as a frame with the view's columns.

    Raises:
        ValueError: the entry is malformed or of another definition.
    """
    import pandas as pd

    try:
        digest = entry[b"digest"].decode()
        instruments = entry[b"instruments"].decode().split(",")
        time_ns, created_ns = int(entry[b"time_ns"]), int(entry[b"created_ns"])
        values = np.frombuffer(entry[b"features"], "<f8").reshape(len(instruments), len(definition.columns))
    except KeyError as error:
        raise ValueError(f"no field {error}") from None
    if digest != definition.digest:
        raise ValueError(f"of another definition, {digest[:12]}")
    columns: dict[str, Any] = {
        "instrument": instruments,
        "event_timestamp": pd.to_datetime(time_ns // 1000, unit="us", utc=True),
        "created_timestamp": pd.to_datetime(created_ns // 1000, unit="us", utc=True),
    }
    return pd.DataFrame(columns | dict(zip(definition.columns, values.T, strict=True)))


def run_pusher(
    workspace: Path,
    definition: FeatureSet,
    url: str,
    stop: threading.Event,
    counts: PushCounts | None = None,
    online_url: str | None = None,
    reclaim_after_milliseconds: int = _RECLAIM_AFTER_MILLISECONDS,
) -> PushCounts:
    """Push stream entries until ``stop`` is set; what stands in the stream then is pushed first.

    Args:
        workspace: holds the Feast registry.
        definition: the feature set; it names the stream.
        url: the Redis that holds the stream.
        stop: ends the loop.
        counts: counted into, for metrics; None makes one.
        online_url: the Redis of the online store; None: the same as ``url``.
        reclaim_after_milliseconds: entries another pusher has held this long are taken over.
    """
    from redis import Redis
    from redis.exceptions import RedisError

    counts = counts or PushCounts()
    log = structlog.get_logger().bind(stream=definition.stream)
    redis: Any = Redis.from_url(url, socket_timeout=10.0, socket_connect_timeout=5.0)
    consumer = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    store = open_store(workspace, online_url or url)
    apply(store, definition)
    grouped = False
    try:
        while True:
            try:
                if not grouped:
                    _make_group(redis, definition.stream)
                    grouped = True
                stopping = stop.is_set()
                entries = _take(redis, definition.stream, consumer, reclaim_after_milliseconds, wait=not stopping)
                if entries:
                    _push(redis, store, definition, entries, counts)
                elif stopping:
                    return counts
            except (RedisError, OSError, UnavailableError) as error:
                counts.failures += 1
                grouped = False  # a Redis that lost its data has lost the group too
                log.warning("cannot push feature rows, trying on", error=str(error))
                if stop.wait(_PAUSE_SECONDS):
                    return counts
    finally:
        redis.close()


def _make_group(redis: Any, stream: str) -> None:
    from redis.exceptions import ResponseError

    try:
        redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def _take(redis: Any, stream: str, consumer: str, reclaim_after: int, wait: bool) -> list[tuple[bytes, Any]]:
    """Return entries: first our own unacknowledged ones, then those of a pusher that is gone, then new ones."""
    own = redis.xreadgroup(GROUP, consumer, {stream: "0"}, count=_BATCH)
    if own and own[0][1]:
        return own[0][1]
    claimed = redis.xautoclaim(stream, GROUP, consumer, min_idle_time=reclaim_after, count=_BATCH)[1]
    if claimed:
        return claimed
    new = redis.xreadgroup(GROUP, consumer, {stream: ">"}, count=_BATCH, block=500 if wait else None)
    return new[0][1] if new else []


def _push(
    redis: Any, store: Any, definition: FeatureSet, entries: list[tuple[bytes, dict[bytes, bytes] | None]],
    counts: PushCounts,
) -> None:  # fmt: skip
    import pandas as pd
    from feast.data_source import PushMode

    log = structlog.get_logger().bind(stream=definition.stream)
    frames: list[pd.DataFrame] = []
    for identity, entry in entries:
        try:
            if not entry:
                raise ValueError("trimmed from the stream before it was pushed")
            frames.append(decode(definition, entry))
        except ValueError as error:
            # Set aside, not dropped: someone will want to know what it was.
            redis.xadd(f"{definition.stream}:rejected", {**(entry or {}), b"reason": str(error)}, maxlen=1_000)
            counts.rejected += 1
            log.error("feature row rejected", entry=identity.decode(), reason=str(error))
    if frames:
        rows = pd.concat(frames, ignore_index=True).sort_values(["event_timestamp", "created_timestamp"], kind="stable")
        store.push(definition.push_source, rows.groupby("instrument", sort=True).tail(1), to=PushMode.ONLINE)
        counts.pushed += len(frames)
    redis.xack(definition.stream, GROUP, *(identity for identity, _ in entries))


def main() -> None:
    """Run the pusher of one set in the current workspace until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: no Redis is configured.
    """
    parser = argparse.ArgumentParser(prog="python -m features.push", description=main.__doc__)
    parser.add_argument("--set", choices=SET_NAMES, required=True, help="the feature set to push")
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder with params.yaml; default: here")
    arguments = parser.parse_args()
    secret = get_settings().redis.url
    if secret is None:
        raise ConfigurationError("the pusher needs a Redis: set TIDEGATE_REDIS__URL")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    counts = run_pusher(arguments.workspace, feature_set(arguments.set), secret.get_secret_value(), stop)
    structlog.get_logger().info(
        "pusher ended", pushed=counts.pushed, rejected=counts.rejected, failures=counts.failures
    )


if __name__ == "__main__":
    run(main, "push")
