"""The desk on the practice broker, over HTTP, with each kind of request lost on its way out or back."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from broker_venue import Request, limit, market
from practice_venue import ACCOUNT, TOKEN, PracticeContractVenue, PracticeServer

from core.clock import LiveClock
from core.domain import OrderRequest, OrderState, OrderType, Quote
from core.journal import Journal, read_entries
from trading import records
from trading.brokers.interface import attached_order_id
from trading.control.kill_switch import KillSwitch, KillSwitchSetting
from trading.desk import Desk
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.oms.identity import amended_order_id
from trading.risk.parameters import RiskParameters
from trading.state import SessionState

D = Decimal
FAR = 10**9  # seconds: the market of the venue is from another year than the clock


class Session:
    """A desk with a journal; ``again`` is the next process on both."""

    def __init__(self, server: PracticeServer, venue: PracticeContractVenue, folder: Path) -> None:
        self.venue = venue
        self.folder = folder
        self.journal = Journal(folder)
        self.url = server.url

    async def open(self, state: SessionState) -> None:
        broker = self.venue.broker
        instruments = await broker.instruments()
        limits = RiskParameters(stale_price_seconds=FAR)
        clock = LiveClock()
        self.desk = Desk(
            broker, self.journal, clock, state, instruments, limits, "USD", LatencyRecorder(), TraderMetrics()
        )
        now = clock.time_ns()
        self.desk.quotes["EUR_USD"] = Quote("EUR_USD", now, now, 1.1, 1.1001, simulated=True)
        account, positions = await broker.account(), await broker.positions()
        self.desk.commit(
            records.SessionOpened(
                "s", "c", "t", "oanda", "a", tuple(instruments), account, tuple(positions.values()), True, True
            )
        )

    async def again(self) -> None:
        self.journal.close()
        self.journal = Journal(self.folder)
        state = SessionState()
        for entry in read_entries(self.folder):
            state.apply(records.decode(entry))
        await self.open(state)

    async def send(self, order: OrderRequest) -> bool:
        rates = self.desk.rates()
        return await self.desk.send(order, rates, self.desk.equity(rates), 0)

    async def amend(self, key: str, replacement: OrderRequest) -> bool:
        rates = self.desk.rates()
        return await self.desk.amend(key, replacement, rates, self.desk.equity(rates))

    def state(self, key: str) -> OrderState:
        return self.desk.state.book.orders[key].state

    async def pending(self) -> list[str]:
        return [order.client_order_id for order in await self.venue.broker.open_orders()]


@pytest_asyncio.fixture
async def session(tmp_path: Path) -> AsyncIterator[Session]:
    server = PracticeServer()
    venue = PracticeContractVenue(server)
    await venue.broker.connect()
    session = Session(server, venue, tmp_path / "journal")
    await session.open(SessionState())
    yield session
    session.journal.close()
    await venue.close()


@pytest.mark.parametrize("kind", ["cancel", "amend"])
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_change_whose_message_is_lost(session: Session, kind: Request, arrives: bool) -> None:
    desk, venue = session.desk, session.venue
    await session.send(limit("a", 1000, "1.05"))
    await (venue.lose_next_reply(kind) if arrives else venue.lose_next_request(kind))
    new = amended_order_id("a", 1)
    if kind == "cancel":
        assert await desk.cancel("a", "test") is arrives
        left = [] if arrives else ["a"]
    else:
        assert await session.amend("a", limit(new, 500, "1.06")) is arrives
        left = [new] if arrives else ["a"]
    assert await session.pending() == left
    assert [order.key for order in desk.state.book.open()] == left
    assert desk.state.book.uncertain() == [] and desk.state.violations == []


async def test_a_process_that_dies_with_two_changes_on_their_way(session: Session) -> None:
    for key in ("a", "b"):
        await session.send(limit(key, 1000, "1.05"))
    now = LiveClock().time_ns()
    session.desk.commit(records.CancelRequested("a", now, "test"))
    await session.venue.broker.cancel("a")  # it left, the reply was never read
    session.desk.commit(records.AmendRequested("b", limit("c", 500, "1.06"), now))
    await session.again()
    await session.desk.resolve_uncertain()
    assert [session.state(key) for key in "abc"] == [
        OrderState.CANCELLED,
        OrderState.ACCEPTED,
        OrderState.REJECTED,
    ]
    assert await session.pending() == ["b"]


async def test_a_fill_wins_the_race_against_cancel_and_amendment(session: Session) -> None:
    await session.send(limit("a", 1000, "1.05"))
    await session.venue.quote("EUR_USD", "1.0498", "1.0499")
    assert not await session.desk.cancel("a", "too late")
    await session.send(limit("b", 1000, "1.04"))
    await session.venue.quote("EUR_USD", "1.0398", "1.0399")
    assert not await session.amend("b", limit("c", 500, "1.03"))
    assert [session.state(key) for key in "abc"] == [OrderState.FILLED, OrderState.FILLED, OrderState.REJECTED]
    assert session.desk.held() == {"EUR_USD": D(2000)} and session.desk.state.violations == []


async def test_an_order_somebody_else_placed_is_cancelled_too(session: Session) -> None:
    order = {"type": "LIMIT", "instrument": "EUR_USD", "units": "10", "price": "1.05000", "timeInForce": "GTC"}
    url = f"{session.url}/v3/accounts/{ACCOUNT}/orders"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        async with client.post(url, json={"order": order}) as reply:
            assert reply.status == 201
    await session.desk.catch_up()
    assert [order.key.partition(":")[0] for order in session.desk.state.book.open()] == ["broker"]
    assert await session.desk.cancel_all("test") == 1
    assert await session.venue.broker.open_orders() == []


async def test_the_kill_switch_cancels_what_stood_before_the_first_start(session: Session, tmp_path: Path) -> None:
    """Another client placed an order with an id of its own, one without, and a trade with a stop."""
    url = f"{session.url}/v3/accounts/{ACCOUNT}/orders"
    resting = {"type": "LIMIT", "instrument": "EUR_USD", "units": "10", "price": "1.05000", "timeInForce": "GTC"}
    trade = {"type": "MARKET", "instrument": "EUR_USD", "units": "7", "stopLossOnFill": {"price": "1.00000"}}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        for order in (resting, resting | {"clientExtensions": {"id": "theirs"}}, trade):
            async with client.post(url, json={"order": order}) as reply:
                assert reply.status == 201
    session.journal.close()
    session.journal = Journal(tmp_path / "first")
    await session.open(SessionState())
    await session.send(limit("a", 1000, "1.05"))
    assert [order.key for order in session.desk.state.book.open()] == ["a"]
    switch = KillSwitch(tmp_path / "kill-switch.json", session.desk, LiveClock())
    await session.venue.admin("faults", {"kind": "lose_reply", "method": "PUT", "path": "/cancel"})
    await switch.engage(KillSwitchSetting(True, True, "test", "desk", 1))
    assert switch.done and switch.describe()["cancelled"] == 3
    assert await session.pending() == [] and await session.venue.broker.positions() == {}
    assert session.desk.state.violations == []


async def test_a_bracket_is_trailed_by_hand_and_everything_is_closed(session: Session) -> None:
    await session.send(market("a", 1000, stop_loss_price=D("1.09"), take_profit_price=D("1.15")))
    await session.desk.catch_up()
    stop = attached_order_id("a", OrderType.STOP_LOSS)
    moved = OrderRequest(amended_order_id(stop, 1), "EUR_USD", D(0), OrderType.STOP_LOSS, price=D("1.095"))
    assert await session.amend(stop, moved)
    await session.send(limit("b", 1000, "1.05"))
    assert await session.desk.cancel_all("test") == 1
    await session.venue.admin("faults", {"kind": "lose_reply", "method": "PUT", "path": "/close"})
    assert await session.desk.flatten("kill:1", "test") == 1
    await session.again()
    assert await session.desk.flatten("kill:1", "test") == 0
    assert session.desk.held() == {} and session.desk.state.book.open() == []
    assert session.state(moved.client_order_id) is OrderState.CANCELLED  # the broker takes it with the trade
    assert await session.venue.broker.positions() == {} and await session.pending() == []
    assert session.desk.state.balance == (await session.venue.broker.account()).balance
