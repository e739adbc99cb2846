"""The compiled entry: some parameter sets one after the other, without the interpreter's lock."""

import numpy as np

from trading.strategy.rules.order import VOLATILITY_SIZE
from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Terms
from training.backtest.kernel.compilation import Array, compiled, compiled_without_lock
from training.backtest.kernel.loop import run_rows

OPEN_AT_ONCE = 64  # trades of one instrument


@compiled
def run_set(market: MarketArrays, terms: Terms, record: Record, rule: int, parameters: Array, size: int) -> Book:
    """Run one parameter set with a state of ``size`` places an instrument and return its book."""
    count = market.rows.shape[1]
    cash = np.zeros(3, np.int64)
    cash[c.BALANCE] = terms.balance
    book = Book(
        np.zeros((count, OPEN_AT_ONCE, 8), np.int64),
        np.zeros((count, OPEN_AT_ONCE, 4)),
        np.zeros((count, c.DESK), np.int64),
        cash,
        np.zeros(c.TOTALS),
    )
    run_rows(
        market,
        terms,
        book,
        record,
        rule,
        parameters,
        np.zeros(count * size),
        size,
        np.zeros(count * VOLATILITY_SIZE),
        np.full((count, 6), np.nan),
        np.zeros((count, 5), np.int64),
    )
    return book


@compiled_without_lock
def run_sets(
    market: MarketArrays,
    terms: Terms,
    rule: int,
    table: Array,
    size: int,
    first: int,
    last: int,
    totals: Array,
    net: Array,
    status: Array,
) -> None:
    """Run the sets ``first`` to ``last`` of a table; write totals [P, TOTALS] and net [P, T].

    ``net`` with no rows takes nothing. ``status`` int64 [P] says where more was open at once than there is room for.
    """
    for p in range(first, last):
        record = Record(
            np.zeros((0, 10), np.int64),
            np.zeros((0, 4)),
            np.zeros(0),
            np.zeros(0),
            net[p] if len(net) else np.zeros(0),
            np.zeros((0, 0), np.int64),
            np.zeros((0, 0), np.int8),
        )
        book = run_set(market, terms, record, rule, table[p], size)
        totals[p] = book.totals
        status[p] = book.cash[c.OVERFLOW]


@compiled_without_lock
def run_recorded(market: MarketArrays, terms: Terms, record: Record, rule: int, parameters: Array, size: int) -> Book:
    """Run one parameter set and write everything down."""
    return run_set(market, terms, record, rule, parameters, size)
