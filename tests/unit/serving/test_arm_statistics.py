"""The figures a guard decides on: counted for every arm, over a minute and in all, in a file of the living only."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from serving_packages import request_for, verified

from core.errors import RefusedError
from serving.answer import VersionName
from serving.predictor import PredictorCore, ServedPolicy, ServedVersion
from serving.traffic.exposition import ArmCollector
from serving.traffic.policy import Mode, Traffic
from serving.traffic.recorder import ArmRecorder, ArmWindow
from serving.traffic.statistics import ArmStatistics, read_replicas, read_statistics

SHADOW = Traffic(mode=Mode.SHADOW)


def arms(statistics: ArmStatistics) -> dict[tuple[str, str], ArmWindow]:
    return {(window.arm, window.version): window for window in statistics.snapshot().arms}


def test_every_arm_is_counted_and_a_failing_challenger_is_seen(tmp_path: Path) -> None:
    champion, broken = verified(tmp_path / "a"), verified(tmp_path / "b", bias=1.0, fails="nan")
    statistics = ArmStatistics()
    core = PredictorCore(statistics)
    core.change(
        ServedPolicy("tidegate-test", 4, ServedVersion(champion, "1"), ServedVersion(broken, "2"), traffic=SHADOW)
    )
    request = request_for(champion, 5)
    for _ in range(3):
        core.predict(request)
    features = request.features.copy()
    features[:2, 0, 0] = 12.0
    core.predict(msgspec.structs.replace(request, features=features))
    found = arms(statistics)
    own, other = found["champion", "1"], found["challenger", "2"]
    assert (own.requests, own.rows, own.errors, own.missing_rows) == (4, 20, 0, 0)
    assert (other.requests, other.rows, other.errors, other.missing_rows) == (4, 20, 1, 2)
    assert (other.total_requests, other.total_errors, other.revision, other.current) == (4, 1, 4, True)
    assert own.p50_ms is not None and own.p99_ms is not None and 0 < own.p50_ms <= own.p99_ms
    assert (own.sampled_rows, own.distinct_inputs) == (20, 7)
    assert own.spread is not None and own.spread > 0
    registry = CollectorRegistry()
    registry.register(ArmCollector(statistics))
    text = generate_latest(registry).decode()
    assert 'tidegate_serving_arm_errors_total{arm="challenger",strategy="tidegate-test",version="2"} 1.0' in text
    assert 'tidegate_serving_policy_revision{strategy="tidegate-test"} 4.0' in text


def test_a_request_for_other_features_is_no_failure_of_the_champion_but_no_number_is(tmp_path: Path) -> None:
    package = verified(tmp_path / "a", fails="nan")
    statistics = ArmStatistics()
    core = PredictorCore(statistics)
    core.install(package, version="1", revision=1)
    request = request_for(package)
    with pytest.raises(RefusedError):
        core.predict(msgspec.structs.replace(request, feature_digest="0" * 64))
    assert arms(statistics)["champion", "1"].requests == 0
    features = request.features.copy()
    features[1, 0, 0] = 12.0
    with pytest.raises(RefusedError):
        core.predict(msgspec.structs.replace(request, features=features))
    window = arms(statistics)["champion", "1"]
    assert (window.requests, window.errors, window.missing_rows) == (1, 1, 1)


def test_a_challenger_that_could_not_be_loaded_misses_every_row(tmp_path: Path) -> None:
    champion = verified(tmp_path / "a")
    statistics = ArmStatistics()
    core = PredictorCore(statistics)
    absent = VersionName("linear", "2", "d" * 64)
    core.change(ServedPolicy("tidegate-test", 4, ServedVersion(champion, "1"), traffic=SHADOW, absent=absent))
    answer = core.predict(request_for(champion))
    assert np.isnan(answer.values[2]).all()
    window = arms(statistics)["challenger", "2"]
    assert (window.requests, window.errors, window.missing_rows, window.p50_ms) == (1, 1, 3, None)


def test_figures_of_a_version_that_left_stay_a_while_and_begin_anew_when_it_returns(tmp_path: Path) -> None:
    first, second = verified(tmp_path / "a"), verified(tmp_path / "b", bias=1.0)
    statistics = ArmStatistics()
    core = PredictorCore(statistics)
    core.install(first, version="1", revision=1)
    core.predict(request_for(first))
    core.install(second, version="2", revision=2)
    found = arms(statistics)
    assert (found["champion", "1"].current, found["champion", "1"].total_rows) == (False, 3)
    assert found["champion", "2"].current and found["champion", "1"].revision == 2
    core.install(first, version="1", revision=3)
    found = arms(statistics)
    assert (found["champion", "1"].current, found["champion", "1"].total_rows) == (True, 0)


def test_a_minute_slides_and_totals_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("serving.traffic.recorder.time.monotonic", lambda: now)
    recorder = ArmRecorder("s", "champion", "1", "d")
    for second in range(200):
        now = 1000.0 + second
        recorder.add(0.001 if second < 150 else 0.1, 2, 0)
        recorder.collect()
    window = recorder.window(1, 1)
    assert window.requests in (60, 61) and window.rows == 2 * window.requests
    assert window.total_requests == 200
    assert window.p50_ms == pytest.approx(100, rel=0.08) and window.p99_ms == window.p50_ms
    now += 3600.0
    recorder.collect()
    window = recorder.window(1, 1)
    assert (window.requests, window.p50_ms, window.total_requests) == (0, None, 200)


@pytest.mark.parametrize("seconds", [1e-7, 3e-6, 0.00037, 0.0123, 0.9, 9.9])
def test_quantiles_are_at_most_one_bin_above(seconds: float) -> None:
    recorder = ArmRecorder("s", "champion", "1", "d")
    recorder.add(seconds, 1, 0)
    recorder.collect()
    found = recorder.window(1, 1).p99_ms
    assert found is not None
    assert max(seconds, 1e-6) * 1e3 * 0.999 <= found <= max(seconds, 1e-6) * 1e3 * 1.08


def test_a_constant_model_is_told_from_constant_features() -> None:
    constant, repeated = ArmRecorder("s", "champion", "1", "d"), ArmRecorder("s", "champion", "1", "d")
    generator = np.random.default_rng(5)
    same = generator.normal(size=(4, 2, 3)).astype(np.float32)
    outputs = np.full((4, 3), 1 / 3, np.float32)
    for _ in range(40):
        constant.add(0.001, 4, 0, outputs, generator.normal(size=(4, 2, 3)).astype(np.float32))
        repeated.add(0.001, 4, 0, outputs, same)
        constant.collect()
        repeated.collect()
    one, other = constant.window(1, 1), repeated.window(1, 1)
    assert (one.spread, one.sampled_rows, one.distinct_inputs) == (0.0, 160, 160)
    assert (other.spread, other.sampled_rows, other.distinct_inputs) == (0.0, 160, 4)


def test_files_of_the_dead_are_ignored_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "serving" / "run"
    statistics = ArmStatistics(folder)
    statistics.enter("s", 7, [("champion", "1", "d")])
    statistics.start()
    try:
        own = folder / f"{os.getpid()}.json"
        content = json.loads(own.read_text())
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        (folder / f"{ended.pid}.json").write_text(json.dumps(content | {"pid": ended.pid}))
        # Another process that was given the number of a dead one.
        (folder / "reused.json").write_text(json.dumps(content | {"process_started": 1.0}))
        (folder / "torn.json").write_text("{")
        (replica,) = read_replicas(tmp_path)
        assert (replica.pid, replica.revisions) == (os.getpid(), {"s": 7})
        assert [window.version for window in read_statistics(tmp_path)] == ["1"]
        assert {path.name for path in folder.glob("*.json")} == {own.name, "torn.json"}
        deadline = time.monotonic() + 10
        while read_replicas(tmp_path)[0].time_ns == replica.time_ns and time.monotonic() < deadline:
            time.sleep(0.02)
        assert read_replicas(tmp_path)[0].time_ns > replica.time_ns  # it is kept fresh
    finally:
        statistics.stop()
    assert not own.exists()
