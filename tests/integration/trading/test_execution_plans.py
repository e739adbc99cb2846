"""Plans on the paper exchange: finished to the unit, within their limits, and after every kind of interruption."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from execution_market import START_NS, ExecutionMarket, Guillotine, KilledError

from core.clock import NANOSECONDS
from core.domain import OrderType, TimeInForce
from core.errors import BadInputError, UnavailableError
from trading.execution.parameters import ChildStyle, ExecutionParameters, Remainder
from trading.execution.plan import Algorithm, PlanOutcome
from trading.execution.volume_profile import from_ticks
from trading.risk.limits import RiskState

MINUTE = {"duration_seconds": 60.0, "slices": 6, "retry_seconds": 2.0}


def parameters(**changes: Any) -> ExecutionParameters:
    return ExecutionParameters(**({"algorithm": Algorithm.TWAP} | MINUTE | changes))


async def market(folder: Path, liquidity: int = 10_000_000, **changes: Any) -> ExecutionMarket:
    return await ExecutionMarket(folder, parameters(**changes), liquidity).begin()


async def start(market: ExecutionMarket, units: int = 60_000, **fields: Any) -> bool:
    return await market.executor.start(market.order(units, **fields), 0.006, 0)


@pytest.mark.parametrize("algorithm", [Algorithm.TWAP, Algorithm.VWAP, Algorithm.IMPLEMENTATION_SHORTFALL])
@pytest.mark.parametrize("style", list(ChildStyle))
async def test_it_finishes_to_the_unit(tmp_path: Path, algorithm: Algorithm, style: ChildStyle) -> None:
    rising = [START_NS + second * NANOSECONDS // 10 for second in range(600) for _ in range(second // 60 + 1)]
    from_ticks({"EUR_USD": rising}, "a recording", 10).save(tmp_path / "profile.json")
    changes: dict[str, Any] = {"algorithm": algorithm, "child_style": style, "remainder": Remainder.CROSS}
    trading = await market(tmp_path, risk_aversion=1e-3, volume_profile=str(tmp_path / "profile.json"), **changes)
    assert await start(trading, -60_001, stop_loss_price=Decimal("1.11"))
    await trading.run(70)
    assert trading.executed == -60_001
    (end,) = trading.ended()
    assert (end.outcome, end.executed_units) == (PlanOutcome.COMPLETE, Decimal(-60_001))
    assert not trading.desk.state.plans
    sizes = [float(abs(units)) for _, units, _ in trading.fills]
    assert len(sizes) == 6
    if algorithm is Algorithm.VWAP:
        assert sizes == sorted(sizes) and sizes[-1] > 1.4 * sizes[0]
    elif algorithm is Algorithm.IMPLEMENTATION_SHORTFALL:
        assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1.1 * sizes[-1]
    # Each part brings its own stop for its own units.
    stops = [order for order in trading.desk.state.book.open() if order.order_type is OrderType.STOP_LOSS]
    assert len(stops) == 6
    assert "arrival middle 1.10005, shortfall" in end.words


async def test_the_words_at_the_end_measure_the_execution(tmp_path: Path) -> None:
    trading = await market(tmp_path)
    await start(trading)
    await trading.run(25)
    await trading.run(40, 1.1003, 1.1004)
    (end,) = trading.ended()
    average = sum(units * price for _, units, price in trading.fills) / 60_000
    assert f"average {average:.6f}" in end.words
    pips = (average - Decimal("1.10005")) * 10_000
    assert f"shortfall {float(pips):+.2f} pips" in end.words


async def test_what_is_not_planned_goes_whole(tmp_path: Path) -> None:
    trading = await market(tmp_path)
    assert not await start(trading, 5_000)
    assert not await trading.executor.start(
        trading.order(60_000, order_type=OrderType.LIMIT, time_in_force=TimeInForce.GTC, price=Decimal("1.09")), 0.01, 0
    )
    immediate = await market(tmp_path / "b", algorithm=Algorithm.IMMEDIATE)
    assert not await start(immediate)
    with pytest.raises(BadInputError, match="volume profile"):
        await market(tmp_path / "c", algorithm=Algorithm.VWAP, volume_profile=str(tmp_path / "none.json"))


async def test_a_passive_child_follows_the_touch_and_is_crossed_when_its_slice_ends(tmp_path: Path) -> None:
    trading = await market(tmp_path, child_style=ChildStyle.PASSIVE, slices=2)
    await start(trading, 20_000)
    first = trading.resting()
    assert len(first) == 1 and not trading.fills
    await trading.run(5, 1.10004, 1.10014)  # less than half a pip: it stays
    assert trading.resting() == first
    await trading.run(5, 1.1002, 1.1003)
    moved = trading.resting()
    assert len(moved) == 1 and moved != first
    book = trading.desk.state.book
    request = book.orders[moved[0]].request
    assert request is not None and request.price == Decimal("1.10020") and request.units == 10_000
    await trading.run(25, 1.1002, 1.1003)  # the slice ends: what rests is crossed, the next part rests
    assert trading.executed == 10_000
    assert [price for _, _, price in trading.fills] == [Decimal("1.1003")]
    assert len(trading.resting()) == 1
    await trading.run(3, 1.1000, 1.1001)  # the market comes to us
    assert trading.executed == 20_000
    assert trading.fills[-1][2] <= Decimal("1.1002")
    assert [end.outcome for end in trading.ended()] == [PlanOutcome.COMPLETE]


async def test_the_price_limit_waits_and_the_time_limit_ends(tmp_path: Path) -> None:
    trading = await market(tmp_path, price_limit_pips=2.0)
    await start(trading)
    await trading.run(40, 1.1005, 1.1006)
    assert trading.executed == 10_000  # the first part only
    await trading.run(3)  # back within the limit: made up for, at most two parts at once
    sizes = [units for _, units, _ in trading.fills]
    assert sizes[1:] == [20_000, 20_000]
    await trading.run(20, 1.1005, 1.1006)
    (end,) = trading.ended()
    assert end.outcome is PlanOutcome.EXPIRED
    assert end.executed_units == trading.executed < 60_000
    assert all(price <= Decimal("1.1003") for _, _, price in trading.fills)


async def test_a_remainder_is_crossed_once_if_asked_for(tmp_path: Path) -> None:
    trading = await market(tmp_path, remainder=Remainder.CROSS, maximum_participation=0.01, units_per_tick=20_000.0)
    await start(trading)
    assert trading.executed == 0  # no tick was seen yet
    await trading.run(59)
    sizes = [units for _, units, _ in trading.fills]
    assert sizes and set(sizes) == {Decimal(1000)}  # 1 % of 20,000 a tick: five ticks for the smallest part
    await trading.run(2)
    assert trading.executed == 60_000
    assert trading.fills[-1][1] > 2 * max(sizes)
    assert trading.ended()[0].outcome is PlanOutcome.COMPLETE


async def test_partial_fills_count_by_the_fills(tmp_path: Path) -> None:
    trading = await market(tmp_path, liquidity=7_000, time_in_force=TimeInForce.IOC, retry_seconds=1.0)
    await start(trading)
    await trading.run(70)
    assert trading.executed == 60_000
    assert max(units for _, units, _ in trading.fills) <= 7_000


async def test_refusals_pause_and_then_end_the_plan(tmp_path: Path) -> None:
    trading = await market(tmp_path, maximum_failures=3)
    trading.paper.faults = ["refused"] * 10
    await start(trading)
    await trading.run(30)
    (end,) = trading.ended()
    assert end.outcome is PlanOutcome.REFUSED and "MARKET_HALTED" in end.words
    assert len(trading.paper.faults) == 7 and trading.executed == 0
    sent = [order.created_ns for order in trading.desk.state.book.orders.values() if order.request is not None]
    assert all(later - earlier >= 2 * NANOSECONDS for earlier, later in pairwise(sent))


async def test_an_unknown_child_holds_everything_until_it_is_settled(tmp_path: Path) -> None:
    trading = await market(tmp_path)
    trading.paper.faults = ["reply_lost", "request_lost", "never_left"]
    original = trading.paper.resolve

    async def silent(*_: Any) -> Any:
        raise UnavailableError("the broker is silent")

    trading.paper.resolve = silent  # type: ignore[method-assign]
    trading.paper.transactions_since, restored = silent, trading.paper.transactions_since  # type: ignore[method-assign]
    await start(trading)
    for _ in range(20):
        trading.tick(1.1, 1.1001)
        trading.desk.quotes["EUR_USD"] = trading.quote
        await trading.executor.run_due()
    assert len(trading.desk.state.book.uncertain()) == 1
    assert trading.executed == 10_000  # it did arrive; nothing followed it
    trading.paper.resolve, trading.paper.transactions_since = original, restored  # type: ignore[method-assign]
    await trading.run(60)
    assert trading.executed == 60_000


async def test_a_newer_decision_and_the_kill_switch_end_a_plan(tmp_path: Path) -> None:
    trading = await market(tmp_path, child_style=ChildStyle.PASSIVE)
    await start(trading)
    assert trading.resting()
    await trading.executor.supersede("EUR_USD", "a newer decision")
    assert not trading.resting() and not trading.desk.state.plans
    assert await start(trading, number=2)
    assert len(trading.resting()) == 1
    trading.desk.halt("TEST", "by the test")
    await trading.run(1)
    assert not trading.resting()
    assert [end.outcome for end in trading.ended()] == [PlanOutcome.SUPERSEDED, PlanOutcome.STOPPED]
    await trading.run(70)
    assert trading.executed == 0


async def test_a_restriction_stops_what_opens_and_lets_exits_go_on(tmp_path: Path) -> None:
    trading = await market(tmp_path)
    await start(trading)
    trading.desk.halt("DRAWDOWN", "by the test", RiskState.REDUCING)
    await trading.run(15)
    assert trading.ended()[0].outcome is PlanOutcome.STOPPED
    held = trading.executed
    assert held == 10_000
    # More than is held: a reduce-only plan stops at flat.
    assert await start(trading, -30_000, number=2, reduce_only=True)
    await trading.run(70)
    assert trading.executed == 0
    assert trading.ended()[1].outcome is PlanOutcome.STOPPED


async def test_a_stop_that_is_hit_ends_the_plan(tmp_path: Path) -> None:
    trading = await market(tmp_path)
    await start(trading, stop_loss_price=Decimal("1.0990"))
    await trading.run(5)
    await trading.run(20, 1.0985, 1.0986)
    (end,) = trading.ended()
    assert end.outcome is PlanOutcome.STOPPED and "stop_loss was executed" in end.words
    assert trading.executed == 0


@pytest.mark.parametrize("style", list(ChildStyle))
async def test_it_survives_its_death_at_every_place(
    tmp_path: Path, style: ChildStyle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run counts the places passed; then one run dies at each of a spread of them."""
    guillotine = Guillotine(monkeypatch)

    async def session(folder: Path, die_at: int) -> ExecutionMarket:
        trading = await market(
            folder, child_style=style, slices=2, duration_seconds=8.0, retry_seconds=1.0, remainder=Remainder.CROSS
        )
        guillotine.passed.clear()
        guillotine.left = die_at
        order = trading.order(30_001)
        for second in range(14):
            try:
                if second == 0:
                    assert await trading.executor.start(order, 0.006, 0)
                drift = (second % 3) * 0.00006
                trading.tick(1.1 + drift, 1.1001 + drift)
                await trading.look()
            except KilledError:
                await trading.restart()
                assert await trading.executor.start(order, 0.006, 0)  # the step is finished again
            assert len(trading.resting()) <= 1
        return trading

    whole = await session(tmp_path / "whole", 0)
    assert whole.executed == 30_001
    places = len(guillotine.passed)
    assert {"plan.started", "plan.ended", "order.written"} <= set(guillotine.passed)
    for die_at in range(1, places + 1):
        trading = await session(tmp_path / str(die_at), die_at)
        assert trading.executed == 30_001, f"died at place {die_at}"
        assert not trading.desk.state.plans and not trading.desk.state.violations
        assert [end.executed_units for end in trading.ended()] == [Decimal(30_001)]
        accepted = [e.client_order_id for e in trading.paper._events if type(e).__name__ == "OrderAccepted"]
        assert len(accepted) == len(set(accepted))


async def test_what_a_dead_process_left_standing_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guillotine = Guillotine(monkeypatch)
    trading = await market(tmp_path, child_style=ChildStyle.PASSIVE)
    await start(trading)
    guillotine.only, guillotine.left = "plan.ended", 1
    with pytest.raises(KilledError):
        await trading.executor.supersede("EUR_USD", "a newer decision")
    assert len(trading.resting()) == 1
    await trading.restart()
    assert not trading.resting()
    assert not trading.desk.state.plans


async def test_the_next_time_is_known(tmp_path: Path) -> None:
    trading = await market(tmp_path)
    assert trading.executor.next_due_ns() is None
    await start(trading)
    assert trading.executor.next_due_ns() == trading.clock.time_ns() + 10 * NANOSECONDS
