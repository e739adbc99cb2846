"""One row of the market at a time, for strategies that decide in Python: ``training.backtest.kernel.loop`` in phases.

The engine of rules goes through a row in one piece, because a rule has said what it wants before anything is traded. A
model's strategy sizes by equity and positions as they stand, so the row is cut where it decides: what happens until the
decision, the orders, what happens after. Every phase calls the engine's own functions in the engine's own order.
"""

from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Terms
from training.backtest.kernel.compilation import Array, compiled, entry
from training.backtest.kernel.fills import fill, mark
from training.backtest.kernel.loop import charge, close_out
from training.backtest.kernel.path import follow, match_open, undisturbed, walk

# Columns of an order, int64 [K, 6]: instrument, signed units in steps, levels and distance in ticks (0: none), and the
# worst price at which it may trade.
INSTRUMENT, UNITS, STOP, TARGET, TRAILING, BOUND = range(6)
# Course of a run, float64 [8]: whether equity is near the margin, the equity before, and what is summed up.
NEAR, BEFORE, PEAK, DRAWDOWN, TOTAL, SQUARES, EXPOSED, EXPOSURE = range(8)
COURSE = 8
BEGIN, SEND_AT_OPEN, END, SEND_AT_CLOSE, WRITE, COAST = range(6)  # phases of a row
_NEAR = 2.0  # multiple of the margin below which equity is compared with it, as in the engine


@compiled
def begin_row(market: MarketArrays, terms: Terms, book: Book, record: Record, course: Array, row: int) -> float:
    """Charge what was due, take the opening quotes, execute what they reach; return equity at these quotes."""
    desk, prices, present = book.desk, market.prices, market.present
    if market.days[row, 0] and row > 0:
        charge(market, terms, book, market.days[row, 0], row - 1)
    for n in range(len(desk)):
        if present[row, n]:
            desk[n, c.BID] = prices[row, n, c.BID_OPEN]
            desk[n, c.ASK] = prices[row, n, c.ASK_OPEN]
            if desk[n, c.GUARDED] and not undisturbed(desk, prices, row, n):
                match_open(market, terms, book, record, n, row)
    if course[NEAR] > 0.0:
        close_out(market, terms, book, record, row, c.AT_OPEN)
    return mark(market, book, row, c.AT_OPEN)[0]


@compiled
def end_row(market: MarketArrays, terms: Terms, book: Book, record: Record, row: int) -> tuple[float, float, float]:
    """Go through the bars to their closing quotes; return equity, exposure and margin there."""
    desk, trades, prices, present = book.desk, book.trades, market.prices, market.present
    for n in range(len(desk)):
        if present[row, n]:
            if desk[n, c.GUARDED]:
                if not undisturbed(desk, prices, row, n):
                    way = walk(market, terms, book, record, n, row)
                    if len(record.paths):
                        record.paths[row, n] = way
                elif desk[n, c.NEAREST]:
                    follow(trades, desk, n, int(prices[row, n, c.BID_HIGH]), int(prices[row, n, c.ASK_LOW]))
            desk[n, c.BID] = prices[row, n, c.BID_CLOSE]
            desk[n, c.ASK] = prices[row, n, c.ASK_CLOSE]
    if market.days[row, 1]:
        charge(market, terms, book, market.days[row, 1], row)
    equity, _, exposure, margin = mark(market, book, row, c.AT_CLOSE)
    if equity < _NEAR * margin and close_out(market, terms, book, record, row, c.AT_CLOSE):
        equity, _, exposure, margin = mark(market, book, row, c.AT_CLOSE)
    return equity, exposure, margin


