"""The figures of the arms for Prometheus, taken from the statistics when somebody asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.traffic.statistics import ArmStatistics

_LABELS = ["strategy", "arm", "version"]


class ArmCollector(Collector):
    """Exposes every arm of a process under ``tidegate_serving_arm_…``."""

    def __init__(self, statistics: ArmStatistics) -> None:
        self._statistics = statistics

    def describe(self) -> list[Metric]:
        """Say nothing in advance: registering must not measure anything."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they stand now."""
        replica = self._statistics.snapshot()
        revision = GaugeMetricFamily(
            "tidegate_serving_policy_revision", "Traffic policy that is carried out", labels=["strategy"]
        )
        for strategy, number in replica.revisions.items():
            revision.add_metric([strategy], number)
        requests, rows, errors, missing = (
            CounterMetricFamily(f"tidegate_serving_arm_{name}", words, labels=_LABELS)
            for name, words in (
                ("requests", "Requests the version scored or was to score"),
                ("rows", "Instruments in them"),
                ("errors", "Requests in which the version failed or left rows without a distribution"),
                ("missing_rows", "Those rows; the champion answered them"),
            )
        )
        seconds = GaugeMetricFamily(
            "tidegate_serving_arm_seconds", "Scoring time over the last minute", labels=[*_LABELS, "quantile"]
        )
        spread = GaugeMetricFamily(
            "tidegate_serving_arm_output_spread", "Largest difference of a probability, newest rows", labels=_LABELS
        )
        for window in replica.arms:
            labels = [window.strategy, window.arm, window.version]
            requests.add_metric(labels, window.total_requests)
            rows.add_metric(labels, window.total_rows)
            errors.add_metric(labels, window.total_errors)
            missing.add_metric(labels, window.total_missing_rows)
            for quantile, milliseconds in (("0.5", window.p50_ms), ("0.99", window.p99_ms)):
                if milliseconds is not None:
                    seconds.add_metric([*labels, quantile], milliseconds / 1e3)
            if window.spread is not None:
                spread.add_metric(labels, window.spread)
        yield from (revision, requests, rows, errors, missing, seconds, spread)
