"""Live rows through a real Redis stream and Feast into the online store, and what happens when things go away."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from redis import Redis

from core.embedded.redis import EmbeddedRedis
from core.errors import ConfigurationError, UnavailableError
from features.bench import made_panel
from features.live import LiveFeatures
from features.publish import FeaturePublisher, encode
from features.push import GROUP, PushCounts, run_pusher
from features.sets import feature_set
from features.store import apply, online_features, open_store, redis_connection

DEFINITION = feature_set("fixings")
NAMES = ("EUR_USD", "USD_JPY")
HOUR = 3_600_000_000_000
pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def url(server: EmbeddedRedis) -> str:
    address = f"redis://127.0.0.1:{server.port}/0"
    Redis.from_url(address).flushall()
    return address


def live_rows(steps: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Steps of a live driver: time, features, which instruments had a bar."""
    panel = made_panel(steps, NAMES)
    panel.values[5:6, 0] = np.nan
    live = LiveFeatures(DEFINITION, NAMES, 1)
    return [
        (int(moment), live.update(int(moment), panel.values[index]), live.present.copy())
        for index, moment in enumerate(panel.time_ns)
    ]


def push_all(workspace: Path, url: str, **options: Any) -> PushCounts:
    """Push what stands in the stream and end."""
    stop = threading.Event()
    stop.set()
    return run_pusher(workspace, DEFINITION, url, stop, **options)


def frame(event_ns: int, created_ns: int, value: float) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "instrument": ["EUR_USD"],
        "event_timestamp": [pd.Timestamp(event_ns, tz="UTC")],
        "created_timestamp": [pd.Timestamp(created_ns, tz="UTC")],
    }
    return pd.DataFrame(columns | {column: [value] for column in DEFINITION.columns})


def test_published_rows_reach_the_online_store_bit_for_bit(url: str, tmp_path: Path) -> None:
    steps = live_rows(80)
    publisher = FeaturePublisher(url, DEFINITION)
    for moment, features, present in steps:
        assert publisher.publish(NAMES, moment, moment + 1_000, features, present)
    assert publisher.close() == 0
    assert (publisher.published, publisher.dropped) == (80, 0)
    counts = push_all(tmp_path, url)
    assert (counts.pushed, counts.rejected, counts.failures) == (80, 0, 0)
    store = open_store(tmp_path, url)
    rows = online_features(store, DEFINITION, ["USD_JPY", "EUR_USD"], steps[-1][0] + HOUR)
    assert [row.instrument for row in rows] == ["USD_JPY", "EUR_USD"]
    for row in rows:
        assert row.time_ns == steps[-1][0]
        assert not row.stale
        np.testing.assert_array_equal(row.values, steps[-1][1][NAMES.index(row.instrument)])
    assert Redis.from_url(url).xpending(DEFINITION.stream, GROUP)["pending"] == 0


def test_pushing_again_changes_nothing(url: str, tmp_path: Path) -> None:
    steps = live_rows(20)
    redis = Redis.from_url(url)
    for moment, features, _ in steps:
        redis.xadd(DEFINITION.stream, encode(DEFINITION, NAMES, moment, moment, features))  # type: ignore[arg-type]
    push_all(tmp_path, url)
    store = open_store(tmp_path, url)
    before = online_features(store, DEFINITION, NAMES, 0)
    redis.xgroup_setid(DEFINITION.stream, GROUP, "0")  # everything is delivered once more
    # … and in another order: old rows come after new ones
    for moment, features, _ in reversed(steps):
        redis.xadd(DEFINITION.stream, encode(DEFINITION, NAMES, moment, moment, features * 2))  # type: ignore[arg-type]
    assert push_all(tmp_path, url).pushed == 40
    for left, right in zip(before, online_features(store, DEFINITION, NAMES, 0), strict=True):
        assert left.time_ns == right.time_ns
        np.testing.assert_array_equal(left.values, right.values)


