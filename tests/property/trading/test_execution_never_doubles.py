"""Whatever is lost, refused or killed: never more than the parent, never two working children, nothing sent twice."""

import sys
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.domain import OrderAccepted, TimeInForce
from trading.execution.parameters import ChildStyle, ExecutionParameters, Remainder
from trading.execution.plan import Algorithm, PlanOutcome
from trading.execution.schedules import slice_times, twap, whole_units

sys.path.append(str(Path(__file__).parents[2] / "integration" / "trading"))

from execution_market import ExecutionMarket, Guillotine, KilledError

FAULTS = ("", "", "", "reply_lost", "request_lost", "never_left", "refused")


@given(
    units=st.integers(-400_000, 400_000).filter(lambda units: abs(units) >= 10),
    cuts=st.lists(st.integers(0, 1000), min_size=1, max_size=30),
    minimum=st.integers(1, 60_000),
)
@settings(max_examples=60, deadline=None)
def test_any_schedule_adds_up(units: int, cuts: list[int], minimum: int) -> None:
    weights = [cut + 1 for cut in cuts]
    shares = twap(len(weights)) * 0
    for index in range(len(weights)):
        shares[index] = sum(weights[: index + 1]) / sum(weights)
    slices = whole_units(Decimal(units), shares, slice_times(0, 10_000, len(weights)), Decimal(1), Decimal(minimum))
    sizes = [piece.cumulative_units for piece in slices]
    parts = [after - before for before, after in zip([Decimal(0), *sizes], sizes, strict=False)]
    assert sum(parts) == units
    assert all(part * units > 0 and part == part.to_integral_value() for part in parts)
    assert len(parts) == 1 or all(abs(part) >= minimum for part in parts)


@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_never_more_than_the_parent(data: st.DataObject) -> None:
    import asyncio

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        asyncio.run(_session(Path(folder), data, Guillotine(patch)))


async def _session(folder: Path, data: st.DataObject, guillotine: Guillotine) -> None:
    parameters = ExecutionParameters(
        algorithm=Algorithm.TWAP,
        duration_seconds=12.0,
        slices=data.draw(st.integers(1, 4)),
        minimum_child_units=float(data.draw(st.sampled_from([1, 1000, 7000]))),
        child_style=data.draw(st.sampled_from(list(ChildStyle))),
        time_in_force=data.draw(st.sampled_from([TimeInForce.FOK, TimeInForce.IOC])),
        remainder=data.draw(st.sampled_from(list(Remainder))),
        price_limit_pips=data.draw(st.sampled_from([0.0, 1.0])),
        retry_seconds=1.0,
        maximum_failures=4,
    )
    trading = await ExecutionMarket(folder, parameters, data.draw(st.sampled_from([9_000, 10_000_000]))).begin()
    parent = data.draw(st.sampled_from([-50_001, 30_000]))
    trading.paper.faults = data.draw(st.lists(st.sampled_from(FAULTS), max_size=12))
    order = trading.order(parent)
    started = False
    for second in range(20):
        guillotine.left = data.draw(st.sampled_from([0, 0, 0, 1, 3, 6, 10, 15]))
        move = data.draw(st.integers(-15, 15)) / 100_000
        try:
            if not started or guillotine.left:
                started = await trading.executor.start(order, 0.006, 0) or started
            trading.tick(1.1 + move, 1.1001 + move)
            await trading.look()
        except KilledError:
            guillotine.left = 0
            await trading.restart()
            started = await trading.executor.start(order, 0.006, 0) or started
        guillotine.left = 0
        _check(trading, parent, second)
    # Slow enough for everything to settle: the end is known and true.
    trading.paper.faults = []
    await trading.run(20)
    _check(trading, parent, 99)
    assert not trading.desk.state.plans and not trading.resting()
    assert not trading.desk.state.book.open()
    assert trading.desk.state.positions.units("EUR_USD") == trading.executed
    for end in trading.ended():
        if end.outcome is PlanOutcome.COMPLETE:
            assert trading.executed == parent


def _check(trading: ExecutionMarket, parent: int, second: int) -> None:
    executed = trading.executed
    assert executed * parent >= 0 and abs(executed) <= abs(parent), f"{executed} of {parent} at {second}"
    assert len(trading.resting()) <= 1, f"two working children at {second}"
    ids: Any = Counter(event.client_order_id for event in trading.paper._events if isinstance(event, OrderAccepted))
    assert not [name for name, count in ids.items() if count > 1]
    assert not trading.desk.state.violations
