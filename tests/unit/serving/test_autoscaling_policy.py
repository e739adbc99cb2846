"""Replicas by how busy they are: measured on this process, decided by a pure function, taken by Ray Serve as it is."""

import time
from types import SimpleNamespace

import pytest

from core.settings import ServingSettings
from serving.application import replica_options
from serving.autoscaling import BUSY, BusyPolicy, BusyShare


@pytest.mark.parametrize(
    ("shares", "wanted"),
    [([0.1], 1), ([0.0, 0.0], 1), ([0.59], 1), ([0.61], 2), ([1.0], 2), ([0.9, 0.9], 3), ([0.3, 0.2, 0.05], 1)],
)
def test_as_many_replicas_as_keep_each_at_the_target(shares: list[float], wanted: int) -> None:
    context = SimpleNamespace(aggregated_metrics={BUSY: dict(enumerate(shares))}, target_num_replicas=9)
    assert BusyPolicy(0.6)(context) == (wanted, {})


@pytest.mark.parametrize("metrics", [None, {}, {BUSY: {}}])
def test_nothing_measured_changes_nothing(metrics: object) -> None:
    assert BusyPolicy(0.6)(SimpleNamespace(aggregated_metrics=metrics, target_num_replicas=3)) == (3, {})


def test_the_share_is_processor_time_since_the_last_look() -> None:
    share = BusyShare()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert share.since_last() > 0.0
    time.sleep(0.05)
    assert share.since_last() < 0.9


def test_serve_takes_the_settings_and_builds_the_policy() -> None:
    config_module = pytest.importorskip("ray.serve.config")
    options = replica_options(ServingSettings(replicas=2, maximum_replicas=5, target_busy=0.4))["autoscaling_config"]
    config = config_module.AutoscalingConfig(**options)
    assert (config.min_replicas, config.max_replicas, config.policy.policy_kwargs) == (2, 5, {"target_busy": 0.4})
    context = SimpleNamespace(aggregated_metrics={BUSY: {"a": 0.9}}, target_num_replicas=2)
    policy = config.policy.get_policy()(**config.policy.policy_kwargs)  # as Serve's controller makes it
    assert policy(context) == (3, {})
