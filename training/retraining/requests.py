"""The record of what asked for a new model and what came of it: one line a request and one an end, per strategy.

A reason asks once. It asks again only if its retraining did not come to an end: an open request whose process is gone
counts as not answered, because the lock of the record is held while a retraining runs and ends with its process.
"""

import os
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

import msgspec

from core.clock import NANOSECONDS
from core.embedded.lock import DirectoryLock
from core.errors import IntegrityError, RefusedError
from training.retraining.reasons import Reason, ReasonKind


class Outcome(StrEnum):
    """What came of a request."""

    NEW_VERSION = "new_version"
    NOTHING_NEW = "nothing_new"  # data, code and parameters are those of a version that is registered
    FAILED = "failed"


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """A request: the reasons that held."""

    request: str
    strategy: str
    time_ns: int
    reasons: tuple[Reason, ...]


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """Its end. ``version`` is that of the registered model, empty after a failure."""

    request: str
    time_ns: int
    outcome: Outcome
    version: str
    words: str


class Request(msgspec.Struct, frozen=True):
    """A request with its end; None while it runs or after its process was killed."""

    asked: Asked
    ended: Ended | None


_decoder = msgspec.json.Decoder(Asked | Ended)


class RetrainingRecord:
    """The requests of one strategy. ``open_request`` may be used by one process at a time."""

    def __init__(self, folder: Path, strategy: str) -> None:
        """``folder`` is ``<state>/retraining``; it need not exist yet."""
        self.strategy = strategy
        self._path = folder / f"{strategy}.jsonl"
        self._lock = DirectoryLock(folder / f"{strategy}.lock")

    def requests(self) -> list[Request]:
        """Return all requests, oldest first.

        Raises:
            IntegrityError: a line that is not the last cannot be read.
        """
        asked: dict[str, Asked] = {}
        ended: dict[str, Ended] = {}
        for line in self._lines():
            if isinstance(line, Asked):
                asked[line.request] = line
            else:
                ended[line.request] = line
        return [Request(line, ended.get(name)) for name, line in asked.items()]

    def unanswered(self, reasons: Sequence[Reason]) -> list[Reason]:
        """Return the reasons that no finished retraining has answered; a failed one answers nothing."""
        done = {
            reason.key
            for request in self.requests()
            if request.ended is not None and request.ended.outcome is not Outcome.FAILED
            for reason in request.asked.reasons
        }
        return [reason for reason in reasons if reason.kind is ReasonKind.MANUAL or reason.key not in done]

    def pause_left_seconds(self, now_ns: int, pause_hours: float) -> float:
        """Return how long no reason but a person may ask, counted from the end of the newest retraining."""
        ends = [request.ended.time_ns for request in self.requests() if request.ended is not None]
        return max(0.0, pause_hours * 3600.0 - (now_ns - max(ends)) / NANOSECONDS) if ends else 0.0

    @contextmanager
    def open_request(self, reasons: Sequence[Reason], now_ns: int) -> Generator[Asked]:
        """Write a request down and hold the record while it is worked on.

        Raises:
            RefusedError: another process works on one.
        """
        if not self._lock.acquire():
            raise RefusedError(f"a retraining of {self.strategy} is under way: wait for its end")
        try:
            self._mend()
            asked = Asked(uuid.uuid4().hex[:16], self.strategy, now_ns, tuple(reasons))
            self._append(asked)
            yield asked
        finally:
            self._lock.release()

    def end(self, asked: Asked, outcome: Outcome, version: str, words: str, now_ns: int) -> Ended:
        """Write down what came of a request; called inside ``open_request``."""
        ended = Ended(asked.request, now_ns, outcome, version, words)
        self._append(ended)
        return ended

    def _append(self, line: Asked | Ended) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as stream:
            stream.write(msgspec.json.encode(line) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _mend(self) -> None:
        """Cut off a line that a killed process left half-written: what follows must begin on a line of its own."""
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            with self._path.open("r+b") as stream:
                stream.truncate(whole)

    def _lines(self) -> list[Asked | Ended]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        lines = content.split(b"\n")[:-1]  # behind the last line feed there is nothing, or half a line
        try:
            return [_decoder.decode(line) for line in lines]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IntegrityError(f"retraining record {self._path} is damaged: {error}; restore it") from None
