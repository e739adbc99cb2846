"""Return series as compact bytes: float64 without loss, the time axis once for all trials that share it."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.digest import digest_bytes
from core.errors import BadInputError, IntegrityError

Returns = NDArray[np.float64]
Times = NDArray[np.int64]
_LEVEL = 1  # random mantissas hardly compress: more effort buys nothing


@dataclass(frozen=True)
class Series:
    """A packed return series. Digests are of the plain little-endian bytes, whatever packs them."""

    steps: int
    axis_digest: str
    axis: bytes
    returns_digest: str
    returns: bytes


def pack(returns: ArrayLike, times_ns: ArrayLike) -> Series:
    """Pack the net returns of T steps.

    Args:
        returns: fractions of equity, [T], finite.
        times_ns: when each step ended, int64 [T], strictly increasing.

    Raises:
        BadInputError: shapes differ, nothing in it, a return that is not finite, times not increasing.
    """
    values = np.ascontiguousarray(returns, "<f8")
    times = np.ascontiguousarray(times_ns, "<i8")
    if values.ndim != 1 or values.shape != times.shape or not len(values):
        raise BadInputError(
            f"the return series of a trial needs one return a time, both [T]: given {values.shape} returns and "
            f"{times.shape} times"
        )
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadInputError(f"the return series of a trial holds {values[place]} at step {place} of {len(values)}")
    if (np.diff(times) <= 0).any():
        place = int(np.flatnonzero(np.diff(times) <= 0)[0]) + 1
        raise BadInputError(f"the times of a trial's return series do not increase at step {place}: sort them first")
    return Series(
        len(values),
        digest_bytes(times.tobytes()),
        _squeeze(np.diff(times, prepend=np.int64(0))),
        digest_bytes(values.tobytes()),
        _squeeze(values),
    )


def unpack_returns(content: bytes, digest: str, trial: str) -> Returns:
    """Return the series; float64 [T].

    Raises:
        IntegrityError: it is not what the trial's row says.
    """
    values = _unsqueeze(content, trial).view("<f8")
    if digest_bytes(values.tobytes()) != digest:
        raise IntegrityError(f"the return series of trial {trial} was changed: run tidegate trials verify")
    return values.astype(np.float64)


def unpack_axis(content: bytes, digest: str) -> Times:
    """Return a time axis; int64 [T].

    Raises:
        IntegrityError: it is not what its digest says.
    """
    times = np.cumsum(_unsqueeze(content, f"axis {digest[:12]}").view("<i8"), dtype=np.int64)
    if digest_bytes(times.astype("<i8").tobytes()) != digest:
        raise IntegrityError(f"the time axis {digest[:12]} of the trial ledger was changed: run tidegate trials verify")
    return times


def align(times: list[Times], series: list[Returns]) -> tuple[Times, Returns]:
    """Put K series on the times all of them have; int64 [T] and float64 [T, K].

    Raises:
        BadInputError: they have no time in common.
    """
    common = times[0]
    for other in times[1:]:
        if other is not common:
            common = np.intersect1d(common, other, assume_unique=True)
    if not len(common):
        raise BadInputError("these trials have no time in common: compare trials on overlapping ranges")
    columns = [
        values if axis is common else values[np.searchsorted(axis, common)]
        for axis, values in zip(times, series, strict=True)
    ]
    return common, np.ascontiguousarray(np.column_stack(columns))


def _squeeze(values: NDArray[np.generic]) -> bytes:
    """Compress 8-byte numbers plane by plane: bytes of one significance are alike."""
    return zlib.compress(np.ascontiguousarray(values.view(np.uint8).reshape(-1, 8).T).tobytes(), _LEVEL)


def _unsqueeze(content: bytes, what: str) -> NDArray[np.uint8]:
    try:
        planes = np.frombuffer(zlib.decompress(content), np.uint8)
        return np.ascontiguousarray(planes.reshape(8, -1).T).reshape(-1)
    except (zlib.error, ValueError) as error:
        raise IntegrityError(f"the stored series of {what} is damaged ({error}): restore it from a backup") from None
