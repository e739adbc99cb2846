"""Follows the pointers of a model store: loads and warms a new champion beside the old one, then swaps.

The Ray Serve replica and the trader's own process both run one. A version that does not verify is never installed:
the old champion goes on, the failure is logged, counted and shown.
"""

import threading
import time
from collections.abc import Callable

from core.errors import TidegateError
from core.logging import get_logger
from serving.predictor import PredictorCore
from serving.store import ModelStore, Pointer

_log = get_logger("serving")


class ChampionLoader:
    """Keeps a ``PredictorCore`` equal to what the pointers of a ``ModelStore`` say.

    Attributes:
        pointers: the pointers installed, by strategy.
        failures: what is wrong with the pointers that could not be installed, by strategy.
    """

    def __init__(
        self,
        store: ModelStore,
        core: PredictorCore,
        poll_seconds: float,
        on_change: Callable[[Pointer], None] | None = None,
    ) -> None:
        """``on_change`` is called in the polling thread after each swap."""
        self.pointers: dict[str, Pointer] = {}
        self.failures: dict[str, str] = {}
        self.failure_count = 0
        self._store = store
        self._core = core
        self._poll_seconds = poll_seconds
        self._on_change = on_change
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def refresh(self) -> None:
        """Look at every pointer once and install what is new. Never raises: a bad version is a recorded failure."""
        try:
            strategies = self._store.strategies()
        except OSError as error:
            self._fail("*", f"model store {self._store.root} cannot be read: {error}")
            return
        self._clear("*")
        for strategy in strategies:
            try:
                self._refresh(strategy)
            except (TidegateError, OSError) as error:
                self._fail(strategy, str(error))
            else:
                self._clear(strategy)

    def start(self) -> None:
        """Refresh now, then poll in a daemon thread."""
        self.refresh()
        self._thread = threading.Thread(target=self._poll, name="champion-loader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _poll(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            self.refresh()

    def _refresh(self, strategy: str) -> None:
        pointer = self._store.pointer(strategy)
        if pointer is None or pointer == self.pointers.get(strategy):
            return
        started = time.perf_counter()
        package = self._core.loaded(pointer.evidence_digest) or self._store.load(pointer)
        self._core.install(package, version=pointer.version, revision=pointer.revision)
        self.pointers = {**self.pointers, strategy: pointer}
        _log.info(
            "champion installed",
            strategy=strategy,
            version=pointer.version,
            model_digest=pointer.model_digest,
            revision=pointer.revision,
            seconds=round(time.perf_counter() - started, 3),
        )
        if self._on_change is not None:
            self._on_change(pointer)

    def _fail(self, strategy: str, words: str) -> None:
        if self.failures.get(strategy) != words:  # once per cause, not once per poll
            self.failure_count += 1
            _log.error("champion not installed; the one before it goes on", strategy=strategy, reason=words)
        self.failures = {**self.failures, strategy: words}

    def _clear(self, strategy: str) -> None:
        if strategy in self.failures:
            self.failures = {name: words for name, words in self.failures.items() if name != strategy}
