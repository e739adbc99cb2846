"""Executing an order at the standing quote: the rules of ``trading.matching.execution`` and ``fills`` for one account.

A buy trades at the ask, a sell at the bid, worse by the slippage. An opposite fill closes the oldest trades first, the
rest opens a trade. What would open more than the margin covers, whose stop is reached already or that is larger than
the quote is refused whole. Profit of each closed part and commission of each fill are rounded to money on their own.

Functions take arrays out of their groups once, at the top: each time numba takes one out it counts who holds it.
"""

from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Terms
from training.backtest.kernel.compilation import Array, compiled, entry, inlined
from training.backtest.kernel.money import (
    FACTOR_DECIMALS,
    FACTOR_ONE,
    commission_money,
    power,
    profit_money,
    rounded_quotient,
)

MONEY = 1e-4


@entry
def factors_of(fixed: Array, factors: Array, n: int, row: int, moment: int, bid: int, ask: int) -> tuple[int, int]:
    """Return the conversion factors of a gain and of a loss in an instrument's quote currency."""
    route = fixed[n, c.ROUTE]
    if route == c.HOME:
        return FACTOR_ONE, FACTOR_ONE
    if route == c.OWN:
        unit = power(FACTOR_DECIMALS + fixed[n, c.PRICE_DECIMALS])
        return rounded_quotient(unit, ask), rounded_quotient(unit, bid)
    return factors[row, moment, n, 0], factors[row, moment, n, 1]


@inlined
def mark(market: MarketArrays, book: Book, row: int, moment: int) -> tuple[float, float, float, float]:
    """Return equity at the closing side and at the middle, gross exposure and margin; converted at middle prices."""
    desk, fixed, scales, middles = book.desk, market.fixed, market.scales, market.middles
    equity = middle_equity = book.cash[c.BALANCE] * MONEY
    exposure = margin = 0.0
    for n in range(len(desk)):
        held = desk[n, c.HELD]
        if held == 0:
            continue
        bid, ask = float(desk[n, c.BID]), float(desk[n, c.ASK])
        middle = 0.5 * (bid + ask)
        scale = scales[n, c.TICK] * scales[n, c.STEP]
        if fixed[n, c.ROUTE] == c.OWN:
            scale = scales[n, c.STEP] / middle
        elif fixed[n, c.ROUTE] == c.OTHER:
            scale *= middles[row, moment, n]
        paid = desk[n, c.PAID]
        equity += (held * (bid if held > 0 else ask) - paid) * scale
        middle_equity += (held * middle - paid) * scale
        size = abs(held) * middle * scale
        exposure += size
        margin += size * scales[n, c.MARGIN_RATE]
    return equity, middle_equity, exposure, margin


