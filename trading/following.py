"""The broker's events as they come, beside the loop, and whether they can be relied on."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from core.errors import ConfigurationError, RefusedError, TidegateError
from core.logging import get_logger
from trading.brokers.interface import Broker
from trading.degradation import Degradation
from trading.desk import Desk
from trading.metrics import TraderMetrics

_log = get_logger("trading")
TRANSACTIONS = "transactions"  # the degradation while the stream is silent: the history is asked before each decision
FRESH_SECONDS = 10.0  # v20 sends a heartbeat every 5 s


@runtime_checkable
class ReportsStreams(Protocol):
    """A broker that says how its streams do: ``transaction`` → ``connected`` and ``last_line_monotonic``."""

    @property
    def circuit_open(self) -> bool: ...

    def stream_health(self) -> Mapping[str, Any]: ...


def note_health(broker: Broker, metrics: TraderMetrics) -> None:
    """Bring the gauges of circuit and streams up to date, where the broker has any."""
    if not isinstance(broker, ReportsStreams):
        return
    metrics.circuit_open.set(broker.circuit_open)
    for name, health in broker.stream_health().items():
        metrics.stream_connected.labels(name).set(health.connected)
        metrics.stream_connections.labels(name).set(health.connections)
        metrics.stream_malformed.labels(name).set(health.malformed_lines)


class EventFollower:
    """Takes the broker's events into the desk in a task of the loop's own thread."""

    def __init__(self, broker: Broker, desk: Desk, degradation: Degradation) -> None:
        self._broker = broker
        self._desk = desk
        self._degradation = degradation
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0

    def start(self) -> None:
        """Begin after the last transaction known to be complete."""
        self._began = time.monotonic()
        self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop taking events."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def fresh(self) -> bool:
        """Whether everything the broker did up to a few seconds ago has come by itself."""
        if self._task is None or self._task.done() or self._desk.behind or not isinstance(self._broker, ReportsStreams):
            return False
        health = self._broker.stream_health().get("transaction")
        if health is None or not health.connected:
            return False
        return time.monotonic() - float(health.last_line_monotonic) <= FRESH_SECONDS

    def look(self) -> None:
        """Say when the stream falls silent and when it is back; brokers without a stream of their own never do.

        A stream that the broker refuses to open again halts trading, as a refused request does.
        """
        if isinstance(self._broker, ReportsStreams):
            for health in self._broker.stream_health().values():
                if health.forbidden:
                    self._desk.forbidden(health.forbidden)
        if not isinstance(self._broker, ReportsStreams) or time.monotonic() - self._began < FRESH_SECONDS:
            return
        if self.fresh:
            self._degradation.end(TRANSACTIONS)
        elif TRANSACTIONS not in self._desk.state.degraded:
            self._degradation.begin(TRANSACTIONS, "the transaction stream is silent: the history is asked instead")

    async def _follow(self) -> None:
        try:
            async for event in self._broker.events(self._desk.state.caught_up):
                await self._desk.take_streamed(event)
        except TidegateError as error:
            _log.error("transaction stream ended", words=error.message)
            if isinstance(error, ConfigurationError | RefusedError):
                self._desk.forbidden(error.message)
            self._degradation.begin(TRANSACTIONS, error.message)
