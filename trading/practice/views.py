"""The account, its trades, positions and prices as the protocol shows them."""

from collections.abc import Iterable
from decimal import ROUND_DOWN, Decimal
from typing import Any

from core.clock import to_rfc3339
from core.domain import Instrument, Quote
from trading.matching.book import Order, PositionTotals, Trade
from trading.matching.exchange import Exchange
from trading.matching.financing import DAYS_CHARGED, rates_of
from trading.matching.validation import trailing_limits
from trading.matching.valuation import (
    Valuation,
    held_units,
    margin_per_unit,
    margin_rate,
    position_margin,
    trade_profit,
)
from trading.matching.wire import ZERO, ZERO_MONEY, price_factor

_DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_TRADE_ORDER_FIELDS = {
    "TAKE_PROFIT": "takeProfitOrder",
    "STOP_LOSS": "stopLossOrder",
    "TRAILING_STOP_LOSS": "trailingStopLossOrder",
}
Json = dict[str, Any]


def instrument(exchange: Exchange, item: Instrument) -> Json:
    """Return an instrument's description; the financing rates are those the account is charged."""
    configuration = exchange.book.configuration
    long_rate, short_rate = rates_of(configuration, item.name)
    days = DAYS_CHARGED if configuration.financing else (0,) * 7
    smallest, largest = trailing_limits(item)
    return {
        "name": item.name,
        "type": item.kind,
        "displayName": item.name.replace("_", "/"),
        "pipLocation": item.pip_location,
        "displayPrecision": item.display_precision,
        "tradeUnitsPrecision": item.units_precision,
        "minimumTradeSize": f"{item.minimum_units:f}",
        "maximumTrailingStopDistance": item.format_price(largest),
        "minimumTrailingStopDistance": item.format_price(smallest),
        "maximumPositionSize": "0",
        "maximumOrderUnits": f"{item.maximum_order_units:f}",
        "marginRate": f"{margin_rate(exchange.book, exchange.market, item.name):f}",
        "guaranteedStopLossOrderMode": "DISABLED",
        "tags": [{"type": "ASSET_CLASS", "name": item.kind}],
        "financing": {
            "longRate": f"{long_rate:.4f}",
            "shortRate": f"{short_rate:.4f}",
            "financingDaysOfWeek": [
                {"dayOfWeek": day, "daysCharged": charged} for day, charged in zip(_DAYS, days, strict=True)
            ],
        },
    }


def valuation(value: Valuation) -> Json:
    """Return the figures that move with prices."""
    return {
        "unrealizedPL": value.unrealized_pl,
        "NAV": value.nav,
        "marginUsed": value.margin_used,
        "marginAvailable": value.margin_available,
        "positionValue": value.position_value,
        "marginCloseoutUnrealizedPL": value.closeout_unrealized_pl,
        "marginCloseoutNAV": value.closeout_nav,
        "marginCloseoutMarginUsed": value.margin_used,
        "marginCloseoutPercent": value.closeout_percent,
        "marginCloseoutPositionValue": value.position_value,
        "withdrawalLimit": value.withdrawal_limit,
        "marginCallMarginUsed": value.margin_used,
        "marginCallPercent": value.call_percent,
    }


def totals(exchange: Exchange) -> Json:
    """Return the figures that move with transactions."""
    book = exchange.book
    return {
        "balance": book.balance,
        "pl": book.pl,
        "resettablePL": book.pl,
        "financing": book.financing,
        "commission": book.commission,
        "dividendAdjustment": ZERO_MONEY,
        "guaranteedExecutionFees": ZERO_MONEY,
    }


