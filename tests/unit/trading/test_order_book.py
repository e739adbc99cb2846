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
    book.move("a", OrderState.UNKNOWN, "reply lost")
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
    book.move("a", OrderState.PENDING_CANCEL)
    book.rejected(OrderRejected(2, "a", 2, RejectReason.BROKER_UNKNOWN_ORDER, "ORDER_DOESNT_EXIST"))
    assert order.state is OrderState.ACCEPTED


def test_a_fill_of_an_order_nobody_knows_makes_one() -> None:
    book = OrderBook()
    order = book.filled(filled("", 9, -100, "8", "MARKET_ORDER_MARGIN_CLOSEOUT"))
    assert order.key == "broker:8"
    assert order.state is OrderState.FILLED


def test_impossible_transitions_are_errors() -> None:
    book = OrderBook()
    book.submit(request(), 1)
    book.accepted(accepted("a", 1))
    book.filled(filled("a", 2, 100))
    with pytest.raises(IntegrityError, match="cannot go from filled to cancelled"):
        book.cancelled(OrderCancelled(3, "a", "1", 3))
    with pytest.raises(IntegrityError):
        book.filled(filled("a", 4, 100))
    with pytest.raises(IntegrityError):
        book.move("a", OrderState.UNKNOWN)


def test_client_ids_are_a_pure_function_and_fit_the_broker() -> None:
    assert client_order_id("s:EUR_USD:1700000000000000000") == "s:EUR_USD:1700000000000000000:0"
    assert client_order_id("d", 1) != client_order_id("d", 2)
    long_one, long_two = client_order_id("x" * 300), client_order_id("x" * 299 + "y")
    assert len(long_one) <= MAXIMUM_LENGTH
    assert long_one != long_two
    assert client_order_id("strätegy one") != client_order_id("str-tegy-one")
    assert client_order_id("strätegy one").isascii()