@compiled
def send_orders(
    market: MarketArrays, terms: Terms, book: Book, record: Record, orders: Array, row: int, at_close: bool
) -> tuple[float, float, float]:
    """Execute orders at the standing quotes, those that only lower a position first; return equity, exposure, margin.

    An order is refused whole where its instrument has no bar in the row, where it would trade beyond its bound, where
    its trailing distance is outside of what the exchange takes, and for all that the engine refuses.
    """
    desk, fixed = book.desk, market.fixed
    moment, inside = (c.AT_CLOSE, 2) if at_close else (c.AT_OPEN, 0)
    lowers = [False for _ in range(len(orders))]
    for k in range(len(orders)):
        held, units = desk[orders[k, INSTRUMENT], c.HELD], orders[k, UNITS]
        lowers[k] = held * units < 0 and abs(units) <= abs(held)
    for turn in range(2):
        for k in range(len(orders)):
            if lowers[k] != (turn == 0):
                continue
            n, units, trailing, bound = orders[k, INSTRUMENT], orders[k, UNITS], orders[k, TRAILING], orders[k, BOUND]
            slip = fixed[n, c.SLIP]
            beyond = bound != 0 and ((desk[n, c.ASK] > bound) if units > 0 else (desk[n, c.BID] < bound))
            short = trailing != 0 and not fixed[n, c.SHORTEST] <= trailing <= fixed[n, c.LONGEST]
            if not market.present[row, n] or beyond or short:
                book.totals[c.REFUSED] += 1.0
                continue
            fill(
                market, terms, book, record, n, units, slip, row, moment, inside, c.SIGNAL, -1,
                orders[k, STOP], orders[k, TARGET], trailing,
            )  # fmt: skip
    equity, _, exposure, margin = mark(market, book, row, moment)
    return equity, exposure, margin


@compiled
def write_row(
    book: Book, record: Record, course: Array, row: int, equity: float, exposure: float, margin: float
) -> None:
    """Write down how a row ended."""
    before = course[BEFORE]
    net = equity / before - 1.0 if before > 0.0 else 0.0
    course[TOTAL] += net
    course[SQUARES] += net * net
    if equity > course[PEAK]:
        course[PEAK] = equity
    elif course[PEAK] - equity > course[DRAWDOWN] * course[PEAK]:
        course[DRAWDOWN] = 1.0 - equity / course[PEAK]
    if exposure > 0.0 and equity > 0.0:
        course[EXPOSED] += 1.0
        course[EXPOSURE] += exposure / equity
    course[BEFORE] = equity
    course[NEAR] = 1.0 if equity < _NEAR * margin else 0.0
    record.net[row] = net
    record.equity[row] = equity
    record.exposure[row] = exposure
    for n in range(len(book.desk)):
        record.held[row, n] = book.desk[n, c.HELD]


@entry
def go(
    market: MarketArrays,
    terms: Terms,
    book: Book,
    record: Record,
    course: Array,
    orders: Array,
    phase: int,
    row: int,
    last: int,
    equity: float,
    exposure: float,
    margin: float,
) -> tuple[float, float, float]:
    """Go through one phase of a row; one entry for all of them, since each entry is compiled with all that it calls.

    Args:
        orders: int64 [K, 6], sent in the phases ``SEND_AT_OPEN`` and ``SEND_AT_CLOSE``.
        phase: BEGIN, SEND_AT_OPEN, END, SEND_AT_CLOSE, WRITE; or COAST: all rows up to ``last`` (exclusive) without a
            decision.
        equity, exposure, margin: where the row ended, for WRITE.

    Returns:
        Equity, exposure and margin after the phase; of BEGIN the equity alone.
    """
    if phase == BEGIN:
        return begin_row(market, terms, book, record, course, row), 0.0, 0.0
    if phase == END:
        return end_row(market, terms, book, record, row)
    if phase in (SEND_AT_OPEN, SEND_AT_CLOSE):
        return send_orders(market, terms, book, record, orders, row, phase == SEND_AT_CLOSE)
    if phase == WRITE:
        write_row(book, record, course, row, equity, exposure, margin)
        return equity, exposure, margin
    for at in range(row, last):
        begin_row(market, terms, book, record, course, at)
        equity, exposure, margin = end_row(market, terms, book, record, at)
        write_row(book, record, course, at, equity, exposure, margin)
    return equity, exposure, margin
