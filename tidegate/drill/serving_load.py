"""The load of the serving drill: an open loop of predictions, and beside it a client that decides as a trader does.

Open loop: a request is due at its time whether or not the ones before it were answered, and its latency counts from
then; a service that stalls cannot hide it by slowing the client down.
"""

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from core.domain import Prediction, PredictionRequest
from core.errors import TidegateError
from serving.client import ServeClient
from serving.fallback import FallbackPredictor
from serving.local import LocalPredictor

STEP_NS = 300_000_000_000  # market time between two requests: an hour's block of the assignment is over soon
_START_NS = 1_700_000_000_000_000_000
_TICK_SECONDS = 0.002


@dataclass(frozen=True)
class Asked:
    """One request and what came of it; times are monotonic seconds.

    ``window`` is the first row of the windows that were sent; ``failure`` is empty when it was answered.
    """

    phase: str
    due: float
    sent: float
    ended: float
    window: int
    request_time_ns: int
    predictions: tuple[Prediction, ...]
    failure: str = ""


@dataclass
class Windows:
    """What is asked: feature windows of one strategy, sent round and round.

    Attributes:
        features: float32 [W, L, F].
        expected: what each version answers to them by itself, float32 [W, 3], by version.
    """

    strategy: str
    feature_digest: str
    features: NDArray[np.float32]
    expected: dict[str, NDArray[np.float32]]

    def request(self, number: int, rows: int) -> tuple[PredictionRequest, int]:
        """Return the request of a number and its first window."""
        first = (number * rows) % (len(self.features) - rows + 1)
        names = tuple(f"I{(number + row) % 97:02d}" for row in range(rows))
        request = PredictionRequest(
            self.strategy,
            _START_NS + number * STEP_NS,
            names,
            names,
            self.feature_digest,
            self.features[first : first + rows],
        )
        return request, first


@dataclass
class Load:
    """The open loop. ``phase`` is set by whoever disturbs the service; every request belongs to the one it was due in.

    Attributes:
        asked: every request that ended.
    """

    client: ServeClient
    windows: Windows
    per_second: float
    phase: str = ""
    asked: list[Asked] = field(default_factory=list[Asked])
    _under_way: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _number: int = 0

    @property
    def waiting(self) -> int:
        """Requests that are due and not answered."""
        return len(self._under_way)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop, then wait for what is under way."""
        began = time.monotonic()
        sent = 0
        while not stop.is_set():
            due = int((time.monotonic() - began) * self.per_second)
            while sent <= due:
                self._send(began + sent / self.per_second)
                sent += 1
            await asyncio.sleep(_TICK_SECONDS)
        await asyncio.gather(*self._under_way)

    def _send(self, due: float) -> None:
        request, window = self.windows.request(self._number, 1)
        self._number += 1
        task = asyncio.create_task(self._ask(request, window, due, self.phase))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ask(self, request: PredictionRequest, window: int, due: float, phase: str) -> None:
        sent = time.monotonic()
        self.asked.append(await _asked(self.client, request, window, due, sent, phase))


@dataclass
class Trader:
    """Decides every ``period`` seconds with the predictor a trader has: Serve, and its own champion behind it.

    Attributes:
        decided: every decision.
    """

    client: ServeClient
    local: LocalPredictor
    windows: Windows
    load: Load
    period: float
    rows: int = 9
    decided: list[Asked] = field(default_factory=list[Asked])

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until told to stop. A decision never waits for the one before it to be late."""
        predictor = FallbackPredictor(self.client, self.local, registry=CollectorRegistry())
        due = time.monotonic()
        number = 0
        try:
            while not stop.is_set():
                due += self.period
                await asyncio.sleep(max(due - time.monotonic(), 0.0))
                request, window = self.windows.request(number, self.rows)
                number += 1
                sent = time.monotonic()
                self.decided.append(await _asked(predictor, request, window, sent, sent, self.load.phase))
                due = max(due, time.monotonic() - self.period)  # no burst after a stall
        finally:
            await predictor.close()


async def _asked(
    predictor: ServeClient | FallbackPredictor,
    request: PredictionRequest,
    window: int,
    due: float,
    sent: float,
    phase: str,
) -> Asked:
    try:
        predictions = tuple(await predictor.predict(request))
    except TidegateError as error:
        return Asked(phase, due, sent, time.monotonic(), window, request.time_ns, (), error.message)
    return Asked(phase, due, sent, time.monotonic(), window, request.time_ns, predictions)
