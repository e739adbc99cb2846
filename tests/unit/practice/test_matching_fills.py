"""Fills, netting and money on cases computed by hand."""

from decimal import Decimal

import pytest
from matching_cases import Desk, kinds, named, only, price

from trading.matching.commands import ClosePosition, CloseTrade
from trading.matching.transactions import (
    MarketOrder,
    MarketOrderReject,
    OnFillDetails,
    OrderCancel,
    OrderFill,
    StopLossOrder,
)


def test_a_round_trip_costs_the_spread() -> None:
    desk = Desk()
    bought = only(desk.order(10_000), OrderFill)
    # Bought at the ask; half the spread of 2 points x 10,000 is 1.00 USD; margin 10,000 x 1.1001 x 0.0333.
    assert (bought.price, bought.units, bought.half_spread_cost) == (Decimal("1.10020"), 10_000, Decimal("1.0000"))
    assert bought.trade_opened is not None
    assert bought.trade_opened.initial_margin_required == Decimal("366.3333")
    assert bought.trade_opened.trade_id == bought.id
    value = desk.exchange.valuation()
    assert (value.unrealized_pl, value.nav) == (Decimal("-2.0000"), Decimal("99998.0000"))
    assert (value.margin_used, value.margin_available) == (Decimal("366.3333"), Decimal("99631.6667"))
    sold = only(desk.order(-10_000), OrderFill)
    assert (sold.pl, sold.account_balance) == (Decimal("-2.0000"), Decimal("99998.0000"))
    assert sold.trades_closed is not None and sold.trades_closed[0].units == -10_000
    assert desk.units() == 0 and desk.balance == Decimal("99998.0000")


def test_opposite_orders_close_the_oldest_trades_first_and_open_the_rest() -> None:
    desk = Desk()
    first = only(desk.order(1000), OrderFill)
    desk.quote("EUR_USD", "1.11000", "1.11020")
    second = only(desk.order(2000), OrderFill)
    desk.quote("EUR_USD", "1.12000", "1.12020")
    partly = only(desk.order(-1500), OrderFill)
    # 1000 x (1.12000 - 1.10020) + 500 x (1.12000 - 1.11020)
    assert partly.pl == Decimal("19.8000") + Decimal("4.9000")
    assert partly.trades_closed is not None and partly.trade_reduced is not None
    assert [item.trade_id for item in partly.trades_closed] == [first.id]
    assert (partly.trade_reduced.trade_id, partly.trade_reduced.units) == (second.id, -500)
    crossed = only(desk.order(-4000), OrderFill)
    assert crossed.trades_closed is not None and crossed.trade_opened is not None
    assert crossed.pl == Decimal("14.7000")  # 1500 x (1.12000 - 1.11020)
    assert crossed.trade_opened.units == -2500 and desk.units() == -2500


def test_a_profit_in_yen_is_sold_for_dollars_at_the_ask_and_a_loss_bought_at_the_bid() -> None:
    desk = Desk()
    desk.order(10_000, "USD_JPY")
    desk.quote("USD_JPY", "151.000", "151.020")
    gain = only(desk.order(-10_000, "USD_JPY"), OrderFill)
    assert gain.pl == Decimal("64.8921")  # 9,800 JPY / 151.020
    assert gain.gain_quote_home_conversion_factor == Decimal("0.006621639518")
    assert gain.loss_quote_home_conversion_factor == Decimal("0.006622516556")
    desk.order(10_000, "USD_JPY")
    desk.quote("USD_JPY", "150.000", "150.020")
    loss = only(desk.order(-10_000, "USD_JPY"), OrderFill)
    assert loss.pl == Decimal("-68.0000")  # 10,200 JPY / 150.000
    assert desk.balance == Decimal("100000.0000") + Decimal("64.8921") - Decimal("68.0000")


def test_a_cross_is_converted_through_the_pairs_there_are() -> None:
    desk = Desk()
    del desk.exchange.book.quotes["USD_JPY"]  # JPY now goes over EUR: EUR_JPY, then EUR_USD
    desk.quote("EUR_JPY", "165.000", "165.030")
    gain, loss = desk.exchange.market.factors("JPY") or (Decimal(0), Decimal(0))
    assert gain == (Decimal("1.10000") / Decimal("165.030")).quantize(Decimal("1e-12"))
    assert loss == (Decimal("1.10020") / Decimal("165.000")).quantize(Decimal("1e-12"))


