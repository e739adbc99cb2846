"""The order book follows the broker's events and refuses impossible ones."""

from decimal import Decimal

import pytest

from core.domain import (
    Fill,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderRequest,
    OrderState,
    OrderType,
    RejectReason,
)
from core.errors import IntegrityError
from trading.brokers.interface import attached_order_id
from trading.oms.book import OrderBook
from trading.oms.identity import MAXIMUM_LENGTH, client_order_id

D = Decimal


def request(key: str = "a", units: int = 100) -> OrderRequest:
    return OrderRequest(key, "EUR_USD", D(units))


def accepted(key: str, number: int, order_type: OrderType = OrderType.MARKET, units: int = 100) -> OrderAccepted:
    return OrderAccepted(number, key, str(number), "EUR_USD", D(units), order_type, number)


def filled(key: str, number: int, units: int, broker_id: str = "1", reason: str = "MARKET_ORDER") -> OrderFilled:
    return OrderFilled(
        number, Fill(number, key, broker_id, "EUR_USD", D(units), D("1.1"), number, reason=reason), number
    )


def test_life_of_a_market_order() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    assert order.state is OrderState.PENDING_NEW
    assert book.in_flight() == {"EUR_USD"}
    book.accepted(accepted("a", 1))
    book.filled(filled("a", 2, 40))
    assert order.state is OrderState.PARTIALLY_FILLED
    book.filled(filled("a", 3, 60))
    assert order.state is OrderState.FILLED
    assert book.open() == []
    assert book.in_flight() == frozenset()


def test_an_attached_stop_knows_the_fill_it_protects() -> None:
    book = OrderBook()
    for key, number in (("a", 1), ("b", 4)):
        book.submit(request(key), number)
        book.accepted(accepted(key, number))
        book.filled(filled(key, number + 1, 100, str(number)))
    stop_id = attached_order_id("a", OrderType.STOP_LOSS)
    stop = book.accepted(accepted(stop_id, 7, OrderType.STOP_LOSS, -100))
    assert stop.parent_transaction == 2
    assert book.accepted(accepted("", 8, OrderType.STOP_LOSS, -100)).parent_transaction == 5
    book.filled(filled(stop_id, 9, -30, "7", "STOP_LOSS_ORDER"))
    assert stop.state is OrderState.FILLED


def test_a_lost_order_is_unknown_until_the_broker_speaks() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.unresolved("a", "reply lost")
    assert [o.key for o in book.uncertain()] == ["a"]
    book.cancelled(OrderCancelled(3, "a", "2", 3, "MARKET_HALTED", RejectReason.BROKER_MARKET_HALTED))
    assert order.state is OrderState.CANCELLED
    assert order.reject_reason is RejectReason.BROKER_MARKET_HALTED


def test_an_order_that_was_given_up_and_turns_up_counts() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.not_sent("a", "no trace")
    assert not book.was_sent("a")
    book.filled(filled("a", 5, 100))
    assert order.state is OrderState.FILLED
    assert book.was_sent("a")


def test_a_refused_cancel_leaves_the_order_open() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.accepted(accepted("a", 1))
    book.request_cancel("a", "a newer decision")
    book.rejected(OrderRejected(2, "a", 2, RejectReason.BROKER_FORBIDDEN, "ACCOUNT_ORDER_CANCEL_LOCKED"))
    assert order.state is OrderState.ACCEPTED


def test_a_cancel_refused_because_the_order_is_gone_does_not_resurrect_it() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.accepted(accepted("a", 1))
    book.request_cancel("a", "a newer decision")
    book.rejected(OrderRejected(0, "a", 2, RejectReason.BROKER_UNKNOWN_ORDER, "ORDER_DOESNT_EXIST"))
    assert order.state is OrderState.PENDING_CANCEL
    assert book.uncertain() == [order]
    book.filled(filled("a", 3, 100))
    assert order.state is OrderState.FILLED
    book.request_failed("a", "cancel", "ORDER_DOESNT_EXIST")
    assert order.state is OrderState.FILLED
    assert book.violations == []


def test_an_order_partly_filled_while_its_cancel_is_on_its_way() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.accepted(accepted("a", 1))
    book.request_cancel("a", "")
    book.filled(filled("a", 3, 40))
    assert order.state is OrderState.PENDING_CANCEL
    book.request_failed("a", "cancel", "refused")
    assert order.state is OrderState.PARTIALLY_FILLED
    book.request_cancel("a", "")
    book.cancelled(OrderCancelled(4, "a", "1", 4, "CLIENT_REQUEST"))
    assert (order.state, order.filled_units) == (OrderState.CANCELLED, 40)


def test_a_fill_of_an_order_nobody_knows_makes_one() -> None:
    book = OrderBook()
    order = book.filled(filled("", 9, -100, "8", "MARKET_ORDER_MARGIN_CLOSEOUT"))
    assert order.key == "broker:8"
    assert order.state is OrderState.FILLED


def test_the_broker_contradicting_itself_is_kept_and_its_money_counted() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.accepted(accepted("a", 1))
    book.filled(filled("a", 2, 100))
    book.cancelled(OrderCancelled(3, "a", "1", 3))
    assert "a is filled and cannot be cancelled" in book.violations[0]
    book.filled(filled("a", 4, 100))
    assert "asks for 100 and 200 are filled" in book.violations[-1]
    assert (order.state, order.filled_units) == (OrderState.FILLED, 200)


