"""When how much of an order goes out: shares of the whole over time, and units that add up to it exactly."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from trading.execution.almgren_chriss import Impact, trajectory
from trading.execution.plan import Slice
from trading.execution.volume_profile import VolumeProfile

Array = NDArray[np.float64]


def slice_times(start_ns: int, end_ns: int, count: int) -> tuple[int, ...]:
    """Return when each of ``count`` slices of equal duration begins; the first begins at ``start_ns``."""
    return tuple(start_ns + (end_ns - start_ns) * index // count for index in range(count))


def twap(count: int) -> Array:
    """Return the cumulative shares of ``count`` equal parts, float64 [count]; the last is 1."""
    return np.arange(1, count + 1, dtype=np.float64) / count


def vwap(profile: VolumeProfile, instrument: str, times: Sequence[int], end_ns: int) -> Array:
    """Return cumulative shares in proportion to the ticks expected in each slice, float64 [count].

    Args:
        profile: expected ticks by weekday and time of day.
        instrument: whose ticks.
        times: when each slice begins.
        end_ns: when the last one ends.

    Raises:
        BadInputError: the profile lacks the instrument, or expects no tick at all in that time.
    """
    edges = [*times, end_ns]
    volumes = np.array([profile.expected(instrument, low, high) for low, high in pairwise(edges)])
    total = float(volumes.sum())
    if not total > 0:
        raise BadInputError(f"the volume profile expects no tick of {instrument} in the time of this plan")
    return np.asarray(np.cumsum(volumes) / total, np.float64)


def implementation_shortfall(impact: Impact, risk_aversion: float, duration_seconds: float, count: int) -> Array:
    """Return the cumulative shares of the Almgren–Chriss trajectory, float64 [count].

    Raises:
        BadInputError: the impact does not fit the slices (see ``almgren_chriss``).
    """
    return 1.0 - trajectory(impact, risk_aversion, duration_seconds, count)[1:]


def whole_units(
    units: Decimal, shares: Array, times: Sequence[int], step: Decimal, minimum: Decimal
) -> tuple[Slice, ...]:
    """Return slices in whole steps of the instrument that end at exactly ``units``.

    The cumulative size is rounded, never a part, so that rounding does not add up. A part below ``minimum`` waits and
    joins the next; where less than ``minimum`` would be left, it goes out with the part before.

    Args:
        units: signed size, a whole number of steps.
        shares: cumulative, not falling, float64 [count]; the last counts as 1.
        times: when each slice begins.
        step: smallest step of a size.
        minimum: smallest part.
    """
    least = max(minimum, step)
    slices: list[Slice] = []
    done = Decimal(0)
    for share, time_ns in zip(shares, times, strict=True):
        last = time_ns == times[-1]
        exact = Decimal(1) if last else min(Decimal(repr(float(share))), Decimal(1))
        part = (units * exact / step).quantize(Decimal(1), rounding=ROUND_HALF_EVEN) * step
        if abs(units) - abs(part) < least:
            part = units
        if part != done and (abs(part) - abs(done) >= least or part == units):
            slices.append(Slice(time_ns, part))
            done = part
        if done == units:
            break
    return tuple(slices)