def test_commission_is_per_million_of_notional_at_home() -> None:
    desk = Desk(commission_per_million=Decimal(20))
    bought = only(desk.order(100_000), OrderFill)
    assert bought.commission == Decimal("2.2002")  # 110,010 USD at 20 a million
    assert desk.balance == Decimal("99997.7998")


def test_a_stop_executes_at_the_gapped_price() -> None:
    desk = Desk()
    made = desk.order(1000, stop_loss_on_fill=price("1.09000"))
    stop = only(made, StopLossOrder)
    assert (stop.reason, stop.price, stop.trade_id) == ("ON_FILL", Decimal("1.09000"), only(made, OrderFill).id)
    assert desk.quote("EUR_USD", "1.09001", "1.09021") == []
    filled = only(desk.quote("EUR_USD", "1.07500", "1.07520"), OrderFill)
    assert (filled.price, filled.reason, filled.order_id) == (Decimal("1.07500"), "STOP_LOSS_ORDER", stop.id)
    assert filled.pl == Decimal("-25.2000")
    assert filled.request_id is None  # nobody asked


def test_take_profit_closes_and_cancels_its_sibling() -> None:
    desk = Desk()
    desk.order(-1000, take_profit_on_fill=price("1.09000"), stop_loss_on_fill=price("1.11000"))
    made = desk.quote("EUR_USD", "1.08970", "1.08990")
    assert kinds(made) == ["ORDER_FILL", "ORDER_CANCEL"]
    assert only(made, OrderFill).reason == "TAKE_PROFIT_ORDER"
    assert only(made, OrderCancel).reason == "LINKED_TRADE_CLOSED"
    assert made[0].batch_id == made[1].batch_id
    assert desk.exchange.log.pending == {}


def test_a_trailing_stop_follows_and_never_retreats() -> None:
    desk = Desk()
    desk.order(1000, trailing_stop_loss_on_fill=OnFillDetails(distance=Decimal("0.00500")))
    (order,) = desk.exchange.log.pending["EUR_USD"].values()
    assert order.trailing_stop_value == Decimal("1.09500")
    desk.quote("EUR_USD", "1.11000", "1.11020")
    assert order.trailing_stop_value == Decimal("1.10500")
    assert desk.quote("EUR_USD", "1.10600", "1.10620") == []
    assert order.trailing_stop_value == Decimal("1.10500")
    filled = only(desk.quote("EUR_USD", "1.10480", "1.10500"), OrderFill)
    assert (filled.price, filled.reason) == (Decimal("1.10480"), "TRAILING_STOP_LOSS_ORDER")


def test_too_little_margin_is_a_cancel_not_a_reject() -> None:
    desk = Desk(balance=Decimal(1000))
    made = desk.order(100_000)
    assert kinds(made) == ["MARKET_ORDER", "ORDER_CANCEL"]
    assert only(made, OrderCancel).reason == "INSUFFICIENT_MARGIN"
    assert kinds(desk.order(20_000)) == ["MARKET_ORDER", "ORDER_FILL"]
    assert only(desk.order(10_000), OrderCancel).reason == "INSUFFICIENT_MARGIN"
    assert kinds(desk.order(-25_000)) == ["MARKET_ORDER", "ORDER_FILL"]  # less risk is always allowed
    assert only(desk.order(-80_000), OrderCancel).reason == "INSUFFICIENT_MARGIN"


