"""Follows the policies of a model store: loads and warms new versions beside the present ones, then swaps.

The Ray Serve replica and the trader's own process both run one. A champion that does not verify is never installed:
the policy before it goes on. A challenger that does not verify is left out: the champion answers its rows. Either
failure is logged, counted and shown, and tried again, since a damaged copy may be repaired.
"""

import threading
import time
from collections.abc import Callable

from core.errors import TidegateError
from core.logging import get_logger
from serving.answer import VersionName
from serving.predictor import PredictorCore, ServedPolicy, ServedVersion
from serving.store import POINTER_FILE, ModelStore, Pointer
from serving.traffic.policy import Arm

_RETRY_SECONDS = 0.5  # verifying a package again costs a hundred times a look at the file
_log = get_logger("serving")


class ChampionLoader:
    """Keeps a ``PredictorCore`` equal to what the policies of a ``ModelStore`` say.

    Attributes:
        pointers: the policies installed, by strategy.
        failures: what is wrong with policies that could not be installed whole, by strategy.
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
        self._seen: dict[str, tuple[int, ...]] = {}  # what the pointer file was when it was read
        self._retry_at: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def refresh(self) -> None:
        """Look at every policy once and install what is new. Never raises: a bad version is a recorded failure."""
        self._look(everything=True)

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
            self._look(everything=False)

    def _look(self, *, everything: bool) -> None:
        """Read the policies whose file has changed or that are to be tried again; all of them on request.

        A look without a change is one listing and one ``stat`` a strategy: it may happen many times a second.
        """
        try:
            strategies = self._store.strategies()
        except OSError as error:
            self._fail("*", f"model store {self._store.root} cannot be read: {error}")
            return
        self._clear("*")
        for strategy in strategies:
            try:
                mark = self._mark(strategy)
                unchanged = mark == self._seen.get(strategy)
                if unchanged and not everything and time.monotonic() < self._retry_at.get(strategy, float("inf")):
                    continue
                self._seen[strategy] = mark
                self._refresh(strategy)
            except (TidegateError, OSError) as error:
                self._fail(strategy, str(error))
            else:
                self._clear(strategy)

    def _mark(self, strategy: str) -> tuple[int, ...]:
        status = (self._store.root / strategy / POINTER_FILE).stat()
        return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)

    def _refresh(self, strategy: str) -> None:
        pointer = self._store.pointer(strategy)
        if pointer is None or (pointer == self.pointers.get(strategy) and strategy not in self.failures):
            return
        started = time.perf_counter()
        champion = self._version(pointer, Arm.CHAMPION)
        challenger: ServedVersion | None = None
        problem: TidegateError | OSError | None = None
        try:
            challenger = self._version(pointer, Arm.CHALLENGER)
        except (TidegateError, OSError) as error:
            problem = error
        if problem is None or pointer != self.pointers.get(strategy):
            absent = pointer.challenger if problem is not None else None
            self._core.change(
                ServedPolicy(
                    strategy,
                    pointer.revision,
                    champion,
                    challenger,
                    traffic=pointer.traffic,
                    flat=pointer.flat,
                    absent=absent and VersionName(absent.model_name, absent.version, absent.model_digest),
                )
            )
            self.pointers = {**self.pointers, strategy: pointer}
            _log.info(
                "policy installed",
                strategy=strategy,
                revision=pointer.revision,
                version=pointer.version,
                model_digest=pointer.model_digest,
                challenger=pointer.challenger.version if pointer.challenger else "",
                mode=pointer.traffic.mode.value,
                share=pointer.traffic.share,
                flat=pointer.flat,
                seconds=round(time.perf_counter() - started, 3),
            )
            if self._on_change is not None:
                self._on_change(pointer)
        if problem is not None:
            raise problem

    def _version(self, pointer: Pointer, arm: Arm) -> ServedVersion | None:
        """Return a version of a policy, from memory or verified from disk and warm; None where the arm is empty."""
        for standing in pointer.standing(arm):
            package = self._core.loaded(standing.evidence_digest) or self._store.load(pointer, arm)
            version = ServedVersion(package, standing.version)
            _ = version.strategy  # what cannot be read is found here, not by the first decision
            return version
        return None

    def _fail(self, strategy: str, words: str) -> None:
        self._retry_at[strategy] = time.monotonic() + _RETRY_SECONDS
        if self.failures.get(strategy) != words:  # once per cause, not once per try
            self.failure_count += 1
            _log.error("policy not installed, or without its challenger", strategy=strategy, reason=words)
            self._tell({**self.failures, strategy: words})

    def _clear(self, strategy: str) -> None:
        self._retry_at.pop(strategy, None)
        if strategy in self.failures:
            self._tell({name: words for name, words in self.failures.items() if name != strategy})

    def _tell(self, failures: dict[str, str]) -> None:
        self.failures = failures
        if self._core.statistics is not None:
            self._core.statistics.fail(failures)
