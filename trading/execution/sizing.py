"""How much of a plan goes out now: what its schedule asks for, within what its limits allow. Pure functions."""

from decimal import ROUND_DOWN, Decimal
from itertools import pairwise

from core.domain import Instrument
from trading.execution.parameters import ExecutionParameters
from trading.execution.plan import ExecutionPlan

_ZERO = Decimal(0)
CATCH_UP = 2  # a child that makes up for lost time is at most this many of the largest scheduled parts


def scheduled(plan: ExecutionPlan, now_ns: int) -> tuple[Decimal, Decimal]:
    """Return the signed units that may be executed by now, and those of the slices that are already over."""
    current, over = _ZERO, _ZERO
    for piece in plan.slices:
        if piece.time_ns > now_ns:
            break
        over, current = current, piece.cumulative_units
    return current, (current if now_ns >= plan.end_ns else over)


def slice_end(plan: ExecutionPlan, time_ns: int) -> int:
    """Return when the slice that ``time_ns`` lies in ends."""
    return min((piece.time_ns for piece in plan.slices if piece.time_ns > time_ns), default=plan.end_ns)


def next_slice(plan: ExecutionPlan, now_ns: int) -> int | None:
    """Return when the next slice begins or the plan ends; None after its end."""
    if now_ns >= plan.end_ns:
        return None
    return slice_end(plan, now_ns)


def pause_ns(plan: ExecutionPlan, failed: bool, parameters: ExecutionParameters) -> int:
    """Return the pause after a marketable child: after a refusal the full one, else less than a slice lasts."""
    retry = round(parameters.retry_seconds * 1e9)
    if failed:
        return retry
    edges = [piece.time_ns for piece in plan.slices] + [plan.end_ns]
    shortest = min(high - low for low, high in pairwise(edges))
    return min(retry, shortest // 2)


def largest_part(plan: ExecutionPlan) -> Decimal:
    """Return the size of the largest scheduled part, unsigned."""
    largest, before = _ZERO, _ZERO
    for piece in plan.slices:
        largest, before = max(largest, abs(piece.cumulative_units - before)), piece.cumulative_units
    return largest


def child_units(
    plan: ExecutionPlan,
    wanted: Decimal,
    remaining: Decimal,
    held: Decimal,
    ticks: int,
    instrument: Instrument,
    parameters: ExecutionParameters,
) -> Decimal:
    """Return the signed size of the next child; 0 where it has to wait.

    Args:
        plan: its limits.
        wanted: signed units the schedule asks for now, not beyond ``remaining``.
        remaining: signed units of the plan that are not executed.
        held: signed position; a reduce-only plan never goes beyond it.
        ticks: ticks of the market since the last child.
        instrument: its steps.
        parameters: smallest child and what a tick stands for.
    """
    size = min(abs(wanted), abs(remaining), CATCH_UP * largest_part(plan))
    whole = abs(remaining)
    if plan.parent.reduce_only:
        whole = min(whole, abs(held))
        size = min(size, whole)
    if plan.maximum_participation is not None:
        share = Decimal(str(plan.maximum_participation)) * Decimal(str(parameters.units_per_tick)) * ticks
        size = min(size, share)
    size = (size / instrument.unit_step).quantize(Decimal(1), rounding=ROUND_DOWN) * instrument.unit_step
    least = max(Decimal(str(parameters.minimum_child_units)), instrument.minimum_units)
    if size < least and not (size == whole and size >= instrument.minimum_units):
        return _ZERO
    return size.copy_sign(remaining)
