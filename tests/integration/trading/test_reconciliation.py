"""The continuous comparison on a paper account: what is settled, what stops, what is only said, and how often."""

import asyncio
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from desk_parts import DeskParts, make_desk
from trading_session import practice_settings

from core.clock import SimulatedClock
from core.domain import OrderRequest, OrderState, OrderType, TimeInForce
from core.errors import BadInputError
from trading import records
from trading.brokers.oanda import OandaBroker
from trading.control.kill_switch import KillSwitch, KillSwitchSetting
from trading.matching.commands import Cancel
from trading.reconciliation.continuous import Reconciler
from trading.reconciliation.parameters import ReconciliationParameters
from trading.reconciliation.start import reconcile
from trading.risk.limits import RiskState

SECOND = 1_000_000_000
START = 1_709_632_800 * SECOND  # a Tuesday morning


def reconciler(parts: DeskParts, clock: SimulatedClock, live: bool = True) -> Reconciler:
    return Reconciler(ReconciliationParameters(), parts.broker, parts.desk, clock, parts.degradation, live)


async def pass_time(reconciling: Reconciler, clock: SimulatedClock, seconds: int) -> None:
    """Let feed events come every half second of the session's clock."""
    for _ in range(2 * seconds):
        clock.advance_to(clock.time_ns() + SECOND // 2)
        for _ in range(4):  # a look is a task beside the loop: let it ask its questions
            await asyncio.sleep(0)
        await reconciling.run_due()
    await reconciling.close()


async def buy(parts: DeskParts, **fields: object) -> None:
    now = START
    parts.quote("EUR_USD", 1.1, 1.1001, now)
    parts.quote("USD_JPY", 150.0, 150.01, now)
    request = {"client_order_id": "rules:EUR_USD:1:0", "instrument": "EUR_USD", "units": Decimal(1000), **fields}
    rates = parts.desk.rates()
    assert await parts.desk.send(OrderRequest(**request), rates, parts.desk.equity(rates), 0)  # type: ignore[arg-type]


async def test_intervals_are_those_written_down_and_nothing_differs(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with make_desk(tmp_path, clock) as parts:
        await buy(parts, stop_loss_price=Decimal("1.09"))
        await pass_time(reconciler(parts, clock), clock, 125)
        scopes = [scope for scope, _ in parts.reconciled()]
        assert scopes == ["open_orders", "positions", "open_orders", "positions"]
        assert parts.differences() == []
        assert parts.desk.state.risk_state is RiskState.ACTIVE


@pytest.mark.parametrize(("units", "money", "kind"), [(500, "0", "position"), (0, "12.34", "balance")])
async def test_units_and_money_that_differ_halt_after_a_second_look(
    tmp_path: Path, units: int, money: str, kind: str
) -> None:
    clock = SimulatedClock(START)
    with make_desk(tmp_path, clock) as parts:
        parts.lie(units, money)
        await pass_time(reconciler(parts, clock), clock, 61)
        assert parts.desk.state.risk_state is RiskState.ACTIVE, "one look is not enough"
        assert parts.differences() == []
        await pass_time(reconciling := reconciler(parts, clock), clock, 64)
        found = parts.differences()
        assert [(record.kind, "seen twice" in record.resolution) for record in found] == [(kind, True)]
        assert parts.desk.state.risk_state is RiskState.HALTED
        assert parts.desk.state.risk_reason == "RECONCILIATION"
        await pass_time(reconciling, clock, 120)
        assert len(parts.differences()) == 1, "a standing difference is written once"


async def test_what_is_gone_by_the_second_look_does_not_count(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with make_desk(tmp_path, clock) as parts:
        reconciling = reconciler(parts, clock)
        parts.lie(500)
        for _ in range(122):
            await pass_time_once(reconciling, clock)
        assert reconciling.describe()["suspected"] == ["position EUR_USD"]
        parts.lie(-500)
        await pass_time(reconciling, clock, 10)
        assert parts.differences() == []
        assert parts.desk.state.risk_state is RiskState.ACTIVE


async def pass_time_once(reconciling: Reconciler, clock: SimulatedClock) -> None:
    clock.advance_to(clock.time_ns() + SECOND // 2)
    for _ in range(4):
        await asyncio.sleep(0)
    await reconciling.run_due()


async def test_an_event_that_never_came_is_fetched_and_applied(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with make_desk(tmp_path, clock) as parts:
        await buy(parts, order_type=OrderType.LIMIT, price=Decimal("1.05"), time_in_force=TimeInForce.GTC)
        assert len(parts.desk.state.book.open()) == 1
        # Cancelled at the broker, and no stream tells us.
        parts.broker._apply(Cancel(time_ns=clock.time_ns(), order="@rules:EUR_USD:1:0"))
        await pass_time(reconciler(parts, clock), clock, 35)
        assert parts.desk.state.book.open() == []
        assert parts.differences() == [], "a missed event is no difference once it is applied"
        assert ("open_orders", 0) in parts.reconciled()


async def test_in_lockstep_it_runs_after_so_many_steps(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with make_desk(tmp_path, clock) as parts:
        reconciling = Reconciler(
            ReconciliationParameters(lockstep_steps=3), parts.broker, parts.desk, clock, parts.degradation, live=False
        )
        parts.lie(500)
        for number in range(1, 5):
            clock.advance_to(START + number * 86_400 * SECOND)
            parts.desk.commit(records.StepClosed(clock.time_ns(), np.full((2, 9), np.nan).tobytes(), ()))
            await reconciling.run_due()
            parts.desk.commit(records.StepDone(clock.time_ns(), 1.0, 0.0, {}))
            await reconciling.run_due()
        assert parts.reconciled() == [("positions", 1)]
        assert "0.0 s apart" in parts.differences()[0].resolution


async def test_an_order_that_stays_unanswered_stops_new_risk_until_it_is_settled(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    dead = OandaBroker(practice_settings("http://127.0.0.1:9"), clock, settle_seconds=0.01)
    try:
        with make_desk(tmp_path, clock, dead) as parts:
            order = OrderRequest("rules:EUR_USD:1:0", "EUR_USD", Decimal(1000))
            parts.desk.commit(records.OrderSubmitted(order, START))
            parts.desk.commit(records.OrderUnresolved(order.client_order_id, START, "the reply was lost"))
            reconciling = reconciler(parts, clock)
            for tries in range(1, 6):
                assert parts.degradation.no_new_risk() == ""
                while reconciling.describe()["unanswered"].get(order.client_order_id, 0) < tries:
                    clock.advance_to(clock.time_ns() + SECOND)
                    await reconciling.run_due()
                    await asyncio.sleep(0.01)
            assert "unanswered after 5 questions" in parts.degradation.no_new_risk()
            assert [state.state for state in parts.desk.state.book.open()] == ["unknown"], "nothing is assumed"
            parts.desk.commit(records.OrderNotSent(order.client_order_id, START, "the broker has no trace of it"))
            for _ in range(3):
                clock.advance_to(clock.time_ns() + SECOND)
                await reconciling.run_due()
            assert parts.degradation.no_new_risk() == ""
    finally:
        await dead.close()


async def test_the_comparison_at_the_start_counts_at_once(tmp_path: Path) -> None:
    clock = SimulatedClock(START)
    with make_desk(tmp_path, clock) as parts:
        parts.lie(500, "1.00")
        result = await reconcile(parts.broker, parts.desk, clock, "start")
        assert not result.reconciled
        assert result.balance_difference == Decimal("-1.00")
        assert {record.kind for record in parts.differences()} == {"position", "balance"}
        assert parts.reconciled() == [("start", 2)]
        assert parts.desk.state.risk_state is RiskState.HALTED


def test_intervals_must_be_positive() -> None:
    with pytest.raises(BadInputError, match="positions_seconds must be above 0"):
        ReconciliationParameters(positions_seconds=0).check()


async def test_a_broker_that_never_answers_keeps_nobody_waiting(tmp_path: Path) -> None:
    """It takes connections and says nothing: the loop goes on while the question is open, and the switch is served."""
    clock = SimulatedClock(START)
    held: list[asyncio.StreamWriter] = []
    asked = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        asked.set()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    silent = OandaBroker(practice_settings(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), clock)
    with make_desk(tmp_path, clock, silent) as parts:
        order = OrderRequest("rules:EUR_USD:1:0", "EUR_USD", Decimal(1000))
        parts.desk.commit(records.OrderSubmitted(order, START))
        reconciling = Reconciler(ReconciliationParameters(), silent, parts.desk, clock, parts.degradation, live=True)
        for _ in range(8):
            clock.advance_to(clock.time_ns() + SECOND)
            await reconciling.run_due()
        await asked.wait()
        for _ in range(3):
            await reconciling.run_due()
        assert reconciling.describe()["unanswered"] == {}, "the question is still open"
        switch = KillSwitch(tmp_path / "kill-switch.json", parts.desk, clock)
        engaging = asyncio.create_task(switch.engage(KillSwitchSetting(True, False, "test", "desk", 1)))
        await asyncio.sleep(0)
        assert parts.desk.state.risk_state is RiskState.HALTED
        engaging.cancel()
        await asyncio.gather(engaging, return_exceptions=True)
        await reconciling.close()
    server.close()
    for writer in held:
        writer.close()
    await silent.close()


@pytest.mark.parametrize("fate", ["arrived", "never arrived", "settled meanwhile"])
async def test_an_answer_settles_what_was_asked_and_nothing_newer(tmp_path: Path, fate: str) -> None:
    clock = SimulatedClock(START)
    with make_desk(tmp_path, clock) as parts:
        desk, key = parts.desk, "rules:EUR_USD:1:0"
        parts.quote("EUR_USD", 1.1, 1.1001, START)
        order = OrderRequest(key, "EUR_USD", Decimal(1000))
        desk.commit(records.OrderSubmitted(order, START))
        if fate == "arrived":
            await parts.broker.submit(order)
        answers = await desk.ask_uncertain()
        assert desk.state.book.orders[key].state is OrderState.PENDING_NEW, "asking changes nothing"
        if fate == "settled meanwhile":
            desk.commit(records.OrderNotSent(key, START, "the broker has no trace of it"))
            desk.commit(records.OrderSubmitted(order, START))  # the next one of this id
        desk.settle_uncertain(answers)
        expected = {"arrived": "filled", "never arrived": "rejected", "settled meanwhile": "pending_new"}
        assert desk.state.book.orders[key].state.value == expected[fate]
        assert desk.held() == ({"EUR_USD": Decimal(1000)} if fate == "arrived" else {})
