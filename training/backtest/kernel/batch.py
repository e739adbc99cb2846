"""The compiled entry: some parameter sets one after the other, without the interpreter's lock."""

import numpy as np

from trading.strategy.rules.order import DECAY, FIXED, KIND
from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Said, Terms
from training.backtest.kernel.compilation import Array, compiled, compiled_without_lock
from training.backtest.kernel.loop import run_rows
from training.backtest.kernel.signals import take_bars

OPEN_AT_ONCE = 64  # trades of one instrument


@compiled
def new_said(steps: int, instruments: int, by_volatility: bool) -> Said:
    """Return room for what a rule says; it is written anew by each set."""
    wide = (steps, instruments) if by_volatility else (0, 0)
    return Said(
        np.zeros((steps, instruments), np.uint8),
        np.zeros((steps, instruments)),
        np.zeros((steps, instruments, 4)),
        np.zeros(wide),
    )


@compiled
def run_set(
    market: MarketArrays, terms: Terms, said: Said, record: Record, rule: int, parameters: Array, state: Array
) -> Book:
    """Run one parameter set and return its book; ``state`` float64 is as large as the rule's for one instrument."""
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
    decay = terms.sizing[DECAY] if terms.sizing[KIND] != FIXED else 0.0
    take_bars(market, said, rule, parameters, state, decay)
    run_rows(market, terms, said, book, record, np.zeros((count, 5), np.int64))
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
    by_volatility = terms.sizing[KIND] != FIXED
    said = new_said(market.rows.shape[0], market.rows.shape[1], by_volatility)
    state = np.zeros(size)
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
        book = run_set(market, terms, said, record, rule, table[p], state)
        totals[p] = book.totals
        status[p] = book.cash[c.OVERFLOW]


@compiled_without_lock
def run_recorded(market: MarketArrays, terms: Terms, record: Record, rule: int, parameters: Array, size: int) -> Book:
    """Run one parameter set and write everything down."""
    said = new_said(market.rows.shape[0], market.rows.shape[1], terms.sizing[KIND] != FIXED)
    return run_set(market, terms, said, record, rule, parameters, np.zeros(size))
