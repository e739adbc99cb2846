"""Account kinds: both sides of a hedging account, the first-in-first-out rule, and what a quote can absorb."""

from decimal import Decimal

import pytest
from matching_cases import Desk, kinds, named, only, price

from trading.matching.commands import ClosePosition, CloseTrade, Configure, MoveFunds, SetLiquidity, SetTradeOrders
from trading.matching.transactions import (
    LimitOrderReject,
    MarketOrderReject,
    OrderCancel,
    OrderFill,
    StopLossOrderReject,
    TransferFunds,
    TransferFundsReject,
)
from trading.practice import views


def test_a_hedging_account_holds_both_sides_and_pays_margin_for_the_larger() -> None:
    desk = Desk(hedging=True)
    long = only(desk.order(3000), OrderFill).id
    short = only(desk.order(-2000), OrderFill)
    assert short.trade_opened is not None and short.trades_closed is None
    shown = views.position(desk.exchange, "EUR_USD")
    assert (shown["long"]["units"], shown["short"]["units"]) == ("3000", "-2000")
    assert desk.exchange.valuation().margin_used == Decimal("109.9000")  # 3,000 x 1.1001 x 0.0333, not 1,000 or 5,000
    assert views.summary(desk.exchange)["hedgingEnabled"] is True
    reduced = only(desk.order(-1000, position_fill="REDUCE_FIRST"), OrderFill)
    assert reduced.trade_reduced is not None and reduced.trade_reduced.trade_id == long
    crossed = only(desk.order(-2500, position_fill="REDUCE_FIRST"), OrderFill)
    assert crossed.trades_closed is not None and crossed.trades_closed[0].units == -2000
    assert crossed.trade_opened is not None and crossed.trade_opened.units == -500
    assert only(desk.order(-10, position_fill="REDUCE_ONLY"), OrderCancel).reason == "POSITION_CLOSEOUT_FAILED"
    desk.order(700)
    both = desk.apply(ClosePosition(time_ns=desk.now, instrument="EUR_USD", long_units="ALL", short_units="ALL"))
    assert [item.units for item in both if isinstance(item, OrderFill)] == [-700, 2500]
    assert not desk.exchange.log.open_trades


def test_a_margin_close_out_ends_both_sides_of_a_hedging_account() -> None:
    desk = Desk(hedging=True, balance=Decimal(1000))
    desk.order(25_000)
    desk.order(-5_000)
    made = desk.quote("EUR_USD", "1.07000", "1.07020")
    assert [item.units for item in made if isinstance(item, OrderFill)] == [-25_000, 5_000]
    assert desk.units() == 0 and not desk.exchange.log.open_trades


def test_fifo_closes_the_older_of_equal_trades_first() -> None:
    desk = Desk(fifo=True)
    first = only(desk.order(1000), OrderFill).id
    second = only(desk.order(1000), OrderFill).id
    other = only(desk.order(700), OrderFill).id
    younger = desk.apply(CloseTrade(time_ns=desk.now, trade=second))
    assert only(younger, OrderCancel).reason == "FIFO_VIOLATION" and desk.units() == 2700
    assert only(desk.apply(CloseTrade(time_ns=desk.now, trade=other)), OrderFill).units == -700
    for trade in (first, second):
        assert only(desk.apply(CloseTrade(time_ns=desk.now, trade=trade)), OrderFill).units == -1000


def test_fifo_forbids_protected_trades_of_one_size() -> None:
    desk = Desk(fifo=True)
    first = only(desk.order(1000, stop_loss_on_fill=price("1.05000")), OrderFill).id
    assert only(desk.order(1000), OrderCancel).reason == "FIFO_VIOLATION_SAFEGUARD_VIOLATION"
    assert only(desk.order(900, stop_loss_on_fill=price("1.05000")), OrderFill).units == 900
    partly = desk.apply(CloseTrade(time_ns=desk.now, trade=first, units=Decimal(100)))
    assert only(partly, OrderCancel).reason == "FIFO_VIOLATION_SAFEGUARD_PARTIAL_CLOSE_VIOLATION"
    plain = Desk(fifo=True)
    plain.order(500)
    twin = only(plain.order(500), OrderFill).id
    refused = plain.apply(SetTradeOrders(time_ns=plain.now, trade=twin, stop_loss=price("1.05000")))
    assert only(refused, StopLossOrderReject).reject_reason == "STOP_LOSS_ORDER_WOULD_VIOLATE_FIFO_VIOLATION_SAFEGUARD"


def test_a_quote_is_used_up_and_the_next_one_is_whole_again() -> None:
    desk = Desk(liquidity=Decimal(5000))
    assert only(desk.order(4000), OrderFill).units == 4000
    assert only(desk.order(4000), OrderCancel).reason == "INSUFFICIENT_LIQUIDITY"
    assert only(desk.order(4000, time_in_force="IOC"), OrderFill).units == 1000
    assert only(desk.order(1, time_in_force="IOC"), OrderCancel).reason == "INSUFFICIENT_LIQUIDITY"
    assert only(desk.order(-5000), OrderFill).units == -5000  # the other side is untouched
    desk.quote("EUR_USD", "1.10000", "1.10020")
    assert only(desk.order(5000), OrderFill).units == 5000
    desk.apply(SetLiquidity(time_ns=desk.now, units=Decimal(10)))
    desk.quote("EUR_USD", "1.10000", "1.10020")
    assert only(desk.order(11), OrderCancel).reason == "INSUFFICIENT_LIQUIDITY"


