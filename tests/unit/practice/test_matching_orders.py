"""Pending orders, rejects, client ids, expiry, replacement, labels."""

from decimal import Decimal

import pytest
from matching_cases import SECOND, START, Desk, kinds, named, only, price

from core.clock import from_rfc3339, to_rfc3339
from core.domain import Quote
from core.errors import BadInputError
from trading.matching.commands import (
    Cancel,
    Configure,
    Halt,
    ModifyOrderExtensions,
    ModifyTradeExtensions,
    MoveFunds,
    OrderSpecification,
    RejectNext,
    Replace,
    SetTradeOrders,
    Submit,
    Ticks,
)
from trading.matching.exchange import Exchange
from trading.matching.schedule import day_end, parse_time
from trading.matching.transactions import (
    ClientConfigure,
    ClientConfigureReject,
    ClientExtensions,
    OnFillDetails,
    OrderCancel,
    OrderCancelReject,
    OrderClientExtensionsModify,
    OrderClientExtensionsModifyReject,
    OrderFill,
    OrderTransaction,
    TradeClientExtensionsModifyReject,
    TransferFunds,
)


def rejected(desk: Desk, units: str | int = 1000, **fields: object) -> str | None:
    (made,) = desk.order(units, **fields)
    assert isinstance(made, OrderTransaction)
    return made.reject_reason


@pytest.mark.parametrize(
    ("kind", "level", "below", "through", "fill"),
    [
        ("LIMIT", "1.09500", ("1.09490", "1.09510"), ("1.09400", "1.09420"), "1.09420"),
        ("STOP", "1.10500", ("1.10470", "1.10490"), ("1.10600", "1.10620"), "1.10620"),
        ("MARKET_IF_TOUCHED", "1.09500", ("1.09490", "1.09510"), ("1.09400", "1.09420"), "1.09420"),
        ("MARKET_IF_TOUCHED", "1.10500", ("1.10470", "1.10490"), ("1.10600", "1.10620"), "1.10620"),
    ],
)
def test_entry_orders_fill_when_the_market_reaches_them(
    kind: str, level: str, below: tuple[str, str], through: tuple[str, str], fill: str
) -> None:
    desk = Desk()
    (created,) = desk.order(1000, type=kind, price=Decimal(level))
    assert desk.quote("EUR_USD", *below) == []
    filled = only(desk.quote("EUR_USD", *through), OrderFill)
    assert (filled.order_id, filled.price, filled.reason) == (created.id, Decimal(fill), f"{kind}_ORDER")
    order = desk.exchange.book.orders[created.id]
    assert (order.state, order.filling_transaction_id) == ("FILLED", filled.id)


def test_orders_that_are_already_due_fill_at_once() -> None:
    desk = Desk()
    assert kinds(desk.order(1000, type="LIMIT", price=Decimal("1.20000"))) == ["LIMIT_ORDER", "ORDER_FILL"]
    assert kinds(desk.order(1000, type="STOP", price=Decimal("1.00000"))) == ["STOP_ORDER", "ORDER_FILL"]
    made = desk.order(1000, type="LIMIT", price=Decimal("1.00000"), time_in_force="FOK")
    assert only(made, OrderCancel).reason == "TIME_IN_FORCE_EXPIRED"


def test_due_orders_execute_in_the_order_they_were_made() -> None:
    desk = Desk()
    ids = [desk.order(100, type="LIMIT", price=Decimal(level))[0].id for level in ("1.08000", "1.09000", "1.08500")]
    made = desk.quote("EUR_USD", "1.05000", "1.05020")
    assert [item.order_id for item in made if isinstance(item, OrderFill)] == ids


@pytest.mark.parametrize(
    ("condition", "quote"),
    [("INVERSE", ("1.09500", "1.09700")), ("BID", ("1.09500", "1.09700")), ("MID", ("1.09400", "1.09600"))],
)
def test_other_trigger_conditions(condition: str, quote: tuple[str, str]) -> None:
    desk = Desk()
    desk.order(1000, type="MARKET_IF_TOUCHED", price=Decimal("1.09500"), trigger_condition=condition)
    assert only(desk.quote("EUR_USD", *quote), OrderFill).price == Decimal(quote[1])