def test_entries_of_a_dead_pusher_are_taken_over(url: str, tmp_path: Path) -> None:
    steps = live_rows(10)
    redis = Redis.from_url(url)
    for moment, features, _ in steps:
        redis.xadd(DEFINITION.stream, encode(DEFINITION, NAMES, moment, moment, features))  # type: ignore[arg-type]
    redis.xgroup_create(DEFINITION.stream, GROUP, id="0")
    redis.xreadgroup(GROUP, "the dead one", {DEFINITION.stream: ">"}, count=10)
    assert push_all(tmp_path, url).pushed == 0  # not gone for long enough
    assert push_all(tmp_path, url, reclaim_after_milliseconds=0).pushed == 10
    assert redis.xpending(DEFINITION.stream, GROUP)["pending"] == 0


def test_unreadable_entries_are_set_aside_with_a_reason(url: str, tmp_path: Path) -> None:
    moment, features, _ = live_rows(1)[0]
    good = encode(DEFINITION, NAMES, moment, moment, features)
    redis = Redis.from_url(url)
    for entry in (good | {"digest": b"other"}, good | {"features": b"short"}, {"noise": b"1"}, good):
        redis.xadd(DEFINITION.stream, entry)  # type: ignore[arg-type]
    counts = push_all(tmp_path, url)
    assert (counts.pushed, counts.rejected) == (1, 3)
    reasons = [entry[b"reason"].decode() for _, entry in redis.xrange(f"{DEFINITION.stream}:rejected")]
    assert [reason.split()[0] for reason in reasons] == ["of", "buffer", "no"]
    assert redis.xpending(DEFINITION.stream, GROUP)["pending"] == 0


def test_publisher_survives_a_redis_that_goes_away(tmp_path: Path) -> None:
    steps = live_rows(30)
    server = EmbeddedRedis(tmp_path / "redis").start()
    address = f"redis://127.0.0.1:{server.port}/0"
    publisher = FeaturePublisher(address, DEFINITION)
    try:
        publisher.publish(NAMES, *with_arrival(steps[0]))
        wait_until(lambda: publisher.published == 1)
        server.stop()
        slowest = 0.0
        for step in steps[1:]:
            start = time.perf_counter()
            publisher.publish(NAMES, *with_arrival(step))
            slowest = max(slowest, time.perf_counter() - start)
        wait_until(lambda: publisher.failures > 0)
        assert publisher.published == 1
        server.start()
        wait_until(lambda: publisher.published == 30)
        assert publisher.close() == 0
        assert Redis.from_url(address).xlen(DEFINITION.stream) == 30
    finally:
        publisher.close(0.1)
        server.stop()


def test_full_queue_drops_and_counts() -> None:
    publisher = FeaturePublisher("redis://127.0.0.1:1/0", DEFINITION, capacity=4)  # nobody listens there
    step = with_arrival(live_rows(1)[0])
    accepted = sum(publisher.publish(NAMES, *step) for _ in range(500))
    assert accepted < 500
    assert publisher.dropped == 500 - accepted
    assert publisher.close(10.0) == accepted  # what was accepted and never written is said


def test_absent_instruments_are_left_out(url: str) -> None:
    publisher = FeaturePublisher(url, DEFINITION)
    moment, features, _ = live_rows(1)[0]
    publisher.publish(NAMES, moment, moment, features, np.array([False, True]))
    publisher.publish(NAMES, moment + 1, moment + 1, features, np.array([False, False]))
    publisher.close()
    entries = Redis.from_url(url).xrange(DEFINITION.stream)
    assert [entry[b"instruments"] for _, entry in entries] == [b"USD_JPY"]


