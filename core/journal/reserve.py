"""Room ahead of the journal's end: zeros that are on disk already, so that synchronising an entry flushes data only.

A write at the end of a growing file makes the file system commit the new size with every ``fdatasync``. In a part that
was filled with zeros and synchronised before, only the data pages go out. Zeros are no entry (a length of 0 is too
short), so readers stop there as at the end of a file.
"""

import os
import threading

FIRST_BYTES = 128 * 1024  # filled while a segment is made; the rest follows in the background
_ZEROS = bytes(64 * 1024)


class Reserve:
    """The zero-filled part of one segment. One thread fills, another one writes entries before ``end``.

    Args:
        descriptor: of the segment, open for writing.
        end: size of the file now.
        step: how many bytes are filled at a time; 0 fills none.
        limit: the file is not filled beyond this offset.
    """

    def __init__(self, descriptor: int, end: int, step: int, limit: int) -> None:
        self._descriptor = descriptor
        self._step = step
        self._limit = limit
        self._mutex = threading.Lock()  # held while zeros are written: no entry may be written into that part
        self.end = end

    def is_short(self, size: int) -> bool:
        """Whether more should be filled, with the entries at ``size`` bytes."""
        return self.end - size < self._step // 2 and self.end < self._limit

    def fill(self, size: int, step: int | None = None) -> None:
        """Write and synchronise zeros behind the end, unless enough are there.

        A full disk is no failure here: entries then grow the file as long as they can.
        """
        with self._mutex:
            if not self.is_short(size):
                return
            target = min(max(self.end, size) + (step or self._step), self._limit)
            position = self.end
            try:
                while position < target:
                    position += os.pwrite(self._descriptor, _ZEROS[: target - position], position)
                os.fdatasync(self._descriptor)
            except OSError:
                self._limit = position
            self.end = position

    def claim(self, end: int) -> None:
        """Let entries be written up to ``end``: waits for a filling under way and then passes the reserve."""
        if end > self.end:
            with self._mutex:
                self.end = max(self.end, end)

    def close(self, size: int) -> None:
        """Give back what no entry used; the segment is then as long as its entries. Nothing is filled any more."""
        with self._mutex:
            self._limit = 0
            if self.end > size:
                os.ftruncate(self._descriptor, size)
            self.end = size
