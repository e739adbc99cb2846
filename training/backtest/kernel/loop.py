"""The loop over bars: one parameter set, all instruments, the same order of events as the trading loop has.

Per row: financing due before the open → open quotes, and what they execute → the decisions made at the row before, at
these quotes → the way through each bar → closing quotes → financing due by the close → margin → the rule takes the bars
in → equity. With ``at_close`` the decisions of a row trade at its own closing quotes instead.

Margin is looked at when a bar opens and when it closes, not between.
"""

from trading.strategy.rules.columns import Signal
from trading.strategy.rules.order import FIXED, KIND, plan_order, wanted_units
from trading.strategy.rules.order import Terms as InstrumentTerms
from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Said, Terms
from training.backtest.kernel.compilation import Array, compiled, inlined, whole
from training.backtest.kernel.fills import MONEY, factors_of, fill, mark
from training.backtest.kernel.money import financing_money
from training.backtest.kernel.path import follow, match_open, undisturbed, walk
from training.backtest.kernel.signals import GUARDED, NOTHING

_NEAR = 2.0  # multiple of the margin below which equity is compared with it exactly


@compiled
def run_rows(market: MarketArrays, terms: Terms, said: Said, book: Book, record: Record, plans: Array) -> None:
    """Trade what a rule has said.

    Most rows change nothing but what the positions are worth: no decision leads to an order and no bar touches a stop.
    They are only marked; the others are gone through in ``busy_row``.

    Args:
        market, terms, said: not changed.
        book: a new one; holds the end state and the sums.
        record: what is written down.
        plans: int64 [N, 5], room for a row's orders.
    """
    prices, present, days, words, weights = market.prices, market.present, market.days, said.words, said.weights
    fixed, scales, middles = market.fixed, market.scales, market.middles
    desk, trades, cash, totals = book.desk, book.trades, book.cash, book.totals
    nets, equities, exposures, held_rows = record.net, record.equity, record.exposure, record.held
    sizing, first, at_close = terms.sizing, terms.first, terms.at_close
    count = len(desk)
    by_volatility = sizing[KIND] != FIXED
    near = len(prices) < 0  # no constant to the compiler
    before = peak = cash[c.BALANCE] * MONEY
    equity = before
    drawdown = total = squares = exposed = exposure_sum = 0.0
    for row in range(len(prices)):
        speaker = row if at_close else row - 1  # the row whose decisions trade now
        busy = near or days[row, 0] != 0 or days[row, 1] != 0
        for n in range(count):
            if speaker >= first and words[speaker, n] != NOTHING:
                wanted = int(weights[speaker, n] * scales[n, c.FULL])
                busy = busy or by_volatility or wanted != desk[n, c.HELD]
            if (desk[n, c.GUARDED] or desk[n, c.LIMIT_UNITS] != 0) and present[row, n]:
                if not undisturbed(desk, prices, row, n):
                    busy = True
                elif desk[n, c.NEAREST] and not busy:
                    follow(trades, desk, n, int(prices[row, n, c.BID_HIGH]), int(prices[row, n, c.ASK_LOW]))
        if busy:
            equity, exposure, margin = busy_row(market, terms, said, book, record, plans, row, near)
        else:
            equity = cash[c.BALANCE] * MONEY
            exposure = margin = 0.0
            for n in range(count):
                if present[row, n]:
                    desk[n, c.BID] = prices[row, n, c.BID_CLOSE]
                    desk[n, c.ASK] = prices[row, n, c.ASK_CLOSE]
                held = desk[n, c.HELD]
                if held != 0:  # the same arithmetic as ``mark``
                    bid, ask = float(desk[n, c.BID]), float(desk[n, c.ASK])
                    middle = 0.5 * (bid + ask)
                    scale = scales[n, c.TICK] * scales[n, c.STEP]
                    if fixed[n, c.ROUTE] == c.OWN:
                        scale = scales[n, c.STEP] / middle
                    elif fixed[n, c.ROUTE] == c.OTHER:
                        scale *= middles[row, c.AT_CLOSE, n]
                    equity += (held * (bid if held > 0 else ask) - desk[n, c.PAID]) * scale
                    worth = abs(held) * middle * scale
                    exposure += worth
                    margin += worth * scales[n, c.MARGIN_RATE]
        near = equity < _NEAR * margin
        net = equity / before - 1.0 if before > 0.0 else 0.0
        total += net
        squares += net * net
        if equity > peak:
            peak = equity
        elif peak - equity > drawdown * peak:
            drawdown = 1.0 - equity / peak
        if exposure > 0.0 and equity > 0.0:
            exposed += 1.0
            exposure_sum += exposure / equity
        before = equity
        if len(nets):
            nets[row] = net
        if len(equities):
            equities[row] = equity
            exposures[row] = exposure
            for n in range(count):
                held_rows[row, n] = desk[n, c.HELD]
    totals[c.SUM_RETURNS], totals[c.SUM_SQUARES] = total, squares
    totals[c.PEAK], totals[c.DRAWDOWN] = peak, drawdown
    totals[c.EXPOSED], totals[c.EXPOSURE] = exposed, exposure_sum
    totals[c.STEPS] = len(prices) - first
    totals[c.EQUITY], totals[c.CASH] = equity, cash[c.BALANCE] * MONEY
    totals[c.RUINED] = 1.0 if equity <= 0.0 else 0.0


