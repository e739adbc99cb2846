"""What the account is worth: unrealised profit, margin, and the figures v20 derives from them.

Rules taken from the recordings: open units are valued at the side they would be closed at; margin is units times the
middle price times the margin rate, at home; margin close-out figures value at the middle; the close-out percentage is
half the margin used over the close-out net asset value, and 100 % closes everything. In a hedging account the larger
of the two sides of an instrument uses margin.
"""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading.matching.book import Book, Trade
from trading.matching.market import Market
from trading.matching.wire import ZERO, ZERO_MONEY, money, percent


class Valuation(msgspec.Struct, frozen=True, kw_only=True):
    """All figures in the account's currency, four decimals; percentages five."""

    unrealized_pl: Decimal
    nav: Decimal
    margin_used: Decimal
    margin_available: Decimal
    position_value: Decimal
    closeout_unrealized_pl: Decimal
    closeout_nav: Decimal
    closeout_percent: Decimal
    call_percent: Decimal
    withdrawal_limit: Decimal


def margin_rate(book: Book, market: Market, instrument: str) -> Decimal:
    """Return the rate in force: the instrument's own or the account's, whichever is higher."""
    return max(market.instruments[instrument].margin_rate, book.margin_rate)


def margin_per_unit(book: Book, market: Market, instrument: str) -> Decimal:
    """Return the margin one unit needs, not rounded."""
    quoted = market.instruments[instrument].quote
    return market.middle(instrument) * market.middle_factor(quoted) * margin_rate(book, market, instrument)


def trade_profit(market: Market, trade: Trade) -> Decimal:
    """Return the unrealised profit of a trade at the closing side of the quote."""
    bid, ask = market.price(trade.instrument)
    close = bid if trade.units > 0 else ask
    return money(market.to_home((close - trade.price) * trade.units, market.instruments[trade.instrument].quote))


def trade_middle_profit(market: Market, trade: Trade) -> Decimal:
    """Return the unrealised profit of a trade at the middle price."""
    change = (market.middle(trade.instrument) - trade.price) * trade.units
    return money(change * market.middle_factor(market.instruments[trade.instrument].quote))


def held_units(trades: Mapping[str, Trade]) -> tuple[Decimal, Decimal]:
    """Return the long and the short units (both unsigned) of open trades of one instrument."""
    long = short = ZERO
    for trade in trades.values():
        if trade.units > 0:
            long += trade.units
        else:
            short -= trade.units
    return long, short


def position_margin(book: Book, market: Market, instrument: str, units: Decimal) -> Decimal:
    """Return the margin that ``units`` of an instrument use."""
    return money(abs(units) * margin_per_unit(book, market, instrument))


def value_account(book: Book, market: Market, open_trades: dict[str, dict[str, Trade]]) -> Valuation:
    """Value the account at the standing quotes. ``open_trades``: by instrument, then id."""
    unrealized = closeout = margin_used = position_value = ZERO_MONEY
    for name, trades in open_trades.items():
        for trade in trades.values():
            unrealized += trade_profit(market, trade)
            closeout += trade_middle_profit(market, trade)
        long, short = held_units(trades)
        margin_used += position_margin(book, market, name, max(long, short))
        quoted = market.instruments[name].quote
        position_value += money((long + short) * market.middle(name) * market.middle_factor(quoted))
    nav, closeout_nav = book.balance + unrealized, book.balance + closeout
    available = max(ZERO_MONEY, nav - margin_used)
    call = percent(margin_used / closeout_nav) if closeout_nav > 0 else percent(Decimal(1 if margin_used else 0))
    return Valuation(
        unrealized_pl=unrealized,
        nav=nav,
        margin_used=margin_used,
        margin_available=available,
        position_value=position_value,
        closeout_unrealized_pl=closeout,
        closeout_nav=closeout_nav,
        closeout_percent=percent(margin_used / closeout_nav / 2) if closeout_nav > 0 else call,
        call_percent=call,
        withdrawal_limit=max(ZERO_MONEY, min(available, book.balance)),
    )
