"""Mend the end of a journal after a crash. Only what no writer ever waited for may be cut off.

A crash leaves the last segment with a torn end: the entry being written, or pages of group-committed entries that
reached the disk out of order. Both lie after the last entry that was synchronised. A broken entry *before* a
synchronised one is damage to the medium, and cutting there would lose decisions: that is an error.
"""

import os
from pathlib import Path

import msgspec

from core.errors import IntegrityError
from core.journal.entry import HEAD, Entry, decode_entry
from core.journal.reader import SUFFIX, read_segment, segment_paths, written_size


class Repair(msgspec.Struct, frozen=True):
    """What was cut off, and where the cut bytes were kept."""

    segment: str
    offset: int
    bytes_cut: int
    kept_as: str


def find_durable_after(content: bytes, offset: int, last_sequence: int) -> Entry | None:
    """Return a synchronised valid entry that begins after ``offset``, or None."""
    for position in range(offset + 1, written_size(content, offset)):
        found = decode_entry(content, position)
        if found is not None and found[0].durable and found[0].sequence > last_sequence:
            return found[0]
    return None


def check_end(directory: Path) -> int:
    """Return how many bytes of a torn end, or of an entry being written, stand behind the last entry of a journal.

    Reading stops at the first broken entry of the last segment, for that is where a writer may be. Whoever says that a
    journal is whole must look behind it. Changes nothing; a writer may go on writing.

    Raises:
        IntegrityError: a synchronised entry stands behind the damage.
    """
    paths = segment_paths(directory)
    if not paths:
        return 0
    content = paths[-1].read_bytes()
    entries, offset, size = read_segment(paths[-1])
    if offset >= min(size, len(content)):
        return 0
    last = entries[-1].sequence if entries else int(paths[-1].name.removesuffix(SUFFIX)) - 1
    _refuse_damage(paths[-1], content, offset, last)
    return size - offset


def _refuse_damage(path: Path, content: bytes, offset: int, last_sequence: int) -> None:
    behind = find_durable_after(content, offset, last_sequence)
    if behind is not None:
        raise IntegrityError(
            f"journal segment {path} is damaged at byte {offset}, before entry {behind.sequence} "
            "which was on disk: restore it from a backup"
        )


def repair_tail(path: Path, previous_sequence: int) -> tuple[list[Entry], int, Repair | None]:
    """Cut the torn end off the last segment, keeping the cut bytes in a file beside it.

    Args:
        path: the last segment.
        previous_sequence: the last entry before this segment.

    Returns:
        The entries that stand, the offset after them, and what was cut (None where nothing was).

    Raises:
        IntegrityError: a synchronised entry stands behind the damage.
    """
    entries, offset, size = read_segment(path)
    if offset == size and size >= HEAD.size:
        return entries, offset, None
    content = path.read_bytes()
    last = entries[-1].sequence if entries else previous_sequence
    _refuse_damage(path, content, offset, last)
    kept = path.with_name(f"{path.name}.torn-{offset}")
    kept.write_bytes(content[offset:size])
    with path.open("rb+") as stream:
        stream.truncate(offset)
        os.fsync(stream.fileno())
    return entries, offset, Repair(path.name, offset, size - offset, kept.name)
