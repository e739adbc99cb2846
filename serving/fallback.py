"""When Serve does not answer in its budget, the same champion in this process does, and says so."""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from core.domain import Prediction, PredictionRequest, Predictor
from core.errors import TidegateError, UnavailableError
from core.logging import get_logger

_log = get_logger("serving")


class BreakerState(StrEnum):
    """Closed: the primary is asked. Open: it is not, until the pause is over. Half-open: one probe is under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class FallbackPredictor:
    """Asks ``primary``; answers from ``local`` when the primary is unavailable.

    A circuit breaker keeps a dead primary from costing its time-out on every decision. After the pause the next
    request is still answered locally, at once, and sent to the primary beside it as a probe: no decision pays for
    finding out whether the primary is back.

    A refusal of the primary is passed on: the same champion would refuse here too.
    """

    def __init__(
        self,
        primary: Predictor,
        local: Predictor,
        *,
        failures_to_open: int = 2,
        first_pause_seconds: float = 0.5,
        longest_pause_seconds: float = 15.0,
        now: Callable[[], float] = time.monotonic,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """The pause doubles with each failed probe. ``now`` is in seconds: the network lives in real time."""
        self._primary = primary
        self._local = local
        self._failures_to_open = failures_to_open
        self._first_pause = first_pause_seconds
        self._longest_pause = longest_pause_seconds
        self._now = now
        self._failures = 0
        self._pause = first_pause_seconds
        self._open_until = 0.0
        self._state = BreakerState.CLOSED
        self._probe: asyncio.Task[None] | None = None
        self._answers = Counter(
            "tidegate_predictions_answered", "Predictions by who made them", ["answered_by"], registry=registry
        )
        self._open_gauge = Gauge(
            "tidegate_prediction_breaker_open", "1 while Serve is not asked for decisions", registry=registry
        )

    @property
    def state(self) -> BreakerState:
        """The circuit breaker's state."""
        return self._state

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        """Answer in the order of ``request.instruments``; each prediction says who made it.

        Raises:
            RefusedError: no verified model for this request, neither there nor here.
        """
        if self._state is BreakerState.CLOSED:
            try:
                answer = await self._primary.predict(request)
            except UnavailableError as error:
                self._failed(error)
            else:
                self._failures = 0
                return self._counted(answer)
        elif self._state is BreakerState.OPEN and self._now() >= self._open_until:
            self._state = BreakerState.HALF_OPEN
            self._probe = asyncio.create_task(self._probe_primary(request))
        return self._counted(await self._local.predict(request))

    async def close(self) -> None:
        """Stop a probe that is under way. Closing the predictors is their owner's task."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    async def _probe_primary(self, request: PredictionRequest) -> None:
        try:
            await self._primary.predict(request)
        except UnavailableError:
            self._pause = min(self._pause * 2, self._longest_pause)
            self._open()
        except TidegateError:
            self._close()  # it answers; what it refuses is for the next decision to hear
        except BaseException:
            self._open()
            raise
        else:
            self._close()

    def _failed(self, error: UnavailableError) -> None:
        self._failures += 1
        _log.warning("answered locally", reason=error.message, failures=self._failures)
        if self._failures >= self._failures_to_open and self._state is BreakerState.CLOSED:
            _log.error("serve is away; answering locally until it is back", failures=self._failures)
            self._pause = self._first_pause
            self._open()

    def _open(self) -> None:
        self._state = BreakerState.OPEN
        self._open_until = self._now() + self._pause
        self._open_gauge.set(1)

    def _close(self) -> None:
        _log.info("serve is back")
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._open_gauge.set(0)

    def _counted(self, answer: list[Prediction]) -> list[Prediction]:
        for prediction in answer:
            self._answers.labels(prediction.answered_by).inc()
        return answer
