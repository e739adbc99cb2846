"""Cancel, amend, cancel all and flatten on a paper account, with replies that get lost and processes that die."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from oms_room import Room, limit, market

from core.domain import OrderRequest, OrderState, OrderType, PositionFill, RejectReason, TimeInForce
from core.errors import UnavailableError
from trading import records
from trading.brokers.interface import attached_order_id
from trading.matching.book import AccountConfiguration
from trading.oms.identity import amended_order_id
from trading.risk.limits import RiskState

D = Decimal


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path / "journal")
    yield room
    room.close()


def state(room: Room, key: str) -> OrderState:
    return room.desk.state.book.orders[key].state


def pending(room: Room) -> list[str]:
    return [order.client_order_id for order in room.run(room.broker.open_orders())]


def test_a_cancel_goes_out_once_and_ends_the_order(room: Room) -> None:
    assert room.send(limit("a", 1000, "1.05"))
    assert state(room, "a") is OrderState.ACCEPTED
    assert room.run(room.desk.cancel("a", "a newer decision"))
    assert room.run(room.desk.cancel("a", "again"))
    assert state(room, "a") is OrderState.CANCELLED
    assert room.network.sent == [("submit", "a"), ("cancel", "a")]
    assert not room.run(room.desk.cancel("nobody", ""))


def test_a_cancel_whose_reply_is_lost_is_settled_by_the_transactions(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.network.next.append("reply lost")
    assert room.run(room.desk.cancel("a", ""))
    assert room.network.sent.count(("cancel", "a")) == 1


@pytest.mark.parametrize("fault", ["request lost", "no connection"])
def test_a_cancel_that_never_arrived_leaves_the_order(room: Room, fault: str) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.network.next.append(fault)
    assert not room.run(room.desk.cancel("a", ""))
    assert state(room, "a") is OrderState.ACCEPTED
    (failed,) = room.written(records.RequestFailed)
    assert (failed.client_order_id, failed.what) == ("a", "cancel")
    assert room.run(room.desk.cancel("a", "")) and pending(room) == []


def test_while_the_broker_is_away_a_lost_cancel_stays_unknown_and_is_not_sent_again(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.network.next.append("reply lost")
    room.broker.away = True
    assert not room.run(room.desk.cancel("a", ""))
    assert not room.run(room.desk.cancel("a", "again"))
    assert state(room, "a") is OrderState.PENDING_CANCEL
    room.restart()
    assert [order.key for order in room.desk.state.book.uncertain()] == ["a"]
    room.broker.away = False
    room.run(room.desk.resolve_uncertain())
    assert state(room, "a") is OrderState.CANCELLED
    assert room.network.sent.count(("cancel", "a")) == 1


def test_an_order_filled_while_its_cancel_is_on_its_way_is_filled(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.tick("EUR_USD", 1.0499, 1.05)  # filled at the broker, the news is not here yet
    assert state(room, "a") is OrderState.ACCEPTED
    assert not room.run(room.desk.cancel("a", ""))
    assert state(room, "a") is OrderState.FILLED
    assert room.desk.held() == {"EUR_USD": D(1000)}
    assert room.desk.state.violations == [] and room.desk.state.risk_state is RiskState.ACTIVE
    assert [failed.words for failed in room.written(records.RequestFailed)] == ["ORDER_DOESNT_EXIST"]


def test_a_crash_after_the_cancel_was_written_and_before_it_left(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.desk.commit(records.CancelRequested("a", room.clock.time_ns(), "crash"))
    room.restart()
    room.run(room.desk.resolve_uncertain())
    assert state(room, "a") is OrderState.ACCEPTED
    assert room.network.sent == [("submit", "a")]


def test_an_amendment_replaces_the_order(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    new = amended_order_id("a", 1)
    assert room.amend("a", limit(new, 700, "1.06"))
    assert (state(room, "a"), state(room, new)) == (OrderState.CANCELLED, OrderState.ACCEPTED)
    assert pending(room) == [new]
    assert not room.amend("a", limit(amended_order_id("a", 2), 500, "1.06"))
    room.tick("EUR_USD", 1.0598, 1.06)
    room.run(room.desk.catch_up())
    assert room.desk.held() == {"EUR_USD": D(700)}


@pytest.mark.parametrize("fault", ["reply lost", "request lost", "no connection"])
@pytest.mark.parametrize("restart", [False, True])
def test_an_amendment_with_a_lost_message_leaves_exactly_one_order(room: Room, fault: str, restart: bool) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.network.next.append(fault)
    room.broker.away = restart
    took = room.amend("a", limit("b", 700, "1.06"))
    if restart:
        room.restart()
        room.broker.away = False
        room.run(room.desk.resolve_uncertain())
    arrived = fault == "reply lost"
    assert took is (arrived and not restart)
    assert pending(room) == (["b"] if arrived else ["a"])
    assert state(room, "a") is (OrderState.CANCELLED if arrived else OrderState.ACCEPTED)
    assert state(room, "b") is (OrderState.ACCEPTED if arrived else OrderState.REJECTED)
    assert [sent for sent in room.network.sent if sent[0] == "amend"] == ([("amend", "b")] if arrived else [])
    assert room.desk.state.book.uncertain() == []


def test_an_order_filled_before_its_amendment_is_filled_once(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.tick("EUR_USD", 1.0499, 1.05)
    assert not room.amend("a", limit("b", 700, "1.06"))
    assert (state(room, "a"), state(room, "b")) == (OrderState.FILLED, OrderState.REJECTED)
    assert room.desk.held() == {"EUR_USD": D(1000)}
    assert room.desk.state.violations == []


def test_a_replacement_that_makes_no_sense_or_is_too_large_never_leaves(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    assert not room.amend("a", market("b", 1000))
    assert not room.amend("a", limit("c", 10**9 * 2, "1.05"))
    assert [blocked.reason for blocked in room.written(records.OrderBlocked)] == [
        RejectReason.INVALID_ORDER,
        RejectReason.INVALID_UNITS,
    ]
    assert state(room, "a") is OrderState.ACCEPTED and room.network.sent == [("submit", "a")]


def test_a_bracket_whose_stop_is_trailed_by_hand_closes_its_own_trade(room: Room) -> None:
    room.send(market("other", 500))
    room.send(market("a", 1000, stop_loss_price=D("1.09"), take_profit_price=D("1.15")))
    stop, target = (attached_order_id("a", kind) for kind in (OrderType.STOP_LOSS, OrderType.TAKE_PROFIT))
    room.run(room.desk.catch_up())
    moved = OrderRequest(amended_order_id(stop, 1), "EUR_USD", D(0), OrderType.STOP_LOSS, price=D("1.095"))
    assert room.amend(stop, moved)
    again = OrderRequest(
        amended_order_id(stop, 2), "EUR_USD", D(0), OrderType.STOP_LOSS, TimeInForce.GTC, price=D("1.098")
    )
    assert room.amend(moved.client_order_id, again)
    reached = OrderRequest(amended_order_id(stop, 3), "EUR_USD", D(0), OrderType.STOP_LOSS, price=D("1.2"))
    assert not room.amend(again.client_order_id, reached)
    room.tick("EUR_USD", 1.0979, 1.0981)
    room.run(room.desk.catch_up())
    assert state(room, again.client_order_id) is OrderState.FILLED
    assert state(room, target) is OrderState.CANCELLED  # the broker takes the sibling away
    assert [closing.units for closing in room.desk.state.closings] == [D(1000)]
    assert room.desk.held() == {"EUR_USD": D(500)}
    assert room.desk.state.book.open() == []


def test_an_attached_target_can_be_cancelled_by_its_own_id(room: Room) -> None:
    room.send(market("a", 1000, stop_loss_price=D("1.09"), take_profit_price=D("1.15")))
    room.run(room.desk.catch_up())
    assert room.run(room.desk.cancel(attached_order_id("a", OrderType.TAKE_PROFIT), "let it run"))
    assert pending(room) == [attached_order_id("a", OrderType.STOP_LOSS)]


def test_cancel_all_leaves_stops_unless_told(room: Room) -> None:
    room.send(market("a", 1000, stop_loss_price=D("1.09")))
    room.send(limit("b", 1000, "1.05"))
    room.desk.commit(records.RiskStateChanged(RiskState.HALTED, room.clock.time_ns(), "KILL_SWITCH", ""))
    room.run(room.desk.catch_up())
    assert room.run(room.desk.cancel_all("halt")) == 1
    assert pending(room) == [attached_order_id("a", OrderType.STOP_LOSS)]
    assert room.run(room.desk.cancel_all("halt", protective=True)) == 1
    assert pending(room) == []


def test_flatten_closes_everything_in_every_state_and_repeats_without_doubling(room: Room) -> None:
    room.send(market("a", 1000, stop_loss_price=D("1.09")))
    room.send(OrderRequest("b", "USD_JPY", D(-300)))
    room.desk.commit(records.RiskStateChanged(RiskState.HALTED, room.clock.time_ns(), "KILL_SWITCH", ""))
    room.network.next.append("reply lost")
    assert room.run(room.desk.flatten("kill:1", "halt")) == 2
    assert room.desk.held() == {} and room.run(room.broker.positions()) == {}
    room.restart()
    assert room.run(room.desk.flatten("kill:1", "halt")) == 0
    assert [key for kind, key in room.network.sent if kind == "close"] == ["kill:1:EUR_USD:0", "kill:1:USD_JPY:0"]


def test_flatten_tries_again_where_the_broker_could_not_close(room: Room) -> None:
    room.send(market("a", 1000))
    room.broker.halt("EUR_USD")
    assert room.run(room.desk.flatten("kill:1", "halt")) == 0
    room.broker.halt("EUR_USD", halted=False)
    assert room.run(room.desk.flatten("kill:1", "halt")) == 1
    assert room.desk.held() == {}


def test_the_rest_of_an_order_that_lives_for_an_instant_is_settled_by_asking(tmp_path: Path) -> None:
    room = Room(tmp_path / "journal", AccountConfiguration(liquidity=D(600)))
    room.send(market("a", 1000, time_in_force=TimeInForce.IOC))
    assert room.desk.held() == {"EUR_USD": D(600)}
    assert state(room, "a").terminal and room.desk.state.book.in_flight() == frozenset()
    assert room.desk.state.violations == []
    room.close()


def test_a_hedging_account_nets_unless_told_and_flatten_closes_both_sides(tmp_path: Path) -> None:
    room = Room(tmp_path / "journal", AccountConfiguration(hedging=True))
    room.send(market("a", 1000))
    room.send(market("b", -400))  # nothing said: our decisions are about net positions
    assert room.desk.state.positions.sides("EUR_USD") == (600, 0)
    room.send(market("c", -500, position_fill=PositionFill.OPEN_ONLY))
    assert room.desk.state.positions.sides("EUR_USD") == (600, -500)
    assert room.desk.held() == {"EUR_USD": D(100)}
    room.restart()
    assert room.desk.state.hedging
    assert room.run(room.desk.flatten("kill:1", "halt")) == 2
    assert room.desk.held() == {} and room.run(room.broker.positions()) == {}
    assert room.desk.state.balance == room.broker.exchange.book.balance
    room.close()


def test_a_reply_whose_predecessors_are_missing_is_put_off(room: Room) -> None:
    room.send(limit("a", 1000, "1.05"))
    room.tick("EUR_USD", 1.0499, 1.05)  # a fill that was not seen
    room.broker.away = True
    room.send(OrderRequest("b", "USD_JPY", D(100)))
    assert state(room, "b") is OrderState.UNKNOWN
    room.broker.away = False
    room.run(room.desk.resolve_uncertain())
    assert (state(room, "a"), state(room, "b")) == (OrderState.FILLED, OrderState.FILLED)


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (market("a", 0), RejectReason.INVALID_UNITS),
        (OrderRequest("a", "EUR_USD", D("NaN")), RejectReason.INVALID_UNITS),
        (OrderRequest("a", "EUR_USD", D("10.5")), RejectReason.INVALID_UNITS),
        (market("a", 10, time_in_force=TimeInForce.GTC), RejectReason.INVALID_TIME),
        (market("a", 10, price=D("1.1")), RejectReason.INVALID_PRICE),
        (market("a", 10, good_till_ns=1), RejectReason.INVALID_TIME),
        (market("a", 10, stop_loss_price=D("1.2")), RejectReason.INVALID_PRICE),
        (market("a", -10, stop_loss_price=D("1.0")), RejectReason.INVALID_PRICE),
        (market("a", 10, take_profit_price=D("1.0")), RejectReason.INVALID_PRICE),
        (market("a", 10, trailing_stop_distance=D("-0.1")), RejectReason.INVALID_PRICE),
        (market("a", 10, trailing_stop_distance=D("0.000001")), RejectReason.INVALID_PRICE),
        (market("a", 10, order_type=OrderType.LIMIT, time_in_force=TimeInForce.GTC), RejectReason.INVALID_PRICE),
        (limit("a", 10, "Infinity"), RejectReason.INVALID_PRICE),
        (limit("a", 10, "1.05", price_bound=D("1.06")), RejectReason.INVALID_PRICE),
        (limit("a", 10, "1.05", stop_loss_price=D("1.06")), RejectReason.INVALID_PRICE),
        (
            market("a", 10, order_type=OrderType.STOP, time_in_force=TimeInForce.GTD, price=D("1.2")),
            RejectReason.INVALID_TIME,
        ),
        (
            market("a", 10, order_type=OrderType.STOP, time_in_force=TimeInForce.GTD, price=D("1.2"), good_till_ns=10),
            RejectReason.INVALID_TIME,
        ),
        (
            market("a", 10, order_type=OrderType.MARKET_IF_TOUCHED, price=D("1.2")),
            RejectReason.INVALID_TIME,
        ),
        (market("a", 10, order_type=OrderType.STOP_LOSS, price=D("1.0")), RejectReason.INVALID_ORDER),
        (market("x" * 113, 10), RejectReason.INVALID_ORDER),
        (OrderRequest("a", "XAU_USD", D(1)), RejectReason.UNKNOWN_INSTRUMENT),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_before_it_is_written(
    room: Room, order: OrderRequest, reason: RejectReason
) -> None:
    assert not room.send(order)
    assert [blocked.reason for blocked in room.written(records.OrderBlocked)] == [reason]
    assert room.written(records.OrderSubmitted) == [] and room.network.sent == []


@pytest.mark.parametrize(
    "order",
    [
        market("a", 10, time_in_force=TimeInForce.IOC, price_bound=D("1.2")),
        limit("a", -10, "1.2", take_profit_price=D("1.1"), stop_loss_price=D("1.3")),
        OrderRequest("a", "EUR_USD", D(10), OrderType.LIMIT, TimeInForce.FOK, price=D("1.2")),
        OrderRequest("a", "EUR_USD", D(10), OrderType.STOP, TimeInForce.GTC, price=D("1.2"), price_bound=D("1.21")),
        OrderRequest("a", "EUR_USD", D(10), OrderType.MARKET_IF_TOUCHED, TimeInForce.GTC, price=D("1.05")),
        OrderRequest("a", "EUR_USD", D(10), OrderType.LIMIT, TimeInForce.GTD, D("1.05"), good_till_ns=2 * 10**18),
        market("a", 10, trailing_stop_distance=D("0.01"), take_profit_price=D("1.2")),
    ],
)
def test_every_kind_of_order_goes_through(room: Room, order: OrderRequest) -> None:
    assert room.send(order)
    assert state(room, "a") in (OrderState.ACCEPTED, OrderState.FILLED)


def test_a_price_with_noise_behind_its_last_decimal_is_rounded(room: Room) -> None:
    room.send(limit("a", 10, "1.0500000000000003"))
    (submitted,) = room.written(records.OrderSubmitted)
    assert str(submitted.order.price) == "1.05000"


@pytest.mark.parametrize("what", ["broker", "clock", "disk", "orders", "price_stream"])
def test_nothing_opens_or_grows_while_the_whole_account_lacks_something(room: Room, what: str) -> None:
    room.send(market("a", 1000))
    room.send(limit("b", 100, "1.05"))
    room.desk.commit(records.Degraded(room.clock.time_ns(), what, "it is gone"))
    assert not room.send(market("c", 1))
    assert not room.amend("b", limit("b2", 200, "1.05"))
    assert [(r.reason, "it is gone" in r.words) for r in room.written(records.OrderBlocked)] == [
        (RejectReason.DEGRADED, True),
        (RejectReason.DEGRADED, True),
    ]
    assert not room.send(market("d", -1001)), "it would cross to the other side"
    assert room.send(market("e", -1000))
    room.desk.commit(records.Degraded(room.clock.time_ns(), what, "back", over=True))
    assert room.send(market("f", 1))


def test_what_concerns_one_instrument_or_the_books_only_blocks_no_order(room: Room) -> None:
    for what in ("database", "prediction", "price", "transactions"):
        room.desk.commit(records.Degraded(room.clock.time_ns(), what, "it is gone"))
    assert room.send(market("a", 1))


@pytest.mark.parametrize("side", [1, -1])
def test_while_halted_a_stop_may_come_closer_and_nothing_else_may_change(room: Room, side: int) -> None:
    far, nearer, wider = (D("1.1") - side * D(pips) for pips in ("0.02", "0.01", "0.03"))
    target = D("1.1") + side * D("0.05")
    room.send(market("a", 1000 * side, stop_loss_price=far, take_profit_price=target))
    room.send(market("t", 1000 * side, trailing_stop_distance=D("0.02")))
    room.run(room.desk.catch_up())
    room.desk.commit(records.RiskStateChanged(RiskState.HALTED, room.clock.time_ns(), "DRAWDOWN", ""))
    room.restart()  # where the stop stands is in the journal
    stop = attached_order_id("a", OrderType.STOP_LOSS)

    def moved(revision: int, kind: OrderType, **fields: Any) -> OrderRequest:
        return OrderRequest(amended_order_id("a", revision), "EUR_USD", D(0), kind, **fields)

    assert not room.amend(stop, moved(1, OrderType.STOP_LOSS, price=wider))
    assert not room.amend(stop, moved(2, OrderType.STOP_LOSS, price=far))
    until = room.clock.time_ns() + 10**12
    assert not room.amend(stop, moved(3, OrderType.STOP_LOSS, price=nearer, good_till_ns=until)), "it would end"
    goal = attached_order_id("a", OrderType.TAKE_PROFIT)
    assert not room.amend(goal, moved(4, OrderType.TAKE_PROFIT, price=target - side * D("0.01")))
    trail = attached_order_id("t", OrderType.TRAILING_STOP_LOSS)
    assert not room.amend(trail, moved(5, OrderType.TRAILING_STOP_LOSS, trailing_stop_distance=D("0.01")))
    assert {blocked.reason for blocked in room.written(records.OrderBlocked)} == {RejectReason.STATE_HALTED}
    assert room.amend(stop, moved(6, OrderType.STOP_LOSS, price=nearer))
    again = amended_order_id("a", 6)
    assert not room.amend(again, moved(7, OrderType.STOP_LOSS, price=far)), "not back again"
    assert room.amend(again, moved(8, OrderType.STOP_LOSS, price=nearer + side * D("0.005")))
    assert [key for kind, key in room.network.sent if kind == "amend"] == [again, amended_order_id("a", 8)]


def test_a_broker_that_forbids_to_ask_halts_and_leaves_what_is_unknown(room: Room) -> None:
    room.network.next.append("reply lost")
    room.broker.forbids = True
    assert room.send(market("a", 1000))
    assert state(room, "a") is OrderState.UNKNOWN
    assert (room.desk.state.risk_state, room.desk.state.risk_reason) == (RiskState.HALTED, "BROKER_FORBIDDEN")
    with pytest.raises(UnavailableError, match="401"):
        room.run(room.desk.catch_up())
    assert len(room.written(records.RiskStateChanged)) == 1
    room.broker.forbids = False
    room.run(room.desk.resolve_uncertain())
    assert state(room, "a") is OrderState.FILLED and not room.send(market("b", 1))