@inlined
def busy_row(
    market: MarketArrays, terms: Terms, said: Said, book: Book, record: Record, plans: Array, row: int, near: bool
) -> tuple[float, float, float]:
    """Go through a row with all that may happen in it; return equity, exposure and margin at its close."""
    prices, present, days = market.prices, market.present, market.days
    desk, trades, paths = book.desk, book.trades, record.paths
    count = len(desk)
    if days[row, 0] and row > 0:
        charge(market, terms, book, days[row, 0], row - 1)
    for n in range(count):
        if present[row, n]:
            desk[n, c.BID] = prices[row, n, c.BID_OPEN]
            desk[n, c.ASK] = prices[row, n, c.ASK_OPEN]
            if (desk[n, c.GUARDED] or desk[n, c.LIMIT_UNITS] != 0) and not undisturbed(desk, prices, row, n):
                match_open(market, terms, book, record, n, row)
    if near:
        close_out(market, terms, book, record, row, whole(c.AT_OPEN))
    if not terms.at_close and row > terms.first:
        trade(market, terms, said, book, record, plans, row - 1, row, whole(c.AT_OPEN))
    for n in range(count):
        if present[row, n]:
            if desk[n, c.GUARDED] or desk[n, c.LIMIT_UNITS] != 0:
                if not undisturbed(desk, prices, row, n):
                    way = walk(market, terms, book, record, n, row)
                    if len(paths):
                        paths[row, n] = way
                elif desk[n, c.NEAREST]:
                    follow(trades, desk, n, int(prices[row, n, c.BID_HIGH]), int(prices[row, n, c.ASK_LOW]))
            desk[n, c.BID] = prices[row, n, c.BID_CLOSE]
            desk[n, c.ASK] = prices[row, n, c.ASK_CLOSE]
    if days[row, 1]:
        charge(market, terms, book, days[row, 1], row)
    equity, _, exposure, margin = mark(market, book, row, c.AT_CLOSE)
    closed = equity < _NEAR * margin and close_out(market, terms, book, record, row, whole(c.AT_CLOSE))
    if terms.at_close and row >= terms.first:
        trade(market, terms, said, book, record, plans, row, row, whole(c.AT_CLOSE))
        closed = True
    if closed:
        equity, _, exposure, margin = mark(market, book, row, c.AT_CLOSE)
    return equity, exposure, margin


@compiled
def charge(market: MarketArrays, terms: Terms, book: Book, days: int, row: int) -> float:
    """Charge financing for what is held, at the standing quotes (of the close of ``row``); return the sum."""
    desk, trades, costs, fixed = book.desk, book.trades, book.costs, market.fixed
    before = book.cash[c.BALANCE]
    for n in range(len(desk)):
        if desk[n, c.COUNT] == 0:
            continue
        bid, ask = desk[n, c.BID], desk[n, c.ASK]
        gain, loss = factors_of(fixed, market.factors, n, row, c.AT_CLOSE, bid, ask)
        for k in range(desk[n, c.COUNT]):
            units = trades[n, k, c.SIZE]
            rate = fixed[n, c.RATE_LONG if units > 0 else c.RATE_SHORT]
            amount = financing_money(
                abs(units), bid, ask, gain, loss, rate, terms.financing_decimals, days, fixed[n, c.DECIMALS]
            )
            book.cash[c.BALANCE] += amount
            costs[n, k, c.FINANCING] += amount * MONEY
    total = (book.cash[c.BALANCE] - before) * MONEY
    book.totals[c.FINANCED] += total
    return total


