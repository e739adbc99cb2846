"""How many ticks a market has at which time of the week: what VWAP follows.

Time of day and weekday are those of New York, where the trading day turns (17:00) and whose daylight saving moves the
London and New York peaks. Ticks stand in for volume: spot FX has no consolidated volume.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.clock import NANOSECONDS
from core.digest import digest_value
from core.domain import INPUT_COLUMNS, BarKind, Panel
from core.errors import BadInputError
from core.files import write_json

ZONE = "America/New_York"
_NEW_YORK = ZoneInfo(ZONE)
_DAY = 86_400
_WEEKDAYS = 7
_VOLUME = INPUT_COLUMNS.index("tick_volume")


class VolumeProfile(msgspec.Struct, frozen=True):
    """Mean ticks of each bucket of the week.

    Attributes:
        bucket_seconds: length of a bucket; divides a day.
        ticks: by instrument, mean ticks of each of the 7 · 86400 / bucket_seconds buckets, Monday 00:00 first.
        source: what it was estimated from.
        days: trading dates seen, by instrument.
    """

    bucket_seconds: int
    ticks: Mapping[str, tuple[float, ...]]
    source: str
    days: Mapping[str, int]

    def expected(self, instrument: str, start_ns: int, end_ns: int) -> float:
        """Return the ticks expected in ``[start_ns, end_ns)``; within a bucket they come evenly.

        Raises:
            BadInputError: the profile has no such instrument.
        """
        buckets = self.ticks.get(instrument)
        if buckets is None:
            raise BadInputError(f"the volume profile ({self.source}) has no {instrument}: estimate it anew")
        total, now = 0.0, start_ns
        length = self.bucket_seconds * NANOSECONDS
        while now < end_ns:
            position, into = _place(now, self.bucket_seconds)
            until = min(now + length - into, end_ns)
            total += buckets[position] * (until - now) / length
            now = until
        return total

    def digest(self) -> str:
        """Return a digest of the content."""
        return digest_value(msgspec.to_builtins(self))

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_json(path, msgspec.to_builtins(self))

    @classmethod
    def load(cls, path: Path) -> "VolumeProfile":
        """Read what ``save`` wrote.

        Raises:
            BadInputError: there is no such file, or it is no volume profile.
        """
        try:
            profile = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise BadInputError(
                f"vwap needs a volume profile and {path} is not there: make one with `tidegate volume-profile`"
            ) from None
        except OSError as error:
            raise BadInputError(f"volume profile {path} cannot be read: {error.strerror}") from None
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise BadInputError(f"{path} is no volume profile: {error}") from None
        _check_bucket(profile.bucket_seconds)
        count = _WEEKDAYS * _DAY // profile.bucket_seconds
        for name, buckets in profile.ticks.items():
            if len(buckets) != count or not all(0 <= ticks < float("inf") for ticks in buckets):
                raise BadInputError(f"volume profile {path}: {name} has not {count} tick counts of 0 or more")
        return profile


def from_panel(panel: Panel, bar_seconds: int, source: str, bucket_seconds: int = 3600) -> VolumeProfile:
    """Estimate a profile from bars with tick volume.

    Args:
        panel: bars of ``bar_seconds``, times at their close.
        bar_seconds: length of a bar; not longer than a bucket.
        source: names the history, for the record.
        bucket_seconds: length of a bucket.

    Raises:
        BadInputError: the panel is of fixings, has no tick volume, or its bars are longer than a bucket.
    """
    _check_bucket(bucket_seconds)
    if panel.kind is BarKind.FIXING:
        raise BadInputError(f"{source} has fixings, one price a day: there is no tick volume for a vwap profile in it")
    if bar_seconds > bucket_seconds:
        raise BadInputError(
            f"bars of {bar_seconds} s are longer than buckets of {bucket_seconds} s: use longer buckets"
        )
    middles = panel.time_ns - bar_seconds * NANOSECONDS // 2
    counts: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    for column, name in enumerate(panel.instruments):
        volumes = panel.values[:, column, _VOLUME]
        there = np.isfinite(volumes) & (panel.arrival_ns[:, column] > 0)
        if not (there.any() and float(volumes[there].sum()) > 0):
            raise BadInputError(f"{source} has no tick volume of {name}: vwap cannot be used with it")
        counts[name] = (middles[there], volumes[there])
    return _estimate(counts, source, bucket_seconds)


def from_ticks(
    times_by_instrument: Mapping[str, Sequence[int]], source: str, bucket_seconds: int = 900
) -> VolumeProfile:
    """Estimate a profile from recorded ticks: UTC nanoseconds by instrument.

    Raises:
        BadInputError: an instrument has no tick.
    """
    _check_bucket(bucket_seconds)
    counts: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    for name in sorted(times_by_instrument):
        times = np.asarray(times_by_instrument[name], np.int64)
        if not len(times):
            raise BadInputError(f"{source} has no tick of {name}: vwap cannot be used with it")
        counts[name] = (times, np.ones(len(times)))
    return _estimate(counts, source, bucket_seconds)


def _estimate(
    counts: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]], source: str, bucket_seconds: int
) -> VolumeProfile:
    """Mean over the dates seen: a bucket without a tick on a day that traded is a zero, not a gap."""
    size = _WEEKDAYS * _DAY // bucket_seconds
    ticks: dict[str, tuple[float, ...]] = {}
    days: dict[str, int] = {}
    for name in sorted(counts):
        times, volumes = counts[name]
        local = _local_seconds(times)
        positions = (local // _DAY + 3) % _WEEKDAYS * (_DAY // bucket_seconds) + local % _DAY // bucket_seconds
        totals = np.bincount(positions, weights=volumes, minlength=size)
        dates = np.unique(local // _DAY)
        seen = np.bincount((dates + 3) % _WEEKDAYS, minlength=_WEEKDAYS)
        means = totals / np.repeat(np.maximum(seen, 1), _DAY // bucket_seconds)
        ticks[name] = tuple(round(float(mean), 6) for mean in means)
        days[name] = len(dates)
    return VolumeProfile(bucket_seconds, ticks, source, days)


def _check_bucket(bucket_seconds: int) -> None:
    # Daylight saving moves clocks by whole hours: within a bucket of at most one the offset stands still.
    if not 0 < bucket_seconds <= 3600 or 3600 % bucket_seconds:
        raise BadInputError(f"a bucket must divide an hour, {bucket_seconds} s does not")


class _Offsets:
    """Seconds that New York is ahead of UTC, by whole hour: zoneinfo is asked once an hour of data."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def at(self, hour: int) -> int:
        offset = self._known.get(hour)
        if offset is None:
            moment = datetime.fromtimestamp(hour * 3600, UTC).astimezone(_NEW_YORK)
            difference = moment.utcoffset()
            assert difference is not None
            offset = self._known[hour] = int(difference.total_seconds())
        return offset


_OFFSETS = _Offsets()


def _local_seconds(times: NDArray[np.int64]) -> NDArray[np.int64]:
    seconds = times // NANOSECONDS
    hours, inverse = np.unique(seconds // 3600, return_inverse=True)
    offsets = np.array([_OFFSETS.at(int(hour)) for hour in hours], np.int64)
    return np.asarray(seconds + offsets[inverse], np.int64)


def _place(time_ns: int, bucket_seconds: int) -> tuple[int, int]:
    """Return the bucket of a time, and the nanoseconds since the bucket began."""
    seconds = time_ns // NANOSECONDS
    local = seconds + _OFFSETS.at(seconds // 3600)
    position = (local // _DAY + 3) % _WEEKDAYS * (_DAY // bucket_seconds) + local % _DAY // bucket_seconds
    return position, time_ns - (seconds - local % bucket_seconds) * NANOSECONDS
