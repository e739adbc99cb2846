"""The trader's Prometheus metrics, on a registry of their own (several traders may live in one test process)."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class TraderMetrics:
    """Counters, gauges and the latency histogram of one trader."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.hop_seconds = Histogram(
            "tidegate_hop_seconds",
            "Latency of each hop of the tick path",
            ["hop"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
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
        self.position = Gauge("tidegate_position_units", "Signed open units", ["instrument"], registry=self.registry)
        self.processed = Gauge(
            "tidegate_processed_through_seconds", "Market time of the newest finished step", registry=self.registry
        )
        self.ledger_lag = Gauge(
            "tidegate_ledger_lag_entries", "Journal entries not yet in the ledger", registry=self.registry
        )
