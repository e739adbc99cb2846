"""What each arm of a replica did lately: the figures that the guard of a release reads from the replica's own file.

The path of a request only appends what was measured; a thread adds it up four times a second and writes
``<state>/serving/run/<pid>.json``. The file is replaced whole and not synchronised: after a power cut there is no
replica either, and a synchronisation four times a second would delay the trader's journal on the same disk.
"""

import os
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from core.logging import get_logger
from serving.traffic.recorder import WINDOW_SECONDS, ArmRecorder, ArmWindow

__all__ = [
    "FOLDER",
    "ArmRecorder",
    "ArmStatistics",
    "ArmWindow",
    "ReplicaStatistics",
    "read_replicas",
    "read_statistics",
]

FOLDER = "run"  # under <state>/serving
WRITE_SECONDS = 0.25
_log = get_logger("serving")


class ReplicaStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The file of one replica. ``revisions`` is the policy it carries out for each strategy, flat ones too."""

    pid: int
    process_started: float  # tells this process from a later one with the same number
    time_ns: int
    revisions: dict[str, int]
    failures: dict[str, str]  # policies that could not be installed, or only without their challenger
    arms: tuple[ArmWindow, ...]


class ArmStatistics:
    """The recorders of one process, by strategy, arm and version."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` is ``<state>/serving/run``; None writes nothing."""
        self._folder = folder
        self._recorders: dict[tuple[str, str, str, str], ArmRecorder] = {}
        self._revisions: dict[str, int] = {}
        self._failures: dict[str, str] = {}
        self._process_started = psutil.Process().create_time()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def enter(self, strategy: str, revision: int, versions: Iterable[tuple[str, str, str]]) -> dict[str, ArmRecorder]:
        """Take note of a new policy and return the recorders of its arms.

        Args:
            strategy: its name.
            revision: of the policy.
            versions: arm, version and model digest of everybody in it.
        """
        with self._lock:
            kept = {(strategy, *names): names[0] for names in versions}
            recorders = dict(self._recorders)
            for key, recorder in recorders.items():
                if key[0] == strategy and key not in kept and recorder.removed_at is None:
                    recorder.removed_at = time.monotonic()
            for key in kept:
                if key not in recorders or recorders[key].removed_at is not None:
                    recorders[key] = ArmRecorder(*key)
            self._recorders = recorders
            self._revisions = {**self._revisions, strategy: revision}
            return {arm: recorders[key] for key, arm in kept.items()}

    def fail(self, failures: dict[str, str]) -> None:
        """Take note of what could not be installed, by strategy."""
        self._failures = failures

    def snapshot(self) -> ReplicaStatistics:
        """Add up and return everything; versions that left their arm more than a minute ago are forgotten."""
        with self._lock:
            now = time.monotonic()
            self._recorders = {
                key: recorder
                for key, recorder in self._recorders.items()
                if recorder.removed_at is None or now - recorder.removed_at < WINDOW_SECONDS
            }
            windows: list[ArmWindow] = []
            for key, recorder in self._recorders.items():
                recorder.collect()
                windows.append(recorder.window(self._revisions[key[0]], os.getpid()))
            return ReplicaStatistics(
                pid=os.getpid(),
                process_started=self._process_started,
                time_ns=time.time_ns(),
                revisions=self._revisions,
                failures=self._failures,
                arms=tuple(windows),
            )

    def start(self) -> None:
        """Write the file now, then keep it fresh in a daemon thread."""
        if self._folder is None:
            return
        self._write(self._folder)
        self._thread = threading.Thread(target=self._run, args=(self._folder,), name="arm-statistics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop and remove the file: who has ended carries out no policy."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._folder is not None:
            _path(self._folder).unlink(missing_ok=True)

    def _run(self, folder: Path) -> None:
        while not self._stop.wait(WRITE_SECONDS):
            self._write(folder)

    def _write(self, folder: Path) -> None:
        try:
            content = msgspec.json.encode(self.snapshot())
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{os.getpid()}.", suffix=".partial", dir=folder)
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(content)
                Path(name).replace(_path(folder))
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            _log.error("the figures of the arms could not be written", folder=str(folder), reason=str(error))


def read_replicas(state: Path) -> list[ReplicaStatistics]:
    """Return what the living replicas of a state directory wrote; files of dead ones are removed.

    A file that cannot be read is left out: the replica writes the next one within a quarter of a second.
    """
    found: list[ReplicaStatistics] = []
    for path in sorted((state / "serving" / FOLDER).glob("*.json")):
        try:
            replica = msgspec.json.decode(path.read_bytes(), type=ReplicaStatistics)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        if _alive(replica):
            found.append(replica)
        else:
            with suppress(OSError):
                path.unlink()
    return found


def read_statistics(state: Path) -> list[ArmWindow]:
    """Return the figures of every arm of every living replica of a state directory."""
    return [window for replica in read_replicas(state) for window in replica.arms]


def _alive(replica: ReplicaStatistics) -> bool:
    try:
        return abs(psutil.Process(replica.pid).create_time() - replica.process_started) < 1.0
    except psutil.Error:
        return False


def _path(folder: Path) -> Path:
    return folder / f"{os.getpid()}.json"