def test_a_resting_order_fills_part_by_part_under_one_id() -> None:
    desk = Desk(liquidity=Decimal(5000))
    stop = price("1.00000", client_extensions=named("stop"))
    made = desk.order(
        12_000,
        type="LIMIT",
        price=Decimal("1.10020"),
        client_extensions=named("parts"),
        stop_loss_on_fill=stop,
    )
    first = only(made, OrderFill)
    assert (first.units, first.requested_units) == (5000, 12_000)
    order = desk.exchange.log.find_order("@parts")
    assert order is not None and (order.state, order.filled_units) == ("PENDING", 5000)
    assert desk.exchange.log.pending["EUR_USD"][order.id] is order
    second = only(desk.quote("EUR_USD", "1.10000", "1.10020"), OrderFill)
    assert (second.units, second.requested_units, second.order_id) == (5000, 7000, order.id)
    assert desk.quote("EUR_USD", "1.10010", "1.10030") == []  # above the limit: it waits
    third = only(desk.quote("EUR_USD", "1.09990", "1.10010"), OrderFill)
    assert (third.units, order.state, order.filled_units) == (2000, "FILLED", 12_000)
    stops = desk.exchange.log.pending["EUR_USD"].values()
    assert [item.client_id for item in stops] == ["stop", None, None]  # an id is given once
    again = desk.order(9000, type="LIMIT", price=Decimal("1.20000"), time_in_force="IOC")
    assert only(again, OrderFill).units == 3000  # what is left of this quote


def test_a_partly_filled_order_can_be_cancelled_and_expires() -> None:
    desk = Desk(liquidity=Decimal(5000))
    gtd = "2024-03-05T10:00:10.000000000Z"
    desk.order(8000, type="LIMIT", price=Decimal("1.10020"), time_in_force="GTD", gtd_time=gtd)
    made = desk.quote("EUR_USD", "1.10010", "1.10030", seconds=20)
    cancelled = only(made, OrderCancel)
    assert (cancelled.reason, cancelled.time) == ("TIME_IN_FORCE_EXPIRED", gtd)
    assert desk.units() == 5000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"guaranteed": True}, "STOP_LOSS_ORDER_GUARANTEED_NOT_ALLOWED"),
        ({"guaranteed_stop_loss_on_fill": price("1.00000")}, "STOP_LOSS_ON_FILL_GUARANTEED_NOT_ALLOWED"),
        ({"stop_loss_on_fill": price("1.00000", guaranteed=True)}, "STOP_LOSS_ON_FILL_GUARANTEED_NOT_ALLOWED"),
        (
            {"stop_loss_on_fill": price("1.00000", trigger_condition="MOON")},
            "STOP_LOSS_ON_FILL_TRIGGER_CONDITION_INVALID",
        ),
    ],
)
def test_what_this_broker_does_not_do_is_refused_by_name(fields: dict[str, object], reason: str) -> None:
    desk = Desk()
    assert only(desk.order(1000, **fields), MarketOrderReject).reject_reason == reason
    limit = desk.order(1000, type="LIMIT", price=Decimal("1.00000"), **fields)
    assert only(limit, LimitOrderReject).reject_reason == reason


def test_money_goes_out_only_as_far_as_it_is_free() -> None:
    desk = Desk(balance=Decimal(1000))
    desk.order(20_000)  # margin 732.67
    refused = only(desk.apply(MoveFunds(time_ns=desk.now, amount=Decimal(-500))), TransferFundsReject)
    assert refused.reject_reason == "INSUFFICIENT_FUNDS" and desk.balance == 1000
    nothing = only(desk.apply(MoveFunds(time_ns=desk.now, amount=Decimal("NaN"))), TransferFundsReject)
    assert nothing.reject_reason == "AMOUNT_INVALID"
    assert only(desk.apply(MoveFunds(time_ns=desk.now, amount=Decimal(-200))), TransferFunds).account_balance == 800


def test_a_margin_rate_that_would_close_out_is_refused() -> None:
    desk = Desk(balance=Decimal(1000))
    desk.order(20_000)
    for rate, reason in (
        ("0.05", "MARGIN_RATE_WOULD_TRIGGER_MARGIN_CALL"),
        ("0.1", "MARGIN_RATE_WOULD_TRIGGER_CLOSEOUT"),
    ):
        (made,) = desk.apply(Configure(time_ns=desk.now, margin_rate=Decimal(rate)))
        assert made.kind == "CLIENT_CONFIGURE_REJECT" and made.reject_reason == reason  # type: ignore[union-attr]
    assert kinds(desk.apply(Configure(time_ns=desk.now, margin_rate=Decimal("0.04")))) == ["CLIENT_CONFIGURE"]
