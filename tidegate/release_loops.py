"""Work that a service repeats: each on its own thread, so that one that waits for a server keeps no other waiting."""

import threading
import time
from collections.abc import Callable

import msgspec

from core.errors import TidegateError
from core.logging import get_logger

LONGEST_PAUSE_SECONDS = 30.0
_log = get_logger("tidegate")


class LoopState(msgspec.Struct, frozen=True, kw_only=True):
    """How a loop is. ``trouble`` is empty while its last turn went well."""

    name: str
    every_seconds: float
    turns: int
    failures: int
    age_seconds: float | None  # since the last turn that went well; None: none did
    longest_seconds: float  # a turn took
    trouble: str


class Loop:
    """Calls ``work`` every ``seconds``; while it fails the pause doubles, up to a limit.

    Args:
        name: for logs and status.
        seconds: between the starts of two turns.
        work: one turn; what it raises is logged once per cause and shown.
        longest_pause_seconds: of a loop that fails; short where nobody else does its work.
    """

    def __init__(
        self,
        name: str,
        seconds: float,
        work: Callable[[], object],
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self.name = name
        self._seconds = seconds
        self._work = work
        self._longest_pause = max(longest_pause_seconds, seconds)
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._turns = self._failures = 0
        self._last: float | None = None
        self._longest = 0.0
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin with a turn now."""
        self._thread.start()

    def wake(self) -> None:
        """Take the next turn now."""
        self._wake.set()

    def end(self) -> None:
        """Take no further turn."""
        self._stop.set()
        self._wake.set()

    def join(self, deadline: float) -> None:
        """Wait for the turn under way, at longest until a moment of the monotonic clock: a server may never answer."""
        self._thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def state(self) -> LoopState:
        """Return how it is."""
        return LoopState(
            name=self.name,
            every_seconds=self._seconds,
            turns=self._turns,
            failures=self._failures,
            age_seconds=None if self._last is None else round(time.monotonic() - self._last, 3),
            longest_seconds=round(self._longest, 4),
            trouble=self._trouble,
        )

    def _run(self) -> None:
        pause = self._seconds
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self._work()
            except Exception as error:  # a loop that ends silently would be a guard that sleeps
                self._fail(error)
                pause = min(max(2 * pause, 1.0), self._longest_pause)
            else:
                self._last, self._trouble, pause = time.monotonic(), "", self._seconds
            self._turns += 1
            taken = time.monotonic() - started
            self._longest = max(self._longest, taken)
            self._wake.wait(max(0.0, pause - taken))
            self._wake.clear()

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        words = error.message if isinstance(error, TidegateError) else f"{type(error).__name__}: {error}"
        words = " ".join(words.split())[:500]
        if words != self._trouble:
            if isinstance(error, TidegateError):
                _log.warning("loop failed; it is tried again", loop=self.name, words=words)
            else:
                _log.exception("loop failed; it is tried again", loop=self.name)
        self._trouble = words