def test_gtd_and_gfd_orders_expire_at_their_own_time() -> None:
    desk = Desk()
    until = to_rfc3339(START + 60 * SECOND)
    desk.order(1, type="LIMIT", price=Decimal("1.05000"), time_in_force="GTD", gtd_time=until)
    desk.order(1, type="LIMIT", price=Decimal("1.05000"), time_in_force="GFD")
    assert desk.exchange.apply(Ticks(time_ns=START + 59 * SECOND)) == []
    (first,) = desk.exchange.apply(Ticks(time_ns=START + 3600 * SECOND))
    assert isinstance(first, OrderCancel)
    assert (first.reason, first.time) == ("TIME_IN_FORCE_EXPIRED", until)
    (second,) = desk.exchange.apply(Ticks(time_ns=START + 24 * 3600 * SECOND))
    assert second.time == "2024-03-05T22:00:00.000000000Z"  # 17:00 New York in winter


def test_days_end_at_five_in_new_york_also_over_a_clock_change() -> None:
    assert day_end(from_rfc3339("2024-03-08T23:00:00Z")) == from_rfc3339("2024-03-09T22:00:00Z")
    assert day_end(from_rfc3339("2024-03-09T22:00:00Z")) == from_rfc3339("2024-03-10T21:00:00Z")
    assert parse_time("1709632800.5") == from_rfc3339("2024-03-05T10:00:00.5Z")


@pytest.mark.parametrize(
    ("units", "fields", "reason"),
    [
        ("0", {}, "UNITS_INVALID"),
        ("NaN", {}, "UNITS_INVALID"),
        ("0.5", {}, "UNITS_PRECISION_EXCEEDED"),
        ("100000001", {}, "UNITS_LIMIT_EXCEEDED"),
        ("1", {"name": "GBP_USD"}, "INSTRUMENT_UNKNOWN"),
        ("1", {"type": "LIMIT"}, "PRICE_MISSING"),
        ("1", {"type": "LIMIT", "price": Decimal("-1")}, "PRICE_INVALID"),
        ("1", {"type": "LIMIT", "price": Decimal("1.000001")}, "PRICE_PRECISION_EXCEEDED"),
        ("1", {"type": "LIMIT", "price": Decimal(1), "time_in_force": "GTD"}, "TIME_IN_FORCE_GTD_TIMESTAMP_MISSING"),
        (
            "1",
            {"type": "LIMIT", "price": Decimal(1), "time_in_force": "GTD", "gtd_time": "2024-01-01T00:00:00Z"},
            "TIME_IN_FORCE_GTD_TIMESTAMP_IN_PAST",
        ),
        ("1", {"time_in_force": "GTC"}, "TIME_IN_FORCE_INVALID"),
        ("1", {"type": "STOP", "price": Decimal(2), "time_in_force": "FOK"}, "TIME_IN_FORCE_INVALID"),
        ("1", {"price_bound": Decimal("1.000001")}, "PRICE_BOUND_PRECISION_EXCEEDED"),
        ("1", {"position_fill": "SOMETIMES"}, "ORDER_FILL_POSITION_ACTION_INVALID"),
        ("1", {"type": "LIMIT", "price": Decimal(1), "trigger_condition": "X"}, "TRIGGER_CONDITION_INVALID"),
        ("1", {"client_extensions": ClientExtensions(id="")}, "CLIENT_ORDER_ID_INVALID"),
        ("1", {"client_extensions": ClientExtensions(comment="x" * 129)}, "CLIENT_ORDER_COMMENT_INVALID"),
        ("1", {"stop_loss_on_fill": OnFillDetails()}, "STOP_LOSS_ON_FILL_PRICE_AND_DISTANCE_BOTH_MISSING"),
        ("1", {"stop_loss_on_fill": price("1.0000001")}, "STOP_LOSS_ON_FILL_PRICE_PRECISION_EXCEEDED"),
        ("1", {"take_profit_on_fill": OnFillDetails()}, "TAKE_PROFIT_ON_FILL_PRICE_MISSING"),
        (
            "1",
            {"trailing_stop_loss_on_fill": OnFillDetails(distance=Decimal("0.0001"))},
            "TRAILING_STOP_LOSS_ON_FILL_PRICE_DISTANCE_MINIMUM_NOT_MET",
        ),
        (
            "1",
            {"client_extensions": named("a"), "stop_loss_on_fill": price("1", client_extensions=named("a"))},
            "ORDERS_ON_FILL_DUPLICATE_CLIENT_ORDER_IDS",
        ),
    ],
)
def test_what_is_malformed_is_rejected_with_the_protocols_reason(
    units: str, fields: dict[str, object], reason: str
) -> None:
    desk = Desk()
    assert rejected(desk, units, **fields) == reason
    assert desk.exchange.book.orders == {}


