"""Follow a journal that grows: each call reads only what is new. Projections use it."""

import os
from pathlib import Path

from core.errors import IntegrityError
from core.journal.entry import HEAD, Entry, decode_entry, decode_head
from core.journal.reader import SUFFIX, segment_paths

_CHUNK = 256 * 1024


class Follower:
    """Reads entries in order from ``first`` on, remembering where it stands in the files."""

    def __init__(self, directory: Path, first: int = 1) -> None:
        self._directory = directory
        self._next = first
        self._path: Path | None = None
        self._offset = 0
        self._at = 0  # sequence of the entry at the offset

    @property
    def next_sequence(self) -> int:
        """The first entry the next ``read`` yields."""
        return self._next

    def read(self, last: int, limit: int = 2000) -> list[Entry]:
        """Return up to ``limit`` new entries, none beyond ``last`` (a writer's ``durable_sequence``).

        Raises:
            IntegrityError: an entry up to ``last`` is missing or broken.
        """
        found: list[Entry] = []
        while self._next <= last and len(found) < limit:
            if self._path is None and not self._find_segment():
                raise IntegrityError(f"journal {self._directory} has no entry {self._next}: restore it from a backup")
            content = self._chunk()
            offset = 0
            while len(found) < limit and self._next <= last:
                decoded = decode_entry(content, offset)
                if decoded is None or decoded[0].sequence != self._at:
                    break
                entry, offset = decoded
                self._at += 1
                if entry.sequence >= self._next:
                    found.append(entry)
                    self._next = entry.sequence + 1
            self._offset += offset
            if offset == 0 and self._next <= last:
                if not self._successor_exists():
                    raise IntegrityError(f"journal {self._directory} is damaged at entry {self._at}: restore it")
                self._path = None
        return found

    def _chunk(self) -> memoryview:
        assert self._path is not None
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            content = stream.read(_CHUNK)
            # One entry may be longer than a chunk.
            if len(content) == _CHUNK and decode_entry(content, 0) is None:
                content += stream.read(os.fstat(stream.fileno()).st_size)
        return memoryview(content)

    def _find_segment(self) -> bool:
        for path in reversed(segment_paths(self._directory)):
            start = int(path.name.removesuffix(SUFFIX))
            if start <= self._next:
                with path.open("rb") as stream:
                    if decode_head(stream.read(HEAD.size)) != start:
                        return False
                self._path, self._offset, self._at = path, HEAD.size, start
                return True
        return False

    def _successor_exists(self) -> bool:
        return any(int(path.name.removesuffix(SUFFIX)) == self._at for path in segment_paths(self._directory))