def summary(exchange: Exchange) -> Json:
    """Return the account without its lists."""
    book, log = exchange.book, exchange.log
    body: Json = {
        "guaranteedStopLossOrderMode": "DISABLED",
        "hedgingEnabled": book.configuration.hedging,
        "id": book.configuration.account_id,
        "createdTime": book.created_time,
        "currency": book.configuration.currency,
        "createdByUserID": book.configuration.user_id,
        "alias": book.alias,
        "marginRate": f"{book.margin_rate:f}",
        "lastTransactionID": log.last_id,
        "openTradeCount": sum(len(trades) for trades in log.open_trades.values()),
        "openPositionCount": len(log.open_trades),
        "pendingOrderCount": sum(len(orders) for orders in log.pending.values()),
        "resettablePLTime": book.created_time,
    }
    if book.last_fill_time is not None:
        body["lastOrderFillTimestamp"] = book.last_fill_time
    if book.margin_call_since is not None:
        body["marginCallEnterTime"] = book.margin_call_since
    return body | totals(exchange) | valuation(exchange.valuation())


def account(exchange: Exchange) -> Json:
    """Return the account with open trades, positions and pending orders."""
    return summary(exchange) | {
        "orders": pending_orders(exchange),
        "positions": [position(exchange, name) for name in sorted(exchange.book.positions)],
        "trades": [trade(exchange, item, nested=False) for item in open_trades(exchange)],
    }


def pending_orders(exchange: Exchange) -> list[Order]:
    """Return resting orders, newest first, as the real server does."""
    orders = [order for by_id in exchange.log.pending.values() for order in by_id.values()]
    return sorted(orders, key=lambda order: -int(order.id))


def open_trades(exchange: Exchange) -> list[Trade]:
    """Return open trades, newest first."""
    trades = [trade for by_id in exchange.log.open_trades.values() for trade in by_id.values()]
    return sorted(trades, key=lambda item: -int(item.id))


def trade(exchange: Exchange, item: Trade, *, nested: bool) -> Json:
    """Return a trade; ``nested``: with its orders, else with their ids."""
    body: Json = {
        "id": item.id,
        "instrument": item.instrument,
        "price": item.price,
        "openTime": item.open_time,
        "initialUnits": item.initial_units,
        "initialMarginRequired": item.initial_margin_required,
        "state": "OPEN" if item.units else "CLOSED",
        "currentUnits": item.units,
        "realizedPL": item.realized_pl,
        "financing": item.financing,
        "dividendAdjustment": ZERO_MONEY,
    }
    if item.units:
        body["unrealizedPL"] = trade_profit(exchange.market, item)
        body["marginUsed"] = position_margin(exchange.book, exchange.market, item.instrument, item.units)
    if item.closing_transaction_ids:
        closed = abs(item.initial_units) - abs(item.units)
        body["averageClosePrice"] = exchange.instruments[item.instrument].round_price(item.close_value / closed)
        body["closingTransactionIDs"] = item.closing_transaction_ids
    if item.close_time is not None:
        body["closeTime"] = item.close_time
    if item.client_extensions is not None:
        body["clientExtensions"] = item.client_extensions
    for kind, number in item.order_ids.items():
        order = exchange.book.orders[number]
        if nested:
            body[_TRADE_ORDER_FIELDS[kind]] = order
        elif order.state == "PENDING":
            body[f"{_TRADE_ORDER_FIELDS[kind]}ID"] = number
    return body