def test_a_client_order_id_is_taken_for_good() -> None:
    desk = Desk()
    desk.order(100, client_extensions=named("one"))
    assert rejected(desk, 100, client_extensions=named("one")) == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    found = desk.exchange.log.find_order("@one")
    assert found is not None and found.state == "FILLED"
    taken = desk.order(100, stop_loss_on_fill=price("1.09000", client_extensions=named("one")))
    assert only(taken, OrderCancel).reason == "STOP_LOSS_ON_FILL_CLIENT_ORDER_ID_ALREADY_EXISTS"


def test_old_client_order_ids_are_forgotten_beyond_the_memory() -> None:
    desk = Desk(client_id_memory=2)
    desk.order(1, type="LIMIT", price=Decimal(1), client_extensions=named("resting"))
    for name in ("a", "b"):
        desk.order(100, client_extensions=named(name))
    assert rejected(desk, 1, client_extensions=named("b")) == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    assert rejected(desk, 1, client_extensions=named("resting")) == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    assert "ORDER_FILL" in kinds(desk.order(100, client_extensions=named("a")))


def test_cancel_and_replace() -> None:
    desk = Desk()
    desk.order(1000, type="LIMIT", price=Decimal("1.05"), client_extensions=ClientExtensions(id="x", tag="t"))
    new = OrderSpecification(type="LIMIT", instrument="EUR_USD", units=Decimal(2000), price=Decimal("1.06"))
    made = desk.apply(Replace(time_ns=desk.now, order="@x", replacement=new))
    assert kinds(made) == ["ORDER_CANCEL", "LIMIT_ORDER"]
    cancelled, created = made
    assert isinstance(cancelled, OrderCancel) and isinstance(created, OrderTransaction)
    assert (cancelled.reason, cancelled.replaced_by_order_id) == ("CLIENT_REQUEST_REPLACED", created.id)
    assert (created.reason, created.replaces_order_id) == ("REPLACEMENT", cancelled.order_id)
    assert created.client_extensions == ClientExtensions(id="x", tag="t")  # kept, as in the recordings
    bad = OrderSpecification(type="LIMIT", instrument="EUR_USD", units=Decimal(0), price=Decimal("1.06"))
    (refused,) = desk.apply(Replace(time_ns=desk.now, order="@x", replacement=bad))
    assert isinstance(refused, OrderTransaction) and refused.intended_replaces_order_id == created.id
    assert desk.exchange.book.orders[created.id].state == "PENDING"
    assert only(desk.apply(Cancel(time_ns=desk.now, order=created.id)), OrderCancel).reason == "CLIENT_REQUEST"
    again = only(desk.apply(Cancel(time_ns=desk.now, order="@x")), OrderCancelReject)
    assert (again.reject_reason, again.client_order_id) == ("ORDER_DOESNT_EXIST", "x")


def test_orders_of_a_trade_are_set_replaced_and_removed() -> None:
    desk = Desk()
    trade = only(desk.order(1000), OrderFill).id
    made = desk.apply(SetTradeOrders(time_ns=desk.now, trade=trade, take_profit=price("1.2"), stop_loss=price("1.05")))
    assert kinds(made) == ["TAKE_PROFIT_ORDER", "STOP_LOSS_ORDER"]
    moved = desk.apply(SetTradeOrders(time_ns=desk.now, trade=trade, stop_loss=price("1.06"), cancel=("TAKE_PROFIT",)))
    assert sorted(kinds(moved)) == ["ORDER_CANCEL", "ORDER_CANCEL", "STOP_LOSS_ORDER"]
    (left,) = desk.exchange.log.pending["EUR_USD"].values()
    assert (left.type, left.price) == ("STOP_LOSS", Decimal("1.06000"))
    spec = OrderSpecification(type="STOP_LOSS", trade_id=trade, price=Decimal("1.04"))
    (second,) = desk.apply(Submit(time_ns=desk.now, order=spec))
    assert isinstance(second, OrderTransaction) and second.reject_reason == "STOP_LOSS_ORDER_ALREADY_EXISTS"
    due = desk.apply(SetTradeOrders(time_ns=desk.now, trade=trade, stop_loss=price("1.15")))
    assert only(due, OrderFill).reason == "STOP_LOSS_ORDER" and desk.units() == 0
    gone = desk.apply(SetTradeOrders(time_ns=desk.now, trade=trade, stop_loss=price("1.05")))
    assert isinstance(gone[0], OrderTransaction) and gone[0].reject_reason == "TRADE_DOESNT_EXIST"


