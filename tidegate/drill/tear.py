"""Tear the end of a dead trader's journal as a power cut would: only what no writer waited for may be missing."""

import os
import random
from pathlib import Path

from core.journal.entry import HEAD
from core.journal.reader import SUFFIX, read_segment, segment_paths


def tear_tail(journal: Path, keep_through: int, chance: random.Random) -> int:
    """Cut the last segment inside its newest entries, or leave half an entry behind it; return 1 where it was torn.

    Args:
        journal: folder of a journal nobody writes.
        keep_through: an entry that must stay: the ledger has it.
        chance: where to cut.
    """
    paths = segment_paths(journal)
    if not paths:
        return 0
    path = paths[-1]
    entries, offset, size = read_segment(path)
    kept = max([keep_through, *(entry.sequence for entry in entries if entry.durable)])
    if chance.random() < 0.5 or offset != size:
        with path.open("rb+") as stream:  # the head of an entry whose body never reached the disk
            stream.seek(size)
            stream.write(bytes([1 + chance.randrange(255) for _ in range(chance.randint(1, 40))]))
        return 1
    first = int(path.name.removesuffix(SUFFIX))
    if len(entries) + first - 1 <= kept or not entries:
        return 0
    offsets = _offsets(path)
    earliest = offsets[kept - first + 1] if kept >= first else HEAD.size
    if earliest >= size:
        return 0
    cut = chance.randint(earliest, size - 1)
    if chance.random() < 0.5:
        os.truncate(path, cut)
        return 1
    with path.open("rb+") as stream:  # room was kept ahead, and nothing reached it
        stream.seek(cut)
        stream.write(bytes(size - cut))
    return 1


def _offsets(path: Path) -> list[int]:
    """Return where each entry of a segment begins."""
    from core.journal.entry import decode_entry

    content = path.read_bytes()
    offsets: list[int] = []
    offset = HEAD.size
    while (found := decode_entry(content, offset)) is not None:
        offsets.append(offset)
        offset = found[1]
    return offsets