def test_losses_bring_a_margin_call_and_then_a_close_out() -> None:
    desk = Desk(balance=Decimal(1000))
    desk.order(25_000)  # margin 916 of 995
    call = desk.quote("EUR_USD", "1.09000", "1.09020")  # NAV about 745, margin 908
    assert kinds(call) == ["MARGIN_CALL_ENTER"]
    made = desk.quote("EUR_USD", "1.07800", "1.07820")  # NAV 445, half the margin 449
    assert kinds(made) == ["MARKET_ORDER", "ORDER_FILL", "MARGIN_CALL_EXIT"]
    order = only(made, MarketOrder)
    assert order.reason == "MARGIN_CLOSEOUT" and order.margin_closeout is not None
    assert only(made, OrderFill).reason == "MARKET_ORDER_MARGIN_CLOSEOUT"
    assert desk.units() == 0 and desk.balance == Decimal("445.0000")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"price_bound": Decimal("1.10010")}, "BOUNDS_VIOLATION"),
        ({"stop_loss_on_fill": price("1.10000")}, "STOP_LOSS_ON_FILL_LOSS"),
        ({"take_profit_on_fill": price("1.10000")}, "TAKE_PROFIT_ON_FILL_LOSS"),
        ({"position_fill": "REDUCE_ONLY"}, "POSITION_CLOSEOUT_FAILED"),
    ],
)
def test_an_order_that_cannot_be_executed_is_cancelled(fields: dict[str, object], reason: str) -> None:
    desk = Desk()
    made = desk.order(1000, **fields)
    assert only(made, OrderCancel).reason == reason and desk.units() == 0


def test_a_halted_market_and_one_without_liquidity() -> None:
    desk = Desk(liquidity=Decimal(5000))
    assert only(desk.order(6000), OrderCancel).reason == "INSUFFICIENT_LIQUIDITY"
    taken = only(desk.order(6000, time_in_force="IOC"), OrderFill)
    assert (taken.units, taken.requested_units) == (5000, 6000)
    desk.quote("EUR_USD", "1.10000", "1.10020", tradeable=False)
    assert only(desk.order(1000), OrderCancel).reason == "MARKET_HALTED"


def test_reduce_only_takes_what_is_there_and_open_only_refuses_to_reduce() -> None:
    desk = Desk()
    desk.order(1000)
    assert only(desk.order(-500, position_fill="OPEN_ONLY"), OrderCancel).reason == "FIFO_VIOLATION"
    assert only(desk.order(-5000, position_fill="REDUCE_ONLY"), OrderFill).units == -1000
    assert desk.units() == 0


def test_closing_a_named_trade_leaves_the_older_one() -> None:
    desk = Desk()
    first = only(desk.order(1000), OrderFill).id
    second = only(desk.order(2000), OrderFill).id
    made = desk.apply(CloseTrade(time_ns=desk.now, trade=second, units=Decimal(500)))
    order = only(made, MarketOrder)
    assert order.trade_close is not None and (order.trade_close.trade_id, order.trade_close.units) == (second, "500")
    assert only(made, OrderFill).reason == "MARKET_ORDER_TRADE_CLOSE"
    trades = desk.exchange.book.trades
    assert (trades[first].units, trades[second].units) == (1000, 1500)
    refused = only(desk.apply(CloseTrade(time_ns=desk.now, trade=second, units=Decimal(1501))), MarketOrderReject)
    assert refused.reject_reason == "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE"
    gone = only(desk.apply(CloseTrade(time_ns=desk.now, trade="999")), MarketOrderReject)
    assert gone.reject_reason == "TRADE_DOESNT_EXIST"


def test_closing_a_position() -> None:
    desk = Desk()
    desk.order(-1000)
    desk.order(-500)
    wrong = desk.apply(ClosePosition(time_ns=desk.now, instrument="EUR_USD", long_units="ALL", short_units="NONE"))
    assert only(wrong, MarketOrderReject).reject_reason == "CLOSEOUT_POSITION_DOESNT_EXIST" and desk.units() == -1500
    part = desk.apply(ClosePosition(time_ns=desk.now, instrument="EUR_USD", short_units="1200", long_units="NONE"))
    assert only(part, OrderFill).units == 1200
    whole = desk.apply(ClosePosition(time_ns=desk.now, instrument="EUR_USD", short_client_extensions=named("c")))
    assert only(whole, OrderFill).client_order_id == "c" and desk.units() == 0
    for fields in ({"short_units": "ALL"}, {"long_units": "NONE", "short_units": "ALL"}):
        refused = desk.apply(ClosePosition(time_ns=desk.now, instrument="EUR_USD", **fields))
        assert only(refused, MarketOrderReject).short_position_closeout is not None
    none = desk.apply(ClosePosition(time_ns=desk.now, instrument="EUR_USD"))
    assert only(none, MarketOrderReject).reject_reason == "CLOSEOUT_POSITION_DOESNT_EXIST"
