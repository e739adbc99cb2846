"""Vectorised conversion between UTC and wall clocks.

Offsets come from the zone database through ``zoneinfo`` (the ``tzdata`` wheel where the system has none), turned once
into a table of transitions; arrays are then converted with one binary search.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from data.granularity import SECOND

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR = 2100
_STEP = timedelta(days=7)  # no zone used in markets changed its clock twice within a week since 1970


@dataclass(frozen=True)
class WallClock:
    """A zone as a transition table: ``offset[i]`` holds from ``start[i]`` (UTC ns) on."""

    name: str
    start: NDArray[np.int64]
    offset: NDArray[np.int64]

    def local(self, utc_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return wall-clock time as nanoseconds since 1970-01-01 00:00 of the wall."""
        return utc_ns + self.offset[np.searchsorted(self.start, utc_ns, side="right") - 1]

    def utc(self, local_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return UTC of wall-clock times and which of them never existed (skipped in spring).

        A time that happened twice (autumn) means its first occurrence.
        """
        before, after = self.offset[:-1], self.offset[1:]
        switch = self.start[1:]
        # The wall shows the old offset until the later of the two readings of the switch.
        index = np.searchsorted(switch + np.maximum(before, after), local_ns, side="right")
        utc_ns = local_ns - self.offset[index]
        upcoming = np.minimum(index, max(len(switch) - 1, 0))
        if not len(switch):
            return utc_ns, np.zeros(len(local_ns), bool)
        skipped = (
            (index < len(switch))
            & (local_ns >= switch[upcoming] + before[upcoming])
            & (local_ns < switch[upcoming] + after[upcoming])
        )
        return utc_ns, skipped


@lru_cache(maxsize=32)
def wall_clock(name: str) -> WallClock:
    """Return the wall clock of a zone name such as ``America/New_York``, ``UTC`` or ``Etc/GMT+5``.

    Raises:
        BadInputError: there is no such zone.
    """
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadInputError(f"unknown time zone {name!r}: use a name like America/New_York or UTC") from None
    starts, offsets = [np.iinfo(np.int64).min // 2], [_offset_seconds(zone, _FIRST)]
    moment = _FIRST
    while moment.year < _LAST_YEAR:
        following = moment + _STEP
        if _offset_seconds(zone, following) != offsets[-1]:
            switch = _find_switch(zone, moment, following)
            starts.append(int((switch - _FIRST).total_seconds()) * SECOND)
            offsets.append(_offset_seconds(zone, following))
        moment = following
    return WallClock(name, np.array(starts, np.int64), np.array(offsets, np.int64) * SECOND)


def _offset_seconds(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _find_switch(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Return the first second at which the offset of ``high`` holds."""
    target = _offset_seconds(zone, high)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if _offset_seconds(zone, middle) == target:
            high = middle
        else:
            low = middle
    return high
