"""Many entries of one kind at once: the bytes that ``entry.encode_entries`` makes, by compiled code.

A run of quotes is encoded here in about 0.1 µs an entry where the interpreter takes 1. Imports numba: only whoever has
runs imports this module.
"""

import zlib
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from core.journal.entry import MINIMUM_BODY, PREFIX

Bytes = NDArray[np.uint8]
_POLYNOMIAL = 0xEDB88320  # IEEE 802.3, reflected, as in zlib


def _tables() -> NDArray[np.uint32]:
    """Return the tables of a checksum that takes eight bytes at a time (Kounavis and Berry, ISCC 2005), [8, 256]."""
    tables = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        tables[0, byte] = value
    for slice_ in range(1, 8):
        before = tables[slice_ - 1]
        tables[slice_] = (before >> 8) ^ tables[0][before & 0xFF]
    return tables


_TABLES = _tables()


@numba.njit(cache=True)
def _checksum(content: Bytes, start: int, end: int, begun: Any, tables: NDArray[np.uint32]) -> Any:
    """Return the CRC-32 of ``content[start:end]`` after what was ``begun``."""
    value = np.uint32(begun) ^ np.uint32(0xFFFFFFFF)
    at = start
    while at + 8 <= end:
        value ^= (
            np.uint32(content[at])
            | (np.uint32(content[at + 1]) << np.uint32(8))
            | (np.uint32(content[at + 2]) << np.uint32(16))
            | (np.uint32(content[at + 3]) << np.uint32(24))
        )
        value = (
            tables[7, value & np.uint32(0xFF)]
            ^ tables[6, (value >> np.uint32(8)) & np.uint32(0xFF)]
            ^ tables[5, (value >> np.uint32(16)) & np.uint32(0xFF)]
            ^ tables[4, value >> np.uint32(24)]
            ^ tables[3, content[at + 4]]
            ^ tables[2, content[at + 5]]
            ^ tables[1, content[at + 6]]
            ^ tables[0, content[at + 7]]
        )
        at += 8
    while at < end:
        value = (value >> np.uint32(8)) ^ tables[0, (value ^ np.uint32(content[at])) & np.uint32(0xFF)]
        at += 1
    return value ^ np.uint32(0xFFFFFFFF)


@numba.njit(cache=True)
def _put(out: Bytes, at: int, value: int, size: int) -> None:
    """Write an integer, little endian."""
    for byte in range(size):
        out[at + byte] = (value >> (8 * byte)) & 0xFF


@numba.njit(cache=True)
def _encode(
    first: int,
    times: NDArray[np.int64],
    kind: Bytes,
    payloads: Bytes,
    sizes: NDArray[np.int64],
    lengths: NDArray[np.uint32],
    out: Bytes,
    tables: NDArray[np.uint32],
) -> int:
    at = 0
    for index in range(len(times)):
        size = sizes[index]
        body = at + 8
        _put(out, body, first + index, 8)
        _put(out, body + 8, times[index], 8)
        out[body + 16] = 0  # nobody waits for the disk
        out[body + 17] = len(kind)
        end = body + 18
        for byte in range(len(kind)):
            out[end + byte] = kind[byte]
        end += len(kind)
        for byte in range(size):
            out[end + byte] = payloads[index, byte]
        end += size
        _put(out, at, end - body, 4)
        _put(out, at + 4, _checksum(out, body, end, lengths[size], tables), 4)
        at = end
    return at


@lru_cache(maxsize=64)
def _beginnings(kind: str, most: int) -> tuple[Bytes, NDArray[np.uint32]]:
    """Return a kind's bytes, and the checksum of the length of a body by the size of its payload, [most + 1]."""
    content = np.frombuffer(kind.encode("ascii"), np.uint8)
    fixed = MINIMUM_BODY + len(content)
    sums = [zlib.crc32((fixed + size).to_bytes(4, "little")) for size in range(most + 1)]
    return content, np.array(sums, np.uint32)


def encode_run(
    first_sequence: int, times: NDArray[np.int64], kind: str, payloads: Bytes, sizes: NDArray[np.int64]
) -> bytes:
    """Return the bytes of entries of one kind that nobody waits for, one after the other.

    Args:
        first_sequence: of the first; the others follow without a gap.
        times: int64 [n], UTC nanoseconds.
        kind: of all of them, ASCII.
        payloads: uint8 [n, L]; each is the first ``sizes`` bytes of its row.
        sizes: int64 [n], at most L.
    """
    most = payloads.shape[1]
    content, lengths = _beginnings(kind, most)
    out = np.empty(len(times) * (PREFIX.size + MINIMUM_BODY + len(content) + most), np.uint8)
    written = _encode(first_sequence, times, content, payloads, sizes, lengths, out, _TABLES)
    return out[:written].tobytes()