@compiled
def close_out(market: MarketArrays, terms: Terms, book: Book, record: Record, row: int, moment: int) -> bool:
    """Close everything that trades in this row if equity at the middle is below half of the margin."""
    desk = book.desk
    _, value, _, margin = mark(market, book, row, moment)
    if margin == 0.0 or value > 0.5 * margin:
        return False
    none = whole(0)
    inside = none if moment == c.AT_OPEN else whole(2)
    for n in range(len(desk)):
        while desk[n, c.COUNT] and market.present[row, n]:
            units, slippage = -book.trades[n, 0, c.SIZE], market.fixed[n, c.SLIP]
            fill(
                market,
                terms,
                book,
                record,
                n,
                units,
                slippage,
                row,
                moment,
                inside,
                whole(c.MARGIN),
                none,
                none,
                none,
                none,
            )
        desk[n, c.LIMIT_UNITS] = 0
    return True


@inlined
def trade(
    market: MarketArrays,
    terms: Terms,
    said: Said,
    book: Book,
    record: Record,
    plans: Array,
    speaker: int,
    row: int,
    moment: int,
) -> None:
    """Turn what was said at a row, ``speaker``, into orders and execute them: what only lowers a position first."""
    desk, fixed, scales, distances = book.desk, market.fixed, market.scales, said.distances
    count = len(desk)
    by_volatility = terms.sizing[KIND] != FIXED
    equity, rate, volatility = 0.0, 0.0, 0.0
    if by_volatility:
        equity, _, _, _ = mark(market, book, row, moment)
    left = 0
    for n in range(count):
        plans[n, 0] = 0
        word = said.words[speaker, n]
        if word == NOTHING or not market.present[row, n]:
            continue
        weight = said.weights[speaker, n]
        held = desk[n, c.HELD]
        if by_volatility:
            rate, volatility = market.bases[row, moment, n], said.volatilities[speaker, n]
        wanted = wanted_units(
            terms.sizing, weight, volatility, equity, rate, held, scales[n, c.FULL], scales[n, c.STEP]
        )
        if wanted == held:
            continue
        signal = Signal(weight, 0.0, 0.0, 0.0, 0.0)
        if word == GUARDED:
            signal = Signal(
                weight,
                distances[speaker, n, 0],
                distances[speaker, n, 1],
                distances[speaker, n, 2],
                distances[speaker, n, 3],
            )
        plan = plan_order(
            signal,
            wanted,
            held,
            desk[n, c.BID],
            desk[n, c.ASK],
            InstrumentTerms(
                scales[n, c.TICK],
                fixed[n, c.SHORTEST],
                fixed[n, c.LONGEST],
                fixed[n, c.MINIMUM],
                fixed[n, c.MAXIMUM],
            ),
        )
        plans[n, 0], plans[n, 1], plans[n, 2] = plan.units, plan.limit, plan.stop
        plans[n, 3], plans[n, 4] = plan.target, plan.trailing
        left += 1 if plan.units != 0 else 0
    none = whole(0)
    inside = none if moment == c.AT_OPEN else whole(2)
    for turn in range(2 if left else 0):
        for n in range(count):
            units = plans[n, 0]
            held = desk[n, c.HELD]
            lowers = held * units < 0 and abs(units) <= abs(held)
            if units == 0 or lowers != (turn == 0):
                continue
            plans[n, 0] = 0
            if plans[n, 1]:
                desk[n, c.LIMIT_UNITS], desk[n, c.LIMIT] = units, plans[n, 1]
                desk[n, c.LIMIT_STOP], desk[n, c.LIMIT_TARGET] = plans[n, 2], plans[n, 3]
                desk[n, c.LIMIT_TRAILING] = plans[n, 4]
            else:
                fill(
                    market, terms, book, record, n, units, fixed[n, c.SLIP], row, moment, inside, whole(c.SIGNAL),
                    whole(-1),
                    plans[n, 2], plans[n, 3], plans[n, 4],
                )  # fmt: skip
