"""The bytes of an entry and of a segment's head. Little endian throughout.

Segment head, 20 bytes: magic ``TIDEJNL1``, sequence of its first entry (u64), CRC-32 of both (u32).

Entry: length of the body (u32), CRC-32 of the length's four bytes and the body (u32), body. Body: sequence (u64),
time (i64, UTC nanoseconds), flags (u8, bit 0: the writer waited for the disk), length of the kind (u8), kind (ASCII),
payload. The CRC is that of ``zlib`` (IEEE 802.3): it detects every burst of up to 32 bits and is compiled into Python.
"""

import struct
import zlib

import msgspec

MAGIC = b"TIDEJNL1"
HEAD = struct.Struct("<8sQI")
_HEAD_CONTENT = struct.Struct("<8sQ")
PREFIX = struct.Struct("<II")
_BODY = struct.Struct("<QqBB")
_COVERED = struct.Struct("<IQqBB")  # length and body: what the checksum covers, up to the kind
_ENTRY = struct.Struct("<IIQqBB")  # the same as it stands on disk, with the checksum behind the length
_LENGTH = struct.Struct("<I")
_DURABLE = 1
MAXIMUM_BODY = 16 * 1024 * 1024  # a longer length is a broken one
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


def encode_entry(sequence: int, time_ns: int, kind: bytes, payload: bytes, durable: bool) -> bytes:
    """Return the bytes of an entry.

    Raises:
        ValueError: the kind or the payload is too long.
    """
    if len(kind) > 255 or len(payload) > MAXIMUM_BODY - 512:
        raise ValueError(f"journal entry of kind {kind[:32]!r} with {len(payload)} bytes is too long")
    kind_length = len(kind)
    content = kind + payload
    length = _BODY.size + len(content)
    flags = _DURABLE if durable else 0
    # Packed twice: cheaper than taking bytes apart, and each quote comes through here.
    checksum = zlib.crc32(content, zlib.crc32(_COVERED.pack(length, sequence, time_ns, flags, kind_length)))
    return _ENTRY.pack(length, checksum, sequence, time_ns, flags, kind_length) + content


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
