"""Read a journal from its files: what a recovery, a projection or a replay goes through."""

from collections.abc import Generator
from pathlib import Path

from core.errors import BadInputError, IntegrityError
from core.journal.entry import HEAD, Entry, decode_entry, decode_head

SUFFIX = ".journal"
ARCHIVED = "archived.json"  # stands in a journal's folder after its segments have gone


def segment_paths(directory: Path) -> list[Path]:
    """Return the segments in order. The name is the sequence of the first entry, so names sort as sequences."""
    return sorted(directory.glob(f"*{SUFFIX}"))


def segment_name(first_sequence: int) -> str:
    """Return the file name of the segment that begins with this entry."""
    return f"{first_sequence:020d}{SUFFIX}"


def written_size(content: bytes, offset: int) -> int:
    """Return how far a segment was written: ``offset`` where only zeros follow it, else up to the last other byte."""
    return max(offset, len(content.rstrip(b"\0")))


def read_segment(path: Path) -> tuple[list[Entry], int, int]:
    """Read the valid entries of one segment.

    Returns:
        The entries, the offset after the last valid one, and the size of the file: equal where nothing is torn.
        Zeros behind the last entry are room for the next ones and do not count.
    """
    content = path.read_bytes()
    first = decode_head(content)
    if first is None:
        return [], 0, written_size(content, 0)
    entries: list[Entry] = []
    offset, expected = HEAD.size, first
    while (found := decode_entry(content, offset)) is not None and found[0].sequence == expected:
        entries.append(found[0])
        offset = found[1]
        expected += 1
    return entries, offset, written_size(content, offset)


def read_entries(directory: Path, first: int = 1, last: int | None = None) -> Generator[Entry]:
    """Yield entries in sequence, from ``first`` to ``last`` (both included), while a writer may go on writing.

    An incomplete entry at the very end is where the writer is: reading stops before it.

    Raises:
        BadInputError: the folder holds no journal.
        IntegrityError: a segment is missing or broken before the end.
    """
    paths = segment_paths(directory)
    if not paths:
        raise BadInputError(f"no journal in {directory}")
    starts = [int(path.name.removesuffix(SUFFIX)) for path in paths]
    expected = None
    for index, path in enumerate(paths):
        if index + 1 < len(paths) and starts[index + 1] <= first:
            continue
        if last is not None and starts[index] > last:
            return
        entries, _, _ = read_segment(path)
        if expected is not None and starts[index] != expected:
            raise IntegrityError(f"journal {directory} breaks off at entry {expected}, before {path.name}: restore it")
        for entry in entries:
            if last is not None and entry.sequence > last:
                return
            if entry.sequence >= first:
                yield entry
        expected = starts[index] + len(entries)


def written_bytes(directory: Path) -> int:
    """Return how many bytes of a journal hold entries; room that a writer keeps ahead of them is not counted."""
    return sum(written_size(path.read_bytes(), 0) for path in segment_paths(directory))
