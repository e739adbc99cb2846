"""Parse columns of written times to nanoseconds, all rows at once.

One reader for the layouts seen in market files: ``20070101 21:00``, ``20170102 020000``, ``2012-11-16 01:00:00``,
``2013-01-01 22:00:00.295000+00:00``, ``20090501 00:00:00.000``, ``2018-10-11T00:00:00.000000000Z``.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from data.granularity import DAY, HOUR, MINUTE, SECOND

pc: Any = pyarrow.compute  # its functions are made at import, where no type checker sees them

_LAYOUT = (
    r"^\s*\d{4}[-./]?\d{2}[-./]?\d{2}"
    r"([ T]?\d{2}:?\d{2}(:?\d{2}(\.\d{1,9})?)?)?"
    r"\s*(Z|[+-]00:?00)?\s*$"
)
_ZONE = r"(Z|[+-]00:?00)?\s*$"


def parse_stamps(text: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return nanoseconds since 1970-01-01 00:00 on the clock of the file, and which rows are a valid time.

    Only the UTC offset ``+00:00`` is accepted where one is written: no file mixes offsets, and a silent shift would
    be worse than a refusal. Invalid rows have 0.
    """
    filled = pc.fill_null(text, "")
    valid = _bools(pc.match_substring_regex(filled, _LAYOUT))
    plain = pc.if_else(pa.array(valid), _array(filled), "19700101")
    plain = pc.replace_substring_regex(plain, _ZONE, "")
    point = pc.find_substring(plain, ".")
    # A dot at position 4 separates the parts of a date (2012.11.16); only a later one starts a fraction.
    has_fraction = _bools(pc.match_substring_regex(plain, r":?\d{2}\.\d{1,9}$")) & (point.to_numpy() > 8)
    fraction = np.zeros(len(plain), np.int64)
    if has_fraction.any():
        digits = pc.replace_substring_regex(plain, r"^.*\.", "")
        padded = pc.utf8_rpad(pc.if_else(pa.array(has_fraction), digits, "0"), 9, "0")
        fraction = padded.cast(pa.int64()).to_numpy().copy()
        without = pc.replace_substring_regex(plain, r"\.\d{1,9}$", "")
        plain = pc.if_else(pa.array(has_fraction), without, plain)
    packed = pc.utf8_rpad(pc.replace_substring_regex(plain, r"\D", ""), 14, "0").cast(pa.int64()).to_numpy()
    time_ns, real = _unpack(packed)
    valid = valid & real
    return np.where(valid, time_ns + fraction, 0), valid


def _unpack(packed: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Turn ``YYYYMMDDhhmmss`` integers into nanoseconds and say which are real moments."""
    days, clock = packed // 1_000_000, packed % 1_000_000
    year, month, day = days // 10_000, days // 100 % 100, days % 100
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    real = (year >= 1970) & (year < 2200) & (month >= 1) & (month <= 12) & (day >= 1)
    real &= (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(real, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    real &= day <= following - first
    return (first + day - 1) * DAY + hour * HOUR + minute * MINUTE + second * SECOND, real


def _bools(array: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    return np.asarray(_array(array).to_numpy(zero_copy_only=False), bool)


def _array(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