def position(exchange: Exchange, name: str) -> Json:
    """Return the position in an instrument, also one that is flat."""
    book = exchange.book
    kept = book.positions.get(name, PositionTotals())
    trades = list(exchange.log.open_trades.get(name, {}).values())
    sides: Json = {}
    unrealized = ZERO_MONEY
    units = ZERO
    for long, side in ((True, kept.long), (False, kept.short)):
        held = [item for item in trades if (item.units > 0) == long]
        size = sum((item.units for item in held), ZERO)
        profit = sum((trade_profit(exchange.market, item) for item in held), ZERO_MONEY)
        body: Json = {"units": f"{size:f}"}
        if held:
            average = sum((item.units * item.price for item in held), ZERO) / size
            body["averagePrice"] = exchange.instruments[name].round_price(average)
            body["tradeIDs"] = [item.id for item in held]
        sides["long" if long else "short"] = body | {
            "pl": side.pl,
            "resettablePL": side.pl,
            "financing": side.financing,
            "dividendAdjustment": ZERO_MONEY,
            "guaranteedExecutionFees": ZERO_MONEY,
            "unrealizedPL": profit,
        }
        unrealized += profit
        units = max(units, abs(size))
    body = {
        "instrument": name,
        **sides,
        "pl": kept.long.pl + kept.short.pl,
        "resettablePL": kept.long.pl + kept.short.pl,
        "financing": kept.long.financing + kept.short.financing,
        "commission": kept.commission,
        "dividendAdjustment": ZERO_MONEY,
        "guaranteedExecutionFees": ZERO_MONEY,
        "unrealizedPL": unrealized,
    }
    if units:
        body["marginUsed"] = position_margin(book, exchange.market, name, units)
    return body


def price(exchange: Exchange, quote: Quote) -> Json:
    """Return a price as the stream writes it; ``simulated`` is ours and harmless to clients."""
    bid, ask = exchange.market.price(quote.instrument)
    tradeable = exchange.market.tradeable(quote.instrument)
    size = int(exchange.market.quoted_liquidity)
    body: Json = {
        "type": "PRICE",
        "time": to_rfc3339(quote.time_ns),
        "bids": [{"price": bid, "liquidity": size}],
        "asks": [{"price": ask, "liquidity": size}],
        "closeoutBid": bid,
        "closeoutAsk": ask,
        "status": "tradeable" if tradeable else "non-tradeable",
        "tradeable": tradeable,
        "instrument": quote.instrument,
    }
    if quote.simulated:
        body["simulated"] = True
    return body


def full_price(exchange: Exchange, quote: Quote, value: Valuation) -> Json:
    """Return a price as the pricing endpoint writes it: with conversion factors and the units margin allows."""
    name = quote.instrument
    gain, loss = exchange.market.factors(exchange.instruments[name].quote) or (ZERO, ZERO)
    per_unit = margin_per_unit(exchange.book, exchange.market, name)
    bought, sold = held_units(exchange.log.open_trades.get(name, {}))
    free = (value.margin_available / per_unit).quantize(Decimal(1), rounding=ROUND_DOWN) if per_unit else ZERO
    hedging = exchange.book.configuration.hedging
    # Against a position, closing it frees its margin, and that margin may open the other side. Where sides coexist the
    # smaller one uses no margin, so it may grow to the larger one for nothing.
    covered = (max(sold - bought, ZERO), max(bought - sold, ZERO)) if hedging else (ZERO, ZERO)
    opened = {"long": f"{free + covered[0]:f}", "short": f"{free + covered[1]:f}"}
    netted = {"long": f"{free + 2 * sold:f}", "short": f"{free + 2 * bought:f}"}
    return price(exchange, quote) | {
        "unitsAvailable": {
            "default": opened if hedging else netted,
            "openOnly": opened,
            "reduceFirst": netted,
            "reduceOnly": {"long": f"{sold:f}", "short": f"{bought:f}"},
        },
        "quoteHomeConversionFactors": {"positiveUnits": price_factor(gain), "negativeUnits": price_factor(loss)},
    }


def home_conversions(exchange: Exchange, names: Iterable[str]) -> list[Json]:
    """Return the conversion factors of every currency in the instruments."""
    items = [exchange.instruments[name] for name in names]
    result: list[Json] = []
    for currency in sorted({code for item in items for code in (item.base, item.quote)}):
        factors = exchange.market.factors(currency)
        if factors is not None:
            result.append(
                {
                    "currency": currency,
                    "accountGain": price_factor(factors[0]),
                    "accountLoss": price_factor(factors[1]),
                    "positionValue": price_factor((factors[0] + factors[1]) / 2),
                }
            )
    return result
