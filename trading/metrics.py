"""The trader's Prometheus metrics, on a registry of their own (several traders may live in one test process)."""

from collections.abc import Callable, Iterable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from core.clock import NANOSECONDS
from trading.latency import HOPS, LatencyRecorder

_BUCKETS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class HopSeconds(Collector):
    """``tidegate_hop_seconds``, counted from the recorded samples when it is read: the tick path records only."""

    def __init__(self) -> None:
        self.latency: LatencyRecorder | None = None  # of whoever takes the hops
        self._counted = dict.fromkeys(HOPS, 0)
        self._sums = dict.fromkeys(HOPS, 0.0)
        self._counts = {hop: np.zeros(len(_BUCKETS) + 1, np.int64) for hop in HOPS}

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Count what is new and return the histogram."""
        family = HistogramMetricFamily("tidegate_hop_seconds", "Latency of each hop of the tick path", labels=["hop"])
        bounds = [*(str(bound) for bound in _BUCKETS), "+Inf"]
        for hop in HOPS:
            if self.latency is not None:
                seconds = self.latency.samples(hop)[self._counted[hop] :] / 1e9
                self._counted[hop] += len(seconds)
                self._sums[hop] += float(seconds.sum())
                places = np.searchsorted(_BUCKETS, seconds)
                self._counts[hop] += np.bincount(places, minlength=len(bounds))
            counts = np.cumsum(self._counts[hop])
            buckets = [(bound, float(count)) for bound, count in zip(bounds, counts, strict=True)]
            family.add_metric([hop], buckets, self._sums[hop])
        return [family]


class TraderMetrics:
    """Counters, gauges and the latency histogram of one trader."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.hops = HopSeconds()
        self.registry.register(self.hops)
        # Plain numbers on the path of ticks and steps; ``refresh`` hands them over before the registry is read.
        self.quotes_seen = 0
        self.heartbeats_seen = 0
        self.steps_done = 0
        self.newest_equity = 0.0
        self.newest_step_ns = 0  # the newest finished one
        self._counted = {"quote": 0, "heartbeat": 0}
        self._steps_counted = 0
        self.before_reading: list[Callable[[], None]] = []  # bring gauges of others up to date
        self.events = Counter("tidegate_feed_events_total", "Quotes and heartbeats", ["kind"], registry=self.registry)
        self.quotes_refused = Counter(
            "tidegate_quotes_refused_total", "Quotes that are no prices, by reason", ["reason"], registry=self.registry
        )
        self.steps = Counter("tidegate_steps_total", "Decision times", registry=self.registry)
        self.predictions = Counter(
            "tidegate_predictions_total", "Predictions by who made them", ["answered_by"], registry=self.registry
        )
        self.orders = Counter("tidegate_orders_total", "Orders that left the process", registry=self.registry)
        self.fills = Counter("tidegate_fills_total", "Executions", registry=self.registry)
        self.rejects = Counter(
            "tidegate_rejects_total", "Orders blocked or refused, by reason", ["reason"], registry=self.registry
        )
        self.degraded = Gauge("tidegate_degraded", "1 while a dependency is away", ["what"], registry=self.registry)
        self.equity = Gauge("tidegate_equity", "Equity in account currency", registry=self.registry)
        self.value_at_risk = Gauge(
            "tidegate_value_at_risk",
            "Loss over one step at the configured confidence, in account currency",
            ["method"],
            registry=self.registry,
        )
        self.position = Gauge("tidegate_position_units", "Signed open units", ["instrument"], registry=self.registry)
        self.processed = Gauge(
            "tidegate_processed_through_seconds", "Market time of the newest finished step", registry=self.registry
        )
        self.ledger_lag = Gauge(
            "tidegate_ledger_lag_entries", "Journal entries not yet in the ledger", registry=self.registry
        )

        self.circuit_open = Gauge(
            "tidegate_broker_circuit_open", "1 while no request is sent to the broker", registry=self.registry
        )
        self.stream_connected = Gauge(
            "tidegate_broker_stream_connected", "1 while a broker stream is open", ["stream"], registry=self.registry
        )
        self.stream_connections = Gauge(
            "tidegate_broker_stream_connections",
            "Connections of a broker stream so far",
            ["stream"],
            registry=self.registry,
        )
        self.stream_malformed = Gauge(
            "tidegate_broker_stream_malformed_lines", "Lines that were no messages", ["stream"], registry=self.registry
        )

    def refresh(self) -> None:
        """Bring everything up to date; call it before the registry is read."""
        for bring_up_to_date in self.before_reading:
            bring_up_to_date()
        for kind, seen in (("quote", self.quotes_seen), ("heartbeat", self.heartbeats_seen)):
            self.events.labels(kind).inc(seen - self._counted[kind])
            self._counted[kind] = seen
        self.steps.inc(self.steps_done - self._steps_counted)
        self._steps_counted = self.steps_done
        self.equity.set(self.newest_equity)
        self.processed.set(self.newest_step_ns / NANOSECONDS)
