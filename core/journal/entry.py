"""The bytes of an entry and of a segment's head. Little endian throughout.

Segment head, 20 bytes: magic ``TIDEJNL1``, sequence of its first entry (u64), CRC-32 of both (u32).

Entry: length of the body (u32), CRC-32 of the length's four bytes and the body (u32), body. Body: sequence (u64),
time (i64, UTC nanoseconds), flags (u8, bit 0: the writer waited for the disk), length of the kind (u8), kind (ASCII),
payload. The CRC is that of ``zlib`` (IEEE 802.3): it detects every burst of up to 32 bits and is compiled into Python.
"""

import struct
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec

MAGIC = b"TIDEJNL1"
HEAD = struct.Struct("<8sQI")
_HEAD_CONTENT = struct.Struct("<8sQ")
PREFIX = struct.Struct("<II")
_BODY = struct.Struct("<QqBB")
_LENGTH = struct.Struct("<I")
_DURABLE = 1
MAXIMUM_BODY = 16 * 1024 * 1024  # a longer length is a broken one
LONGEST_PAYLOAD = MAXIMUM_BODY - 512
MINIMUM_BODY = _BODY.size


class Entry(msgspec.Struct, frozen=True):
    """One journal entry. ``payload`` is what the writer gave; its kind says how to decode it."""

    sequence: int
    time_ns: int
    kind: str
    payload: bytes
    durable: bool


def encode_head(first_sequence: int) -> bytes:
    """Return the head of a segment."""
    content = _HEAD_CONTENT.pack(MAGIC, first_sequence)
    return content + _LENGTH.pack(zlib.crc32(content))


def decode_head(content: bytes) -> int | None:
    """Return the first sequence of a segment, or None where the head is broken."""
    if len(content) < HEAD.size:
        return None
    magic, first, checksum = HEAD.unpack_from(content)
    if magic != MAGIC or zlib.crc32(content[: _HEAD_CONTENT.size]) != checksum:
        return None
    return first


# An entry before it is bytes: sequence, time, kind, payload, whether the writer waits for the disk. Of kind ``RUN`` it
# stands for several: the sequence is that of the last one, the payload what ``compiled.encode_run`` made of them.
Waiting = tuple[int, int, str, bytes, bool]
RUN = ""


@lru_cache(maxsize=4096)
def _shape(kind: str, size: int) -> tuple[Callable[..., bytes], bytes, int, int]:
    """Return what all entries of a kind with a payload of that size share.

    That is: what packs a body, the kind, the length of the body, the checksum up to there.
    """
    content = kind.encode("ascii")
    length = _BODY.size + len(content) + size
    pack = struct.Struct(f"{_BODY.format}{len(content)}s{size}s").pack
    return pack, content, length, zlib.crc32(_LENGTH.pack(length))


def encode_entries(entries: Iterable[Waiting]) -> bytes:
    """Return the bytes of entries, one after the other. Each quote comes through here."""
    parts: list[bytes] = []
    add, head, checksum = parts.append, PREFIX.pack, zlib.crc32
    known, known_size = RUN, -1
    pack, content, length, begun = _shape(known, 0)
    for sequence, time_ns, kind, payload, durable in entries:
        size = len(payload)
        if size != known_size or kind != known:  # quotes follow quotes, all of one size
            if kind == RUN:
                add(payload)
                known_size = -1
                continue
            pack, content, length, begun = _shape(kind, size)
            known, known_size = kind, size
        body = pack(sequence, time_ns, _DURABLE if durable else 0, len(content), content, payload)
        add(head(length, checksum(body, begun)))
        add(body)
    return b"".join(parts)


def too_long(kind: str, size: int) -> ValueError:
    """Return the error of a payload that readers would take for a broken one."""
    return ValueError(f"journal entry of kind {kind[:32]!r} with {size} bytes is too long")


def decode_entry(content: bytes | memoryview, offset: int) -> tuple[Entry, int] | None:
    """Return the entry at ``offset`` and the offset after it, or None where no whole, valid entry stands."""
    start = offset + PREFIX.size
    if start > len(content):
        return None
    length, checksum = PREFIX.unpack_from(content, offset)
    end = start + length
    if not MINIMUM_BODY <= length <= MAXIMUM_BODY or end > len(content):
        return None
    body = content[start:end]
    if zlib.crc32(body, zlib.crc32(content[offset : offset + 4])) != checksum:
        return None
    sequence, time_ns, flags, kind_length = _BODY.unpack_from(body)
    kind_end = _BODY.size + kind_length
    if kind_end > length:
        return None
    kind = bytes(body[_BODY.size : kind_end]).decode("ascii", "replace")
    return Entry(sequence, time_ns, kind, bytes(body[kind_end:]), bool(flags & _DURABLE)), end
