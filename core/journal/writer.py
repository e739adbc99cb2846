"""The one writer of a journal.

Entries that can move money are written and synchronised before ``append`` returns. The others are collected and reach
the disk with the next of those, when the buffer is full, or after the group-commit interval: losing the last of them
to a power cut loses market data that was seen, never a decision. Segments are filled with zeros ahead of the entries
(see ``reserve``); one that is closed ends with its last entry.
"""

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from core.crash_points import reach
from core.errors import IntegrityError, RefusedError, UnavailableError
from core.journal.entry import LONGEST_PAYLOAD, RUN, Waiting, encode_entries, encode_head, too_long
from core.journal.lock import NAME as LOCK
from core.journal.lock import take_lock
from core.journal.reader import ARCHIVED, SUFFIX, read_segment, segment_name, segment_paths
from core.journal.repair import Repair, repair_tail
from core.journal.reserve import FIRST_BYTES, Reserve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BUFFER_BYTES = 256 * 1024
_RESERVE_BYTES = 1024 * 1024


class Journal:
    """An append-only, segmented journal with one writer (an advisory lock on ``lock`` keeps the second one out).

    Attributes:
        last_sequence: of the newest entry; 0 where there is none. Sequences have no gaps.
        durable_sequence: everything up to this one is on disk; a projection reads no further.
        repaired: what opening cut off a torn end, or None.
    """

    def __init__(
        self,
        directory: Path,
        segment_bytes: int = 64 * 1024 * 1024,
        group_commit_seconds: float = 0.05,
        reserve_bytes: int = _RESERVE_BYTES,
    ) -> None:
        """Open or create the journal in ``directory`` and mend its end.

        Args:
            directory: holds the segments; made where it is missing.
            segment_bytes: a segment that has reached this size is closed and the next one begun.
            group_commit_seconds: entries nobody waits for are on disk after about this long.
            reserve_bytes: zeros written ahead at a time; 0 lets the file grow with each entry.

        Raises:
            RefusedError: another process writes it.
            IntegrityError: it is damaged where no crash damages it.
            UnavailableError: the folder cannot be written.
        """
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._reserve_bytes = min(reserve_bytes, segment_bytes)
        self._interval = group_commit_seconds
        self._mutex = threading.Lock()
        self._waiting: list[Waiting] = []  # encoded together, when they are written
        self._buffered = 0  # bytes of their payloads
        self._failure: OSError | None = None
        self.repaired: Repair | None = None
        if (directory / ARCHIVED).exists():
            raise RefusedError(f"journal {directory} was archived: name a new session, or restore the archive")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UnavailableError(f"journal {directory} cannot be opened: {error.strerror}") from error
        try:
            take_lock(self._lock)
        except BlockingIOError:
            os.close(self._lock)
            raise RefusedError(f"journal {directory} has another writer: stop that process first") from None
        try:
            self._open_last_segment()
        except OSError as error:
            os.close(self._lock)
            raise UnavailableError(f"journal {directory} cannot be written: {error.strerror}") from error
        except BaseException:
            os.close(self._lock)
            raise
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._woken = False  # the same for the writer: asking the event costs a call with each entry
        self._thread = threading.Thread(target=self._commit_groups, name="journal", daemon=True)
        self._thread.start()

    def _open_last_segment(self) -> None:
        paths = segment_paths(self._directory)
        self.last_sequence = 0
        if len(paths) > 1:
            # A segment is synchronised before its successor is made, so only the last one can be torn.
            entries, offset, size = read_segment(paths[-2])
            self.last_sequence = int(paths[-2].name.removesuffix(SUFFIX)) - 1 + len(entries)
            if offset != size:
                raise IntegrityError(f"journal segment {paths[-2]} is damaged at byte {offset}: restore it")
        if paths:
            first = int(paths[-1].name.removesuffix(SUFFIX))
            if len(paths) > 1 and first != self.last_sequence + 1:
                raise IntegrityError(f"journal {self._directory} has no entry {self.last_sequence + 1}: restore it")
            entries, self._size, self.repaired = repair_tail(paths[-1], first - 1)
            self.last_sequence = first - 1 + len(entries)
            self._take_over(os.open(paths[-1], os.O_WRONLY | os.O_CLOEXEC))
            if self._size == 0:
                self._write_head(first)
        else:
            self._create_segment(1)
        self.durable_sequence = self._written_sequence = self.last_sequence

    def _take_over(self, descriptor: int) -> None:
        self._descriptor = descriptor
        end = os.fstat(descriptor).st_size
        self._reserve = Reserve(descriptor, end, self._reserve_bytes, self._segment_bytes)

    def _create_segment(self, first_sequence: int) -> None:
        path = self._directory / segment_name(first_sequence)
        self._size = 0
        self._take_over(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        self._write_head(first_sequence)
        folder = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write_head(self, first_sequence: int) -> None:
        self._write(encode_head(first_sequence))
        self._reserve.fill(self._size, min(FIRST_BYTES, self._reserve_bytes))
        os.fsync(self._descriptor)

    def _write(self, content: bytes) -> None:
        self._reserve.claim(self._size + len(content))
        written = os.pwrite(self._descriptor, content, self._size)
        self._size += written
        while written < len(content):  # a signal came in between, or the disk is nearly full
            content = content[written:]
            written = os.pwrite(self._descriptor, content, self._size)
            self._size += written

    def append(self, kind: str, payload: bytes, time_ns: int, durable: bool = False) -> int:
        """Add an entry and return its sequence; with ``durable`` it is on disk when this returns.

        Raises:
            ValueError: the payload is too long.
            UnavailableError: the disk refused the write. The journal takes no more: nothing may be sent any more.
        """
        if self._failure is not None:
            raise self._failed_before(self._failure)
        size = len(payload)
        if size > LONGEST_PAYLOAD:
            raise too_long(kind, size)
        # Without the mutex: there is one writer, and whoever flushes takes what was added whole from the front.
        sequence = self.last_sequence + 1
        self._waiting.append((sequence, time_ns, kind, payload, durable))
        self.last_sequence = sequence
        self._buffered += size
        if durable:
            reach("journal.buffered")
            self._flush_all(synchronise=True)
        elif self._buffered >= _BUFFER_BYTES:
            self._flush_all(synchronise=False)
        elif not self._woken:
            self._woken = True
            self._wake.set()
        return sequence

    def append_run(
        self, kind: str, times: "NDArray[np.int64]", payloads: "NDArray[np.uint8]", sizes: "NDArray[np.int64]"
    ) -> None:
        """Add many entries of one kind that nobody waits for: what ``append`` would write for each, byte for byte.

        Args:
            kind: of all of them.
            times: int64 [n], UTC nanoseconds.
            payloads: uint8 [n, L]; each is the first ``sizes`` bytes of its row.
            sizes: int64 [n].

        Raises:
            UnavailableError: the disk refused an earlier write.
        """
        from core.journal.compiled import encode_run

        if self._failure is not None:
            raise self._failed_before(self._failure)
        if not len(times):
            return
        content = encode_run(self.last_sequence + 1, times, kind, payloads, sizes)
        last = self.last_sequence + len(times)
        self._waiting.append((last, 0, RUN, content, False))
        self.last_sequence = last
        self._buffered += len(content)
        if self._buffered >= _BUFFER_BYTES:
            self._flush_all(synchronise=False)
        elif not self._woken:
            self._woken = True
            self._wake.set()

    def _failed_before(self, failure: OSError) -> UnavailableError:
        return UnavailableError(f"journal {self._directory} failed before: {failure.strerror}")

    def flush(self) -> None:
        """Hand everything appended so far to the operating system: it survives the death of the process.

        Raises:
            UnavailableError: the disk refused.
        """
        self._flush_all(synchronise=False)

    def sync(self) -> None:
        """Put everything appended so far on disk: it survives a power cut.

        Raises:
            UnavailableError: the disk refused.
        """
        self._flush_all(synchronise=True)

    def _flush_all(self, synchronise: bool) -> None:
        with self._mutex:
            if self._failure is not None:
                raise self._failed_before(self._failure)
            try:
                self._flush(synchronise)
            except OSError as error:
                self._failure = error
                raise UnavailableError(f"journal {self._directory} cannot be written: {error.strerror}") from error

    def _flush(self, synchronise: bool) -> None:
        entries = self._waiting[:]
        if entries:
            self._write(encode_entries(entries))
            del self._waiting[: len(entries)]
            self._buffered = 0
            self._written_sequence = entries[-1][0]
        if synchronise:
            reach("journal.written")
        written = self._written_sequence
        if synchronise and self.durable_sequence < written:
            os.fdatasync(self._descriptor)
            self.durable_sequence = written
        if self._size >= self._segment_bytes:
            self._reserve.close(self._size)
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self.durable_sequence = written
            self._create_segment(written + 1)
            reach("journal.rotated")
        if self._reserve.is_short(self._size):
            self._wake.set()

    def _commit_groups(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._fill_reserve()
            self._stop.wait(self._interval)
            self._wake.clear()
            self._woken = False  # after the event and before the flush: no entry is left without either
            try:
                self._commit_group()
            except OSError as error:
                self._failure = error

    def _commit_group(self) -> None:
        """Write what was collected and synchronise it, without keeping an order waiting for the disk meanwhile."""
        with self._mutex:
            if self._failure is not None or self._stop.is_set():
                return
            self._flush(synchronise=False)
            written = self._written_sequence
            if self.durable_sequence >= written:
                return
            descriptor = os.dup(self._descriptor)  # a rotation closes the other one
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        with self._mutex:
            self.durable_sequence = max(self.durable_sequence, written)

    def _fill_reserve(self) -> None:
        """Fill ahead without keeping a writer waiting; a segment that was closed meanwhile takes nothing."""
        reserve, size = self._reserve, self._size
        if not self._stop.is_set() and reserve.is_short(size):
            reserve.fill(size)

    def close(self) -> None:
        """Synchronise, release the lock and stop. Closing twice does nothing."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake.set()
        self._thread.join()
        try:
            if self._failure is None:
                with self._mutex:
                    self._flush(synchronise=True)
                    self._reserve.close(self._size)
        finally:
            os.close(self._descriptor)
            os.close(self._lock)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