@compiled
def fill(
    market: MarketArrays,
    terms: Terms,
    book: Book,
    record: Record,
    n: int,
    units: int,
    slippage: int,
    row: int,
    moment: int,
    inside: int,
    reason: int,
    only: int,
    stop: int,
    target: int,
    trailing: int,
) -> bool:
    """Execute ``units`` (signed) at the standing quote; return whether it was not refused.

    Args:
        slippage: ticks worse than the quote.
        row: of the bar.
        moment: AT_OPEN or AT_CLOSE, for conversion over other instruments.
        inside: 0 at the open of the bar, 1 inside, 2 at its close.
        reason: why a trade that it closes ended.
        only: index of the one trade to close; −1: the oldest first, and the rest opens a trade.
        stop, target: levels in ticks of the new trade; 0 for none.
        trailing: distance of its trailing stop in ticks; 0 for none.
    """
    desk, fixed, trades, costs = book.desk, market.fixed, book.trades, book.costs
    cash, totals, scales = book.cash, book.totals, market.scales
    bid, ask, held = desk[n, c.BID], desk[n, c.ASK], desk[n, c.HELD]
    size, side = abs(units), 1 if units > 0 else -1
    closing = min(size, abs(held)) if held * side < 0 else 0
    opening = size - closing
    decimals = fixed[n, c.DECIMALS]
    gain, loss = factors_of(fixed, market.factors, n, row, moment, bid, ask)
    value = 0.5 * (gain + loss) * scales[n, c.TICK] * scales[n, c.STEP] / FACTOR_ONE
    commission = commission_money(size, bid, ask, gain, loss, terms.commission, terms.commission_decimals, decimals)
    if only < 0:
        refused = size > fixed[n, c.LIQUIDITY]
        if opening and not refused:
            if side > 0:
                refused = (stop != 0 and bid <= stop) or (target != 0 and bid >= target)
            else:
                refused = (stop != 0 and ask >= stop) or (target != 0 and ask <= target)
            largest = max(abs(held) - closing, opening) if closing else abs(held) + opening
            if largest > abs(held) and not refused:
                equity, _, _, margin = mark(market, book, row, moment)
                more = (largest - abs(held)) * 0.5 * (bid + ask) * value * scales[n, c.MARGIN_RATE]
                cost = (ask - bid) * opening * value + MONEY * commission
                refused = margin + more > equity - cost
        if refused:
            totals[c.REFUSED] += 1.0
            return False
    price = (ask if side > 0 else bid) + side * slippage
    half = 0.5 * (ask - bid) * value
    slipped = slippage * value
    share = commission * MONEY / size
    cash[c.BALANCE] -= commission
    totals[c.SPREAD] += half * size
    totals[c.SLIPPAGE] += slipped * size
    totals[c.COMMISSION] += commission * MONEY
    totals[c.TRADED] += size * 0.5 * (bid + ask) * value
    rest = size
    k = max(only, 0)
    while rest and k < desk[n, c.COUNT] and trades[n, k, c.SIZE] * side < 0:
        mine = trades[n, k, c.SIZE]
        part = min(rest, abs(mine))
        signed = -side * part
        profit = profit_money((price - trades[n, k, c.PRICE]) * signed, gain, loss, decimals)
        cash[c.BALANCE] += profit
        desk[n, c.PAID] -= signed * trades[n, k, c.PRICE]
        fraction = part / abs(mine)
        commission_cost = costs[n, k, c.COMMISSION_COST] * fraction + share * part
        financing = costs[n, k, c.FINANCING] * fraction
        net = profit * MONEY - commission_cost + financing
        totals[c.TRADES] += 1.0
        if net > 0.0:
            totals[c.WINS] += 1.0
            totals[c.GROSS_PROFIT] += net
        else:
            totals[c.GROSS_LOSS] -= net
        place = cash[c.RECORDED]
        cash[c.RECORDED] = place + 1
        if place < len(record.numbers):
            write_trade(record, place, n, trades, k, signed, row, inside, price, profit, reason)
            record.amounts[place, c.SPREAD_COST] = costs[n, k, c.SPREAD_COST] * fraction + half * part
            record.amounts[place, c.SLIPPAGE_COST] = costs[n, k, c.SLIPPAGE_COST] * fraction + slipped * part
            record.amounts[place, c.COMMISSION_COST] = commission_cost
            record.amounts[place, c.FINANCING] = financing
        rest -= part
        if part == abs(mine):
            drop(trades, costs, desk, n, k)
        else:
            trades[n, k, c.SIZE] -= signed
            for column in range(4):
                costs[n, k, column] *= 1.0 - fraction
        if only >= 0:
            break
    desk[n, c.HELD] = held + side * (size - rest)
    if rest and only < 0:
        k = desk[n, c.COUNT]
        if k == trades.shape[1]:
            cash[c.OVERFLOW] = 1
            return False
        trades[n, k, c.SIZE] = side * rest
        trades[n, k, c.PRICE] = price
        trades[n, k, c.STOP_AT] = stop
        trades[n, k, c.TARGET_AT] = target
        # A trailing stop begins at the side that closes the trade.
        trades[n, k, c.TRAIL_AT] = (bid - trailing if side > 0 else ask + trailing) if trailing else 0
        trades[n, k, c.DISTANCE] = trailing
        trades[n, k, c.ROW] = row
        trades[n, k, c.INSIDE] = inside
        costs[n, k, c.SPREAD_COST] = half * rest
        costs[n, k, c.SLIPPAGE_COST] = slipped * rest
        costs[n, k, c.COMMISSION_COST] = share * rest
        costs[n, k, c.FINANCING] = 0.0
        desk[n, c.PAID] += side * rest * price
        desk[n, c.HELD] += side * rest
        desk[n, c.COUNT] = k + 1
    guard(trades, desk, n)
    return True


@inlined
def write_trade(
    record: Record,
    place: int,
    n: int,
    trades: Array,
    k: int,
    units: int,
    row: int,
    inside: int,
    price: int,
    profit: int,
    reason: int,
) -> None:
    """Write a closed (part of a) trade down, all but its costs."""
    numbers = record.numbers
    numbers[place, c.INSTRUMENT] = n
    numbers[place, c.UNITS] = units
    numbers[place, c.ENTRY_ROW] = trades[n, k, c.ROW]
    numbers[place, c.ENTRY_INSIDE] = trades[n, k, c.INSIDE]
    numbers[place, c.EXIT_ROW] = row
    numbers[place, c.EXIT_INSIDE] = inside
    numbers[place, c.ENTRY] = trades[n, k, c.PRICE]
    numbers[place, c.EXIT] = price
    numbers[place, c.PROFIT] = profit
    numbers[place, c.REASON] = reason


@inlined
def drop(trades: Array, costs: Array, desk: Array, n: int, k: int) -> None:
    """Take a trade that is closed out of the book."""
    last = desk[n, c.COUNT] - 1
    for i in range(k, last):
        for column in range(trades.shape[2]):
            trades[n, i, column] = trades[n, i + 1, column]
        for column in range(costs.shape[2]):
            costs[n, i, column] = costs[n, i + 1, column]
    desk[n, c.COUNT] = last


@inlined
def guard(trades: Array, desk: Array, n: int) -> None:
    """Find the prices of the closing side between which no stop or target of an instrument is touched."""
    floor, ceiling, nearest, guarded = c.NO_FLOOR, c.NO_CEILING, 0, 0
    for k in range(desk[n, c.COUNT]):
        stop, target, distance = trades[n, k, c.STOP_AT], trades[n, k, c.TARGET_AT], trades[n, k, c.DISTANCE]
        if not (stop or target or distance):
            continue
        guarded = 1
        long = trades[n, k, c.SIZE] > 0
        if distance:
            nearest = distance if nearest == 0 else min(nearest, distance)
            trail = trades[n, k, c.TRAIL_AT]
            stop = trail if stop == 0 else (max(stop, trail) if long else min(stop, trail))
        below, above = (stop, target) if long else (target, stop)
        floor = max(floor, below) if below else floor
        ceiling = min(ceiling, above) if above else ceiling
    desk[n, c.GUARDED] = guarded
    desk[n, c.FLOOR] = floor
    desk[n, c.CEILING] = ceiling
    desk[n, c.NEAREST] = nearest