def test_a_fill_of_a_cancelled_order_and_one_of_the_wrong_side_are_violations() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.accepted(accepted("a", 1))
    book.cancelled(OrderCancelled(2, "a", "1", 2))
    book.filled(filled("a", 3, -10))
    assert (order.state, order.filled_units) == (OrderState.CANCELLED, -10)
    assert len(book.violations) == 2


def test_impossible_records_of_our_own_are_errors() -> None:
    book = OrderBook()
    book.submit(request(), 1)
    with pytest.raises(IntegrityError, match="sent before"):
        book.submit(request(), 2)
    with pytest.raises(IntegrityError, match="pending_new and cannot be change requested"):
        book.request_cancel("a", "")
    book.accepted(accepted("a", 1))
    book.filled(filled("a", 2, 100))
    for act in (
        lambda: book.unresolved("a", ""),
        lambda: book.not_sent("a", ""),
        lambda: book.request_cancel("a", ""),
        lambda: book.request_amend("a", request("b"), 3),
        lambda: book.settle("a", OrderState.CANCELLED, ""),
        lambda: book.settle("a", OrderState.UNKNOWN, ""),
        lambda: book.request_cancel("nobody", ""),
    ):
        with pytest.raises(IntegrityError):
            act()
    assert "b" not in book.orders


def test_an_amendment_ends_the_old_order_and_begins_the_new_one() -> None:
    book = OrderBook()
    old = book.submit(request(), 1)
    book.accepted(accepted("a", 1, OrderType.LIMIT))
    new = book.request_amend("a", request("a:amended:1", 70), 2)
    assert (old.state, new.state) == (OrderState.PENDING_CANCEL, OrderState.PENDING_NEW)
    assert book.in_flight(besides="a") == {"EUR_USD"}
    book.cancelled(OrderCancelled(2, "a", "1", 2, "CLIENT_REQUEST_REPLACED", replaced_by="3"))
    book.accepted(accepted("a:amended:1", 3, OrderType.LIMIT, 70))
    assert (old.state, new.state) == (OrderState.CANCELLED, OrderState.ACCEPTED)


def test_a_refused_replacement_leaves_the_old_order() -> None:
    book = OrderBook()
    old = book.submit(request(), 1)
    book.accepted(accepted("a", 1, OrderType.LIMIT))
    new = book.request_amend("a", request("b"), 2)
    book.rejected(OrderRejected(2, "b", 2, RejectReason.BROKER_INVALID_PRICE, "PRICE_INVALID"))
    assert (old.state, new.state) == (OrderState.ACCEPTED, OrderState.REJECTED)


def test_a_replacement_refused_because_the_old_order_is_gone_does_not_resurrect_it() -> None:
    book = OrderBook()
    old = book.submit(request(), 1)
    book.accepted(accepted("a", 1, OrderType.LIMIT))
    new = book.request_amend("a", request("b"), 2)
    book.rejected(OrderRejected(0, "b", 2, RejectReason.BROKER_UNKNOWN_ORDER, "ORDER_DOESNT_EXIST"))
    assert (old.state, new.state) == (OrderState.PENDING_CANCEL, OrderState.REJECTED)
    book.filled(filled("a", 3, 100))
    assert old.state is OrderState.FILLED


def test_a_replaced_stop_stays_with_its_trade_and_is_not_in_flight() -> None:
    book = OrderBook()
    book.submit(request(), 1)
    book.accepted(accepted("a", 1))
    book.filled(filled("a", 2, 100))
    stop_id = attached_order_id("a", OrderType.STOP_LOSS)
    book.accepted(accepted(stop_id, 3, OrderType.STOP_LOSS, -100))
    stop = OrderRequest("s2", "EUR_USD", D(-100), OrderType.STOP_LOSS, price=D("1.05"))
    new = book.request_amend(stop_id, stop, 4)
    book.cancelled(OrderCancelled(4, stop_id, "3", 4, replaced_by="5"))
    book.accepted(accepted("s2", 5, OrderType.STOP_LOSS, -100))
    assert new.parent_transaction == 2
    assert book.in_flight() == frozenset()


def test_a_refused_id_that_is_taken_means_the_first_request_arrived() -> None:
    book = OrderBook()
    order = book.submit(request(), 1)
    book.rejected(OrderRejected(4, "a", 4, RejectReason.BROKER_DUPLICATE_ID, "CLIENT_ORDER_ID_ALREADY_EXISTS"))
    assert order.state is OrderState.UNKNOWN
    book.accepted(accepted("a", 1))
    assert order.state is OrderState.ACCEPTED


def test_client_ids_are_a_pure_function_and_fit_the_broker() -> None:
    assert client_order_id("s:EUR_USD:1700000000000000000") == "s:EUR_USD:1700000000000000000:0"
    assert client_order_id("d", 1) != client_order_id("d", 2)
    long_one, long_two = client_order_id("x" * 300), client_order_id("x" * 299 + "y")
    assert len(long_one) <= MAXIMUM_LENGTH
    assert long_one != long_two
    assert client_order_id("strätegy one") != client_order_id("str-tegy-one")
    assert client_order_id("strätegy one").isascii()
