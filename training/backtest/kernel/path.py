"""What happens inside a bar: stops, targets, trailing stops and limit orders met on the way between its four prices.

A bar does not say when its high and low were reached. The price is taken to go from the open to one extreme, to the
other and to the close, through every tick between, bid and ask in step: on a leg of ``n = max(|Δbid|, |Δask|)`` steps
the bid of step ``i`` is ``bid0 + sign·(|Δbid|·i // n)``, the ask likewise. An order is therefore executed at its own
level, at the open where the bar opens beyond it; the other side of the quote at that step is what a conversion over
the instrument itself uses. Which extreme comes first is a choice (``Terms.path``); 3, the default, takes the one
against the position first, so that of a stop and a target in one bar the stop is executed.
"""

from training.backtest.kernel import arrays as c
from training.backtest.kernel.arrays import Book, MarketArrays, Record, Terms
from training.backtest.kernel.compilation import Array, compiled, inlined, whole
from training.backtest.kernel.fills import fill, guard

HIGH_FIRST, LOW_FIRST, AGAINST = 1, 2, 3
_NEVER = 2**62


@inlined
def undisturbed(desk: Array, prices: Array, row: int, n: int) -> bool:
    """Return whether a bar touches no stop and no target of an instrument, whichever way it went."""
    if desk[n, c.LIMIT_UNITS] != 0:
        return False
    first = c.BID_OPEN if desk[n, c.HELD] > 0 else c.ASK_OPEN
    high, low = prices[row, n, first + 1], prices[row, n, first + 2]
    if low <= desk[n, c.FLOOR] or high >= desk[n, c.CEILING]:
        return False
    nearest = desk[n, c.NEAREST]
    return nearest == 0 or high - low < nearest


@compiled
def follow(trades: Array, desk: Array, n: int, bid: int, ask: int) -> None:
    """Move the trailing stops of an instrument after a quote."""
    for k in range(desk[n, c.COUNT]):
        distance = trades[n, k, c.DISTANCE]
        if distance:
            if trades[n, k, c.SIZE] > 0:
                trades[n, k, c.TRAIL_AT] = max(trades[n, k, c.TRAIL_AT], bid - distance)
            else:
                trades[n, k, c.TRAIL_AT] = min(trades[n, k, c.TRAIL_AT], ask + distance)
    guard(trades, desk, n)


@compiled
def match_open(market: MarketArrays, terms: Terms, book: Book, record: Record, n: int, row: int) -> None:
    """Execute what the open of a bar has reached, at the open: a gap costs what it costs."""
    desk, trades = book.desk, book.trades
    bid, ask = desk[n, c.BID], desk[n, c.ASK]
    units = desk[n, c.LIMIT_UNITS]
    if units != 0 and ((ask <= desk[n, c.LIMIT]) if units > 0 else (bid >= desk[n, c.LIMIT])):
        take_limit(market, terms, book, record, n, row, whole(0))
        return
    follow(trades, desk, n, bid, ask)
    k = whole(0)
    while k < desk[n, c.COUNT]:
        side = 1 if trades[n, k, c.SIZE] > 0 else -1
        price = bid if side > 0 else ask
        reason = whole(-1)
        if trades[n, k, c.STOP_AT] and side * (price - trades[n, k, c.STOP_AT]) <= 0:
            reason = c.STOP
        elif trades[n, k, c.TARGET_AT] and side * (price - trades[n, k, c.TARGET_AT]) >= 0:
            reason = c.TARGET
        elif trades[n, k, c.DISTANCE] and side * (price - trades[n, k, c.TRAIL_AT]) <= 0:
            reason = c.TRAILING
        if reason < 0:
            k += 1
        else:
            close_trade(market, terms, book, record, n, k, row, whole(0), reason)


@compiled
def close_trade(
    market: MarketArrays, terms: Terms, book: Book, record: Record, n: int, k: int, row: int, inside: int, reason: int
) -> None:
    """Execute the stop or target of one trade at the standing quote; a target is a limit and has no slippage."""
    none = whole(0)
    slippage = none if reason == c.TARGET else market.fixed[n, c.SLIP]
    units = -book.trades[n, k, c.SIZE]
    fill(market, terms, book, record, n, units, slippage, row, whole(c.AT_OPEN), inside, reason, k, none, none, none)


