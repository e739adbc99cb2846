"""Which arm answers a decision: a pure function of the policy, so that the log alone is enough to compute it again.

An instrument keeps its arm for a whole block of market time (``Traffic.block_seconds``): a position is not handed to
and fro between two versions at every step, and outcomes of one block belong to one arm.

The cell (instrument, block) draws a point of [0, 1) and belongs to the challenger where the point lies below the
share::

    point = first 8 bytes, big endian, of SHA-256(salt + "\\n" + strategy + "\\n" + instrument + "\\n" + block) / 2**64
    block = floor(time_ns / (block_seconds * 10**9)), in decimal

The point does not depend on the share: raising the share only adds cells to the challenger's. SHA-256, because every
database and spreadsheet has it; this must be well mixed, not secret.
"""

import hashlib
from functools import lru_cache

from serving.traffic.policy import Arm, Mode, Traffic

_SPAN = 2**64
_NANOSECONDS = 1_000_000_000
_REMEMBERED = 64  # instruments of a request whose rows are kept


def assigned(policy: Traffic, strategy: str, instrument: str, time_ns: int) -> Arm:
    """Return the arm whose answer is traded for an instrument at a market time (UTC nanoseconds).

    An answer that is missing is replaced by the champion's; the prediction then says champion.
    """
    if policy.mode is Mode.BLEND:
        return Arm.BLEND
    if policy.mode not in (Mode.CANARY, Mode.AB):
        return Arm.CHAMPION
    point = _point(policy.salt, strategy, instrument, block_of(policy, time_ns))
    return Arm.CHALLENGER if point < policy.share * _SPAN else Arm.CHAMPION


def block_of(policy: Traffic, time_ns: int) -> int:
    """Return the number of the time block of a market time."""
    return time_ns // (policy.block_seconds * _NANOSECONDS)


def challenger_rows(policy: Traffic, strategy: str, instruments: tuple[str, ...], time_ns: int) -> bytes:
    """Return a byte for each instrument, 1 where ``assigned`` says challenger; empty where it never does."""
    if policy.mode not in (Mode.CANARY, Mode.AB):
        return b""
    block = block_of(policy, time_ns)
    if len(instruments) <= _REMEMBERED:
        return _remembered_rows(policy, strategy, instruments, block)
    return _rows(policy, strategy, instruments, block)


def _rows(policy: Traffic, strategy: str, instruments: tuple[str, ...], block: int) -> bytes:
    limit = policy.share * _SPAN
    found = bytes(_point(policy.salt, strategy, instrument, block) < limit for instrument in instruments)
    return found if any(found) else b""


# A trader asks for the same instruments at every step of a block.
_remembered_rows = lru_cache(maxsize=256)(_rows)


# Cells live for hours and are asked for at every step: remembered, one costs a tenth of a microsecond instead of one.
@lru_cache(maxsize=16384)
def _point(salt: str, strategy: str, instrument: str, block: int) -> int:
    """Return the point of a cell times 2**64."""
    text = f"{salt}\n{strategy}\n{instrument}\n{block}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
