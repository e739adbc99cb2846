"""The kill switch over a desk on a paper account: lost replies, deaths between records, a broker that is away."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from oms_room import SECOND, Room, limit, market
from pydantic import SecretStr

from core.domain import OrderRequest, OrderState, OrderType
from core.errors import UsageError
from trading import records
from trading.control.http import routes
from trading.control.kill_switch import KillSwitch, KillSwitchFile, KillSwitchSetting
from trading.control.sessions import read_acknowledgement
from trading.control.token import control_token
from trading.oms.identity import flattening_order_id
from trading.risk.breach import Breach
from trading.risk.parameters import BreachAction, RiskState

ON = KillSwitchSetting(on=True, flatten=False, reason="fills far off", by="desk", time_ns=1)
FLAT = KillSwitchSetting(on=True, flatten=True, reason="fills far off", by="desk", time_ns=2)
OFF = KillSwitchSetting(on=False, flatten=False, reason="repaired", by="desk", time_ns=3)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path / "journal")
    yield room
    room.close()


def switch_of(room: Room) -> KillSwitch:
    """A kill switch as a fresh process makes it."""
    control = room.folder.parent / "control"
    return KillSwitch(control / "kill-switch.json", room.desk, room.clock, control / "told.json")


def written_by_hand(room: Room, setting: KillSwitchSetting) -> None:
    KillSwitchFile(room.folder.parent / "control" / "kill-switch.json").set(setting)


def stock(room: Room) -> None:
    """A long position with a stop, a short one without, and two resting orders."""
    assert room.send(market("m", 1000, stop_loss_price=Decimal("1.05")))
    assert room.send(OrderRequest("j", "USD_JPY", Decimal(-700)))
    assert room.send(limit("a", 1000, "1.06"))
    assert room.send(limit("b", -1000, "1.2"))


def resting(room: Room) -> list[str]:
    return [order.client_order_id for order in room.run(room.broker.open_orders())]


def closes(room: Room) -> list[str]:
    return [key for kind, key in room.network.sent if kind == "close"]


def test_it_cancels_entries_and_keeps_the_stops(room: Room) -> None:
    stock(room)
    switch = switch_of(room)
    room.run(switch.engage(ON))
    assert resting(room) == ["m.stop_loss"]
    assert room.desk.held() == {"EUR_USD": Decimal(1000), "USD_JPY": Decimal(-700)}
    assert not room.send(market("n", 10)) and not room.send(market("x", -1000))
    assert {blocked.reason.value for blocked in room.written(records.OrderBlocked)} == {"STATE_HALTED"}
    told = read_acknowledgement(room.folder.parent / "control" / "told.json")
    assert (told["done"], told["cancelled"], told["flattened"], told["by"]) == (True, 2, 0, "desk")
    room.run(switch.engage(ON))
    assert len(room.written(records.KillSwitchSet)) == 1
    room.run(switch.engage(FLAT))
    assert room.desk.held() == {} and resting(room) == []
    assert switch.describe()["flattened"] == 2


def test_a_file_written_while_it_was_dead_holds_it_and_a_lift_by_hand_frees_it(room: Room) -> None:
    stock(room)
    written_by_hand(room, FLAT)
    room.restart()
    switch = switch_of(room)
    room.run(switch.poll())
    assert room.desk.state.risk_state is RiskState.HALTED and room.desk.held() == {}
    room.restart()  # the journal holds it alone, too: a lost file lifts nothing
    path = room.folder.parent / "control" / "kill-switch.json"
    path.unlink()
    switch = switch_of(room)
    room.run(switch.poll())
    assert switch.engaged and not room.send(market("n", 10))
    assert KillSwitchFile(path).read() == FLAT
    written_by_hand(room, OFF)
    room.restart()
    room.run(switch_of(room).poll())
    assert room.desk.state.risk_state is RiskState.ACTIVE and room.send(market("n2", 10))
    assert [(record.on, record.by) for record in room.written(records.KillSwitchSet)] == [
        (True, "desk"),
        (False, "desk"),
    ]
    lifted = room.written(records.RiskStateChanged)[-1]
    assert lifted.by_hand and lifted.words == "desk: repaired"
    with pytest.raises(UsageError, match="needs a reason"):
        room.run(switch.lift("  ", "desk"))


def test_a_damaged_file_counts_as_on(room: Room) -> None:
    path = room.folder.parent / "control" / "kill-switch.json"
    path.parent.mkdir()
    path.write_text('{"on": false')
    switch = switch_of(room)
    room.run(switch.poll())
    assert switch.engaged and not room.send(market("n", 10))
    room.restart()
    room.run(switch_of(room).poll())
    assert len(room.written(records.KillSwitchSet)) == 1


@pytest.mark.parametrize("cut", ["set", "halted", "cancel written", "close written", "close arrived"])
def test_a_death_at_any_place_is_finished_by_the_next_process(room: Room, cut: str) -> None:
    stock(room)
    now = room.clock.time_ns()
    room.desk.commit(records.KillSwitchSet(True, True, FLAT.time_ns, FLAT.reason, FLAT.by))
    if cut != "set":
        room.desk.commit(records.RiskStateChanged(RiskState.HALTED, now, "KILL_SWITCH", FLAT.reason))
    if cut == "cancel written":
        room.desk.commit(records.CancelRequested("a", now, "kill switch"))
    if cut.startswith("close"):
        room.run(room.desk.cancel_all("kill switch"))
        key = flattening_order_id(f"kill-switch:{FLAT.time_ns}", "EUR_USD", 0)
        room.desk.commit(records.OrderSubmitted(market(key, -1000, reduce_only=True), now))
        if cut == "close arrived":
            room.run(room.broker.close_position("EUR_USD", Decimal(1000), key))
    room.restart()
    switch = switch_of(room)
    room.run(switch.poll())
    room.run(switch.carry_on())
    assert switch.done and room.desk.held() == {} and room.run(room.broker.positions()) == {}
    assert resting(room) == []
    assert len(closes(room)) == len(set(closes(room)))
    assert room.desk.state.violations == []


@pytest.mark.parametrize("fault", ["reply lost", "request lost", "no connection"])
def test_lost_replies_are_asked_about_and_tried_again(room: Room, fault: str) -> None:
    stock(room)
    room.network.next.extend([fault] * 3)
    switch = switch_of(room)
    room.run(switch.engage(FLAT))
    for _ in range(8):
        room.clock.advance_to(room.clock.time_ns() + 40 * SECOND)
        room.run(switch.poll())
    assert switch.done and room.run(room.broker.positions()) == {} and resting(room) == []
    assert len(closes(room)) == len(set(closes(room)))


def test_while_the_broker_is_away_it_tries_at_growing_intervals_and_says_so(room: Room) -> None:
    stock(room)
    room.broker.away = True
    switch = switch_of(room)
    room.run(switch.engage(FLAT))
    told = switch.describe()
    assert not told["done"] and "does not answer" in told["trouble"] and "next_try" in told
    assert not room.send(market("n", 10))  # held from the first moment
    tries = 0
    for _ in range(100):
        before = switch.describe().get("next_try")
        room.clock.advance_to(room.clock.time_ns() + SECOND)
        room.run(switch.poll())
        tries += switch.describe().get("next_try") != before
    assert 5 <= tries <= 8  # after 1, 2, 4, 8, 16, then every 30 s
    room.broker.away = False
    room.clock.advance_to(room.clock.time_ns() + 31 * SECOND)
    room.run(switch.poll())
    assert switch.done and room.desk.held() == {}
    assert switch.describe()["trouble"] == ""


def test_what_fills_late_is_closed_too(room: Room) -> None:
    room.send(limit("a", 1000, "1.06"))
    room.tick("EUR_USD", 1.0598, 1.06)  # filled at the broker while we turn the switch
    switch = switch_of(room)
    room.run(switch.engage(FLAT))
    assert switch.done and room.run(room.broker.positions()) == {}
    assert room.desk.state.book.orders["a"].state is OrderState.FILLED


@pytest.mark.parametrize("action", list(BreachAction))
def test_a_breach_does_what_its_limit_says(room: Room, action: BreachAction) -> None:
    stock(room)
    switch = switch_of(room)
    room.run(switch.trip(Breach("DRAWDOWN", "26 % below its peak", action), 7))
    reduce = action is BreachAction.REDUCE
    assert room.desk.state.risk_state is (RiskState.REDUCING if reduce else RiskState.HALTED)
    assert switch.engaged is not reduce
    assert bool(room.desk.held()) is (action is not BreachAction.FLATTEN)
    room.restart()
    switch = switch_of(room)
    room.run(switch.poll())
    assert switch.engaged is not reduce  # it survives, and the file says it to the other traders
    if not reduce:
        assert switch.describe()["by"] == "breach"
        room.run(switch.lift("looked at it", "desk"))
        assert room.desk.state.risk_state is RiskState.ACTIVE
        assert room.desk.state.peak_equity == room.desk.state.equity  # drawdown counts anew


def test_plans_are_stopped_before_orders_are_cancelled(room: Room) -> None:
    stock(room)
    switch = switch_of(room)
    seen: list[list[str]] = []

    async def stop(words: str) -> None:
        seen.append([order.key for order in room.desk.state.book.open() if order.order_type is OrderType.LIMIT])

    switch.before_cancelling.append(stop)
    room.run(switch.engage(ON))
    assert seen == [["a", "b"]]


def test_over_http_with_the_token_only(room: Room, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stock(room)
    state = tmp_path / "state"
    token = control_token(state, None)
    assert control_token(state, None) == token
    assert (state / "control" / "token").stat().st_mode & 0o777 == 0o600
    assert control_token(state, SecretStr("mine")).get_secret_value() == "mine"
    secret = token.get_secret_value()
    room.run(_converse(room, token, secret))
    shown = capfd.readouterr()
    assert secret not in shown.out + shown.err
    assert secret.encode() not in b"".join(path.read_bytes() for path in room.folder.iterdir() if path.is_file())


async def _converse(room: Room, token: SecretStr, secret: str) -> None:
    switch = switch_of(room)
    application = web.Application()
    application.add_routes(routes(switch, token, room.clock))
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/kill-switch"
    right = {"Authorization": f"Bearer {secret}"}

    async def post(body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as reply:
            return reply.status, await reply.json()

    wish = {"on": True, "flatten": True, "reason": "over http"}
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer wrong"}, {"Authorization": secret}):
        assert (await post(wish, headers))[0] == 401
    for bad in (b"{", b"\xff", {"on": True}, {"on": True, "reason": " "}, {**wish, "flaten": 1}, b" " * 5000):
        assert (await post(bad, right))[0] == 400
    assert not switch.engaged
    status, told = await post({**wish, "by": "night desk"}, right)
    assert (status, told["done"], told["positions"], told["by"]) == (200, True, {}, "http:night desk")
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        assert (await reply.json()) == told
    room.broker.away = True
    status, told = await post({"on": False, "reason": "over"}, right)
    assert (status, told["on"], told["state"]) == (200, False, "ACTIVE")
    status, told = await post(wish, right)
    assert (status, told["done"]) == (202, False)
    await asyncio.sleep(0)
    await runner.cleanup()


def placed_before(folder: Path) -> Room:
    """A session that begins on an account on which somebody else has two entry orders, and a position with a stop."""
    room = Room(folder / "journal")
    for order in (
        market("theirs", 500, stop_loss_price=Decimal("1.05")),
        limit("named", 1000, "1.06"),
        limit("x", -2000, "1.2"),
    ):
        room.run(room.broker.submit(order))
    room.begin_elsewhere(folder / "second")
    room.network.sent.clear()
    return room


def cancels(room: Room) -> list[str]:
    return sorted(key for kind, key in room.network.sent if kind == "cancel")


def test_it_cancels_what_stood_in_the_account_before_the_session(tmp_path: Path) -> None:
    room = placed_before(tmp_path)
    assert room.desk.state.book.open() == []
    assert room.send(limit("a", 1000, "1.06"))
    switch = switch_of(room)
    room.run(switch.engage(ON))
    assert switch.done and switch.describe()["cancelled"] == 3
    assert resting(room) == ["theirs.stop_loss"]
    assert cancels(room) == ["a", "named", "x"]
    kinds = [type(record) for record in room.written(object)]
    listed = kinds.index(records.OrdersListed)
    assert kinds[listed:].count(records.CancelRequested) == 2, "theirs are written before a request leaves"
    room.run(switch.engage(FLAT))
    assert room.run(room.broker.positions()) == {} and resting(room) == []
    room.restart()
    room.run(switch_of(room).carry_on())
    assert cancels(room) == ["a", "named", "x"] and room.desk.state.violations == []
    room.close()


@pytest.mark.parametrize("fault", ["reply lost", "request lost", "no connection", "death"])
def test_somebody_elses_order_is_cancelled_once_whatever_gets_lost(tmp_path: Path, fault: str) -> None:
    room = placed_before(tmp_path)
    switch = switch_of(room)
    if fault == "death":
        room.desk.commit(records.KillSwitchSet(True, False, ON.time_ns, ON.reason, ON.by))
        room.run(room.desk.list_orders())
        room.desk.commit(records.CancelRequested("named", room.clock.time_ns(), "kill switch"))
        room.run(room.broker.cancel("named"))  # it left, the reply was never read
        room.restart()
        switch = switch_of(room)
        room.run(switch.carry_on())
    else:
        room.network.next.append(fault)
        room.run(switch.engage(ON))
    for _ in range(3):
        room.clock.advance_to(room.clock.time_ns() + 40 * SECOND)
        room.run(switch.poll())
    assert switch.done and resting(room) == ["theirs.stop_loss"]
    assert cancels(room) == ["named", "x"]
    room.run(switch.carry_on())
    assert cancels(room) == ["named", "x"]
    room.close()


def test_while_nobody_lists_the_orders_it_is_not_done(tmp_path: Path) -> None:
    room = placed_before(tmp_path)
    switch = switch_of(room)
    room.broker.mute = True
    room.run(switch.engage(ON))
    assert not switch.done and "does not list" in switch.describe()["trouble"]
    room.broker.mute = False
    room.clock.advance_to(room.clock.time_ns() + 2 * SECOND)
    room.run(switch.poll())
    assert switch.done and resting(room) == ["theirs.stop_loss"]
    room.close()


def test_what_a_person_places_afterwards_is_left_alone(tmp_path: Path) -> None:
    room = placed_before(tmp_path)
    switch = switch_of(room)
    room.run(switch.engage(ON))
    room.run(room.broker.submit(limit("by hand", 10, "1.05")))
    room.run(room.desk.catch_up())
    room.clock.advance_to(room.clock.time_ns() + 40 * SECOND)
    room.run(switch.poll())
    assert switch.done and resting(room) == ["theirs.stop_loss", "by hand"]
    room.close()