@compiled
def take_limit(market: MarketArrays, terms: Terms, book: Book, record: Record, n: int, row: int, inside: int) -> None:
    """Execute the limit order of an instrument at the standing quote."""
    desk = book.desk
    units = desk[n, c.LIMIT_UNITS]
    desk[n, c.LIMIT_UNITS] = 0
    fill(
        market, terms, book, record, n, units, whole(0), row, whole(c.AT_OPEN), inside, whole(c.SIGNAL), whole(-1),
        desk[n, c.LIMIT_STOP], desk[n, c.LIMIT_TARGET], desk[n, c.LIMIT_TRAILING],
    )  # fmt: skip


@compiled
def walk(market: MarketArrays, terms: Terms, book: Book, record: Record, n: int, row: int) -> int:
    """Go through the bar of one instrument; return which extreme came first."""
    prices, desk = market.prices, book.desk
    first = terms.path
    if first == AGAINST:
        side = desk[n, c.HELD] if desk[n, c.HELD] != 0 else desk[n, c.LIMIT_UNITS]
        first = LOW_FIRST if side > 0 else HIGH_FIRST
    elif first == 0:
        first = LOW_FIRST if prices[row, n, c.BID_CLOSE] >= prices[row, n, c.BID_OPEN] else HIGH_FIRST
    for turn in range(3):
        place = 3 if turn == 2 else (1 if (turn == 0) == (first == HIGH_FIRST) else 2)
        leg(
            market, terms, book, record, n, row, int(prices[row, n, c.BID_OPEN + place]),
            int(prices[row, n, c.ASK_OPEN + place]),
        )  # fmt: skip
    desk[n, c.LIMIT_UNITS] = 0  # it was good for this bar
    return first


@compiled
def leg(
    market: MarketArrays, terms: Terms, book: Book, record: Record, n: int, row: int, bid_end: int, ask_end: int
) -> None:
    """Go from the standing quote to another, executing what is met in the order it is met."""
    desk, trades = book.desk, book.trades
    bid0, ask0 = desk[n, c.BID], desk[n, c.ASK]
    bid_move, ask_move = bid_end - bid0, ask_end - ask0
    steps = max(abs(bid_move), abs(ask_move))
    now = whole(0)
    while steps and (desk[n, c.GUARDED] or desk[n, c.LIMIT_UNITS] != 0):
        soonest, what, reason = whole(_NEVER), whole(-1), whole(-1)
        for k in range(desk[n, c.COUNT]):
            if trades[n, k, c.SIZE] > 0:
                move, start, end, side = bid_move, bid0, bid_end, 1
            else:
                move, start, end, side = ask_move, ask0, ask_end, -1
            if move == 0:
                continue
            if move * side < 0:
                level, why = trades[n, k, c.STOP_AT], c.STOP
                trail = trades[n, k, c.TRAIL_AT]
                if trades[n, k, c.DISTANCE] and (level == 0 or side * (trail - level) > 0):
                    level, why = trail, c.TRAILING
                hit = level != 0 and side * (end - level) <= 0
            else:
                level, why = trades[n, k, c.TARGET_AT], c.TARGET
                hit = level != 0 and side * (end - level) >= 0
            if hit:
                at = max(_step_of(abs(level - start), steps, abs(move)), now)
                if at < soonest:
                    soonest, what, reason = at, k, why
        units = desk[n, c.LIMIT_UNITS]
        if units != 0:
            side = 1 if units > 0 else -1
            move, start, end = (ask_move, ask0, ask_end) if units > 0 else (bid_move, bid0, bid_end)
            limit = desk[n, c.LIMIT]
            if move * side < 0 and side * (end - limit) <= 0:
                at = max(_step_of(abs(limit - start), steps, abs(move)), now)
                if at < soonest:
                    soonest, what, reason = at, -1, c.SIGNAL
        if soonest == _NEVER:
            break
        now = soonest
        desk[n, c.BID] = bid0 + (abs(bid_move) * now // steps) * (1 if bid_move > 0 else -1)
        desk[n, c.ASK] = ask0 + (abs(ask_move) * now // steps) * (1 if ask_move > 0 else -1)
        if what >= 0:
            close_trade(market, terms, book, record, n, what, row, whole(1), reason)
        else:
            take_limit(market, terms, book, record, n, row, whole(1))
    desk[n, c.BID] = bid_end
    desk[n, c.ASK] = ask_end
    if desk[n, c.NEAREST]:
        follow(trades, desk, n, bid_end, ask_end)


@compiled
def _step_of(distance: int, steps: int, move: int) -> int:
    """Return the first step of a leg that is ``distance`` ticks on."""
    return (distance * steps + move - 1) // move