@pytest.mark.parametrize("online", ["redis", "sqlite"])
def test_online_store_takes_only_newer_rows(online: str, url: str, tmp_path: Path) -> None:
    store = open_store(tmp_path, url if online == "redis" else None)
    apply(store, DEFINITION)
    hour = 1_700_000_000_000_000_000
    offered = [
        (hour, hour + 5_000, 1.0, 1.0),  # first
        (hour - HOUR, hour + 9 * HOUR, 2.0, 1.0),  # an old event, corrected late
        (hour, hour + HOUR, 3.0, 3.0),  # the same event, corrected
        (hour, hour + 60_000_000_000, 4.0, 3.0),  # an earlier version of it
        (hour + HOUR, hour + HOUR, 5.0, 5.0),  # a newer event
        (hour, hour + 20 * HOUR, 6.0, 5.0),  # the event before, corrected late
    ]
    for event, created, value, expected in offered:
        store.write_to_online_store(DEFINITION.service, frame(event, created, value))
        row = online_features(store, DEFINITION, ["EUR_USD"], hour)[0]
        assert set(row.values) == {expected}
    assert row.time_ns == hour + HOUR


def test_age_is_said(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    apply(store, DEFINITION)
    now = 1_700_000_000_000_000_000
    store.write_to_online_store(DEFINITION.service, frame(now, now, 1.0))
    lifetime = DEFINITION.time_to_live_seconds * 1_000_000_000
    assert not online_features(store, DEFINITION, ["EUR_USD"], now + lifetime)[0].stale
    assert online_features(store, DEFINITION, ["EUR_USD"], now + lifetime + 1)[0].stale
    absent = online_features(store, DEFINITION, ["GBP_USD"], now)[0]
    assert (absent.stale, absent.time_ns, bool(np.isnan(absent.values).all())) == (True, 0, True)
    assert online_features(store, DEFINITION, [], now) == []


def test_absent_online_store_is_one_clear_line(tmp_path: Path) -> None:
    store = open_store(tmp_path, "redis://127.0.0.1:1/0")
    apply(store, DEFINITION)
    with pytest.raises(UnavailableError, match="does not answer"):
        online_features(store, DEFINITION, ["EUR_USD"])


def test_pusher_process_ends_on_sigterm(server: EmbeddedRedis, url: str, tmp_path: Path) -> None:
    moment, features, _ = live_rows(1)[0]
    redis = Redis.from_url(url)
    redis.xadd(DEFINITION.stream, encode(DEFINITION, NAMES, moment, moment, features))  # type: ignore[arg-type]
    command = [sys.executable, "-m", "features.push", "--set", "fixings", "--workspace", str(tmp_path)]
    environment = {**os.environ, "TIDEGATE_REDIS__URL": url, "TIDEGATE_LOGGING__FORMAT": "json"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            wait_until(lambda: pushed(redis), 90.0)
            process.terminate()
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert '"pushed": 1' in errors.replace('"pushed":1', '"pushed": 1')
    assert url not in errors


def pushed(redis: Any) -> bool:
    groups = redis.xinfo_groups(DEFINITION.stream)
    return bool(groups) and groups[0]["pending"] == 0 and groups[0]["last-delivered-id"] != b"0-0"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost:6379/2", "localhost:6379,db=2"),
        ("redis://:12345@db.example:7000", 'db.example:7000,db=0,password="12345"'),
        ("rediss://trader:p%40ss@db.example", 'db.example:6379,db=0,username=trader,password="p@ss",ssl=true'),
    ],
)
def test_redis_url_in_feasts_notation(url: str, expected: str) -> None:
    assert redis_connection(url) == expected


@pytest.mark.parametrize("url", ["http://localhost", "localhost:6379", "redis://", "redis://host:port/secret"])
def test_bad_redis_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis://host:port/0") as raised:
        redis_connection(url)
    assert "secret" not in raised.value.message


def with_arrival(step: tuple[int, np.ndarray, np.ndarray]) -> tuple[int, int, np.ndarray, np.ndarray]:
    moment, features, present = step
    return moment, moment, features, present


def wait_until(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
