"""What the kernel works on, as named groups of arrays."""

from typing import NamedTuple

from training.backtest.kernel.compilation import Array

BID_OPEN, BID_HIGH, BID_LOW, BID_CLOSE, ASK_OPEN, ASK_HIGH, ASK_LOW, ASK_CLOSE = range(8)  # columns of the prices
HOME, OWN, OTHER = range(3)  # how a quote currency comes home: it is home, over the instrument itself, over others
AT_OPEN, AT_CLOSE = range(2)  # moments of the conversion factors
SIGNAL, STOP, TARGET, TRAILING, MARGIN, OPEN = range(6)  # why a trade ended; OPEN: it did not

# Columns of a recorded trade, int64 and float64. ``PROFIT`` is money after rounding, without costs of its own.
INSTRUMENT, UNITS, ENTRY_ROW, ENTRY_INSIDE, EXIT_ROW, EXIT_INSIDE, ENTRY, EXIT, PROFIT, REASON = range(10)
SPREAD_COST, SLIPPAGE_COST, COMMISSION_COST, FINANCING = range(4)

# Sums over a run, float64.
(
    SUM_RETURNS,
    SUM_SQUARES,
    PEAK,
    DRAWDOWN,
    TRADES,
    WINS,
    GROSS_PROFIT,
    GROSS_LOSS,
    TRADED,
    SPREAD,
    SLIPPAGE,
    COMMISSION,
    FINANCED,
    REFUSED,
    EXPOSED,
    EXPOSURE,
    STEPS,
    RUINED,
    EQUITY,
    CASH,
) = range(20)
TOTALS = 20


# Columns of the terms of an instrument: int64 [N, 11] (ticks, steps of a unit, rates of 10^-decimals), float64 [N, 4].
(
    ROUTE,
    DECIMALS,
    PRICE_DECIMALS,
    SHORTEST,
    LONGEST,
    MINIMUM,
    MAXIMUM,
    SLIP,
    LIQUIDITY,
    RATE_LONG,
    RATE_SHORT,
) = range(11)
TICK, STEP, MARGIN_RATE, FULL = range(4)  # FULL: steps of a position of full weight where the size is fixed

# Columns of an open trade, int64 [N, K, 8]: signed units; levels in ticks, 0 for none; where it was opened.
SIZE, PRICE, STOP_AT, TARGET_AT, TRAIL_AT, DISTANCE, ROW, INSIDE = range(8)
TRADE = 8

# Columns of what stands in an instrument, int64 [N, 15]. ``HELD`` signed units, ``PAID`` the sum of units times price.
# ``FLOOR`` and ``CEILING``: prices of the closing side that touch no order lie between them; ``NEAREST`` the shortest
# trailing distance (0: none).
(
    COUNT,
    HELD,
    PAID,
    BID,
    ASK,
    GUARDED,
    FLOOR,
    CEILING,
    NEAREST,
    LIMIT_UNITS,
    LIMIT,
    LIMIT_STOP,
    LIMIT_TARGET,
    LIMIT_TRAILING,
) = range(14)
DESK = 14
NO_FLOOR, NO_CEILING = -1, 2**62

BALANCE, RECORDED, OVERFLOW = range(3)  # of the cash, int64 [3]: money, trades so far, more open than there is room


class MarketArrays(NamedTuple):
    """The market and the terms of its instruments: T rows, N instruments.

    ``rows`` float64 [T, N, 9 or more] is what rules see; ``prices`` int32 [T, N, 8] in ticks what is traded at;
    ``present`` uint8 [T, N]: whether there is a bar. ``factors`` int64 [T, 2, N, 2]: at open and close, of gain and
    loss, for instruments with route OTHER. float64 [T, 2, N], at open and close, over middle prices: ``middles``, the
    worth of one unit of the quote currency, and ``bases``, of the base currency. ``days`` int64 [T, 2]: days of
    financing charged before the open and at the close. ``fixed`` int64 [N, 11], ``scales`` float64 [N, 4].
    """

    rows: Array
    prices: Array
    present: Array
    factors: Array
    middles: Array
    bases: Array
    days: Array
    fixed: Array
    scales: Array


class Said(NamedTuple):
    """What the rule says at each bar: ``words`` uint8 [T, N]; where they say so, ``weights`` float64 [T, N] and
    ``distances`` float64 [T, N, 4] of stop, target, trailing stop and limit; ``volatilities`` float64 [T, N] or [0, 0].
    """

    words: Array
    weights: Array
    distances: Array
    volatilities: Array


class Terms(NamedTuple):
    """Terms of the account and of execution.

    ``balance`` is money; rates are whole numbers of 10^-decimals; ``sizing`` float64 [7]. ``path``: 0 by the bar's
    direction, 1 high first, 2 low first, 3 against the position. ``at_close``: whether decisions trade at the close
    they are made on. ``first`` row that is traded.
    """

    balance: int
    commission: int
    commission_decimals: int
    financing_decimals: int
    sizing: Array
    path: int
    at_close: bool
    first: int


class Book(NamedTuple):
    """State of one run: ``trades`` open, by instrument, oldest first; their ``costs`` float64 [N, K, 4]; the rest as
    the columns above say; ``totals`` float64 [TOTALS].
    """

    trades: Array
    costs: Array
    desk: Array
    cash: Array
    totals: Array


class Record(NamedTuple):
    """Where a run is written down; empty arrays take nothing.

    ``numbers`` int64 [R, 10], ``amounts`` float64 [R, 4] of trades; float64 [T]: ``equity``, ``exposure``, ``net``;
    ``held`` int64 [T, N]; ``paths`` int8 [T, N] (1 high first, 2 low first).
    """

    numbers: Array
    amounts: Array
    equity: Array
    exposure: Array
    net: Array
    held: Array
    paths: Array
