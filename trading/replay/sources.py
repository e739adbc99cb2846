"""What comes from outside into a replayed session: feed, predictions, filled-in bars, comparisons with the broker."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from core.domain import (
    INPUT_COLUMNS,
    Bar,
    BarKind,
    Heartbeat,
    Instrument,
    Prediction,
    PredictionRequest,
    Predictor,
    Quote,
)
from core.errors import TidegateError, UnavailableError
from trading import records
from trading.backfill import Backfill
from trading.bars import BarSource
from trading.brokers.interface import Broker
from trading.feeds.guard import QuoteGuard
from trading.replay.recording import ProcessDied, Recording, is_from_beside
from trading.state import SessionState

_RECONCILED = (
    records.AccountSeen,
    records.CaughtUp,
    records.DifferenceFound,
    records.OrderNotSent,
    records.OrderResolved,
    records.Reconciled,
    records.RequestFailed,
)
_RECONCILING_REASONS = frozenset({"RECONCILIATION", "ILLEGAL_TRANSITION"})


def is_reconciliation(record: records.AnyRecord) -> bool:
    """Whether a record is part of what a comparison with the broker found and did."""
    if isinstance(record, records.RiskStateChanged):
        return record.reason in _RECONCILING_REASONS
    if isinstance(record, records.Degraded):
        return record.what == "broker" or is_from_beside(record)
    return isinstance(record, _RECONCILED) or is_from_beside(record)


class ReplayFeed:
    """Quotes and heartbeats of the journal."""

    def __init__(
        self, recording: Recording, instruments: Sequence[str], between: Callable[[], Awaitable[None]]
    ) -> None:
        """Read from ``recording``; ``between`` does what the session's timer did while its feed was silent."""
        self._recording = recording
        self._instruments = tuple(instruments)
        self._between = between

    @property
    def heard_ns(self) -> int:
        """Nobody watches for silence: it is in the journal."""
        return 0

    async def prime(self) -> list[Quote | Heartbeat]:
        """Return what stood when the process began: up to the first quote of the last instrument."""
        standing: list[Quote | Heartbeat] = []
        missing = set(self._instruments)
        for record in self._recording.records[self._recording.cursor :]:
            item = _item(record)
            if item is None and not standing and not isinstance(record, records.SessionOpened):
                continue  # the kill switch is looked at before the prices
            if item is None or not missing:
                break
            standing.append(item)
            if isinstance(item, Quote):
                missing.discard(item.instrument)
        return standing

    async def events(self) -> AsyncIterator[Quote | Heartbeat]:
        recording = self._recording
        while True:
            recording.waited()
            if recording.ends_here():
                raise ProcessDied
            record = recording.current
            assert record is not None
            before = recording.cursor
            item = _item(record)
            if item is not None:
                yield item
            elif recording.is_ending(is_reconciliation):
                return
            else:
                await self._between()
                if recording.cursor == before:
                    return  # nothing of the loop: the end of the session, or what nobody made
            if recording.cursor == before:
                raise recording.missing()


def _item(record: records.AnyRecord) -> Quote | Heartbeat | None:
    if isinstance(record, records.QuoteSeen):
        return record.quote
    return record.heartbeat if isinstance(record, records.HeartbeatSeen) else None


class RecordedPredictor:
    """Answers as the journal says, or asks ``again`` and lets the comparison judge.

    Args:
        recording: of the session.
        state: of the replayed session.
        again: a predictor with the champion of the session; None answers from the journal.
    """

    def __init__(self, recording: Recording, state: SessionState, again: Predictor | None = None) -> None:
        self._recording = recording
        self._state = state
        self._again = again
        self.recomputed = 0

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        recording = self._recording
        recording.waited()
        if recording.ends_here():
            raise ProcessDied
        match recording.current:
            case records.PredictionsMade(time_ns=time_ns, predictions=predictions) if time_ns == request.time_ns:
                if self._again is None:
                    return list(predictions)
                return await self._recompute(request, predictions)
            case records.Degraded(what="prediction", words=words, over=False):
                raise UnavailableError(words)
            case records.Degraded(what="prediction", over=True):
                following = next((r for r in recording.ahead() if isinstance(r, records.PredictionsMade)), None)
                if following is None:
                    raise recording.missing()
                if self._again is None:
                    return list(following.predictions)
                return await self._recompute(request, following.predictions)
            case _:
                raise UnavailableError(self._state.degraded.get("prediction", "the journal has no prediction here"))

    async def _recompute(self, request: PredictionRequest, made: Sequence[Prediction]) -> list[Prediction]:
        """Ask again; who answered then, by which policy, stays as recorded: only the model is in question."""
        assert self._again is not None
        try:
            answers = await self._again.predict(request)
        except TidegateError as error:
            raise UnavailableError(f"the predictions cannot be made again: {error.message}") from None
        self.recomputed += len(answers)
        return [
            msgspec.structs.replace(
                answer, arm=before.arm, policy_revision=before.policy_revision, answered_by=before.answered_by
            )
            for answer, before in zip(answers, made, strict=True)
        ]


class RecordedBackfill(Backfill):
    """Bars of steps that nobody watched: they are in the journal, where the broker's candles are not."""

    def __init__(
        self,
        recording: Recording,
        broker: Broker,
        kind: BarKind,
        instruments: dict[str, Instrument],
        bar_seconds: int,
        source: BarSource,
    ) -> None:
        super().__init__(broker, kind, instruments, bar_seconds, source)
        self._recording = recording
        self._names = tuple(sorted(instruments))
        self._bar_kind = kind

    async def steps(self, boundaries: list[int]) -> dict[int, dict[str, Bar]]:
        self._recording.waited()
        wanted = set(boundaries)
        found: dict[int, dict[str, Bar]] = {}
        for record in self._recording.ahead():
            if isinstance(record, records.StepClosed) and record.time_ns in wanted:
                found[record.time_ns] = self._bars(record)
            elif isinstance(record, records.StepMissed) and record.time_ns in wanted:
                found.setdefault(record.time_ns, {})  # nobody had a bar of it
        return found

    def _bars(self, record: records.StepClosed) -> dict[str, Bar]:
        rows = np.frombuffer(record.rows, np.float64).reshape(len(self._names), len(INPUT_COLUMNS))
        bars: dict[str, Bar] = {}
        for name, row in zip(self._names, rows, strict=True):
            if name not in record.missing:
                values: dict[str, Any] = dict(zip(INPUT_COLUMNS, (float(value) for value in row), strict=True))
                bars[name] = Bar(
                    instrument=name,
                    open_time_ns=record.time_ns,
                    close_time_ns=record.time_ns,
                    arrival_ns=record.time_ns,
                    kind=self._bar_kind,
                    simulated=record.simulated,
                    **values,
                )
        return bars


class OpenGuard(QuoteGuard):
    """Lets every recorded quote through: what the session's guard refused is in the journal as refused."""

    def refusal(self, quote: Quote, now_ns: int) -> records.QuoteRefused | None:
        """Refuse nothing."""
        return None