def test_a_losing_take_profit_is_cancelled() -> None:
    desk = Desk()
    trade = only(desk.order(1000), OrderFill).id
    made = desk.apply(SetTradeOrders(time_ns=desk.now, trade=trade, take_profit=price("1.05")))
    assert only(made, OrderCancel).reason == "LOSING_TAKE_PROFIT" and desk.units() == 1000


def test_labels() -> None:
    desk = Desk()
    created = desk.order(1000, type="LIMIT", price=Decimal("1.05"), client_extensions=named("old"))[0]
    new = ClientExtensions(id="new", comment="c")
    changed = desk.apply(ModifyOrderExtensions(time_ns=desk.now, order=created.id, client_extensions=new))
    assert only(changed, OrderClientExtensionsModify).client_order_id == "old"
    assert desk.exchange.log.find_order("@new") is desk.exchange.book.orders[created.id]
    desk.order(1, type="LIMIT", price=Decimal("1.05"), client_extensions=named("other"))
    refused = desk.apply(ModifyOrderExtensions(time_ns=desk.now, order="@other", client_extensions=named("new")))
    assert only(refused, OrderClientExtensionsModifyReject).reject_reason == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    trade = only(desk.order(1000), OrderFill).id
    desk.apply(ModifyTradeExtensions(time_ns=desk.now, trade=trade, client_extensions=named("t")))
    assert desk.exchange.log.find_trade("@t") is desk.exchange.book.trades[trade]
    gone = desk.apply(ModifyTradeExtensions(time_ns=desk.now, trade="@none", client_extensions=named("t")))
    assert only(gone, TradeClientExtensionsModifyReject).reject_reason == "TRADE_DOESNT_EXIST"


def test_halts_faults_funds_and_configuration() -> None:
    desk = Desk()
    desk.apply(Halt(time_ns=desk.now, instrument="EUR_USD", halted=True))
    assert only(desk.order(1000), OrderCancel).reason == "MARKET_HALTED"
    desk.order(1000, type="LIMIT", price=Decimal("1.2"))
    assert desk.quote("EUR_USD", "1.10000", "1.10020") == []
    desk.apply(Halt(time_ns=desk.now, instrument="EUR_USD", halted=False))
    assert kinds(desk.quote("EUR_USD", "1.10000", "1.10020")) == ["ORDER_FILL"]
    desk.apply(RejectNext(time_ns=desk.now, reason="INSUFFICIENT_LIQUIDITY"))
    assert only(desk.order(1000), OrderCancel).reason == "INSUFFICIENT_LIQUIDITY"
    moved = only(desk.apply(MoveFunds(time_ns=desk.now, amount=Decimal("-50.5"))), TransferFunds)
    assert (moved.amount, moved.account_balance) == (Decimal("-50.5000"), Decimal("99949.5000"))
    assert only(desk.apply(Configure(time_ns=desk.now, margin_rate=Decimal("0.5"))), ClientConfigure)
    assert only(desk.apply(Configure(time_ns=desk.now)), ClientConfigureReject).reject_reason
    assert only(desk.order(200_000), OrderCancel).reason == "INSUFFICIENT_MARGIN"  # half of 220,020 is not there


def test_what_is_no_quote_or_no_snapshot_is_refused() -> None:
    desk = Desk()
    for quote in (Quote("EUR_USD", START, START, 1.2, 1.1), Quote("GBP_USD", START, START, 1.1, 1.2)):
        with pytest.raises(BadInputError):
            desk.exchange.on_quote(quote)
    with pytest.raises(BadInputError):
        Exchange.restore(desk.exchange.instruments, b'{"configuration": 1}')
