"""Recursive building blocks: exponential averages, ratios, and exact sliding windows in constant time."""

from features.kernel.compilation import Floats, Integers, compiled
from features.kernel.layout import PRICES, RING_MASK


def weight(half_life: float) -> float:
    """Return the weight of the newest observation in an average of this half-life, in rows."""
    return 1.0 - 2.0 ** (-1.0 / half_life)


@compiled
def average(previous: float, value: float, newest: float) -> float:
    """Move an exponential average towards a value; the first value starts it."""
    return previous + newest * (value - previous) if previous == previous else value


@compiled
def ratio(numerator: float, denominator: float) -> float:
    """Divide; NaN where the denominator is not positive: the quantity is undefined there, not infinite."""
    return numerator / denominator if denominator > 0.0 else float("nan")


@compiled
def advance_path(
    state: Floats, counters: Integers, block: int, prefix: int, suffix: int, width: int, rows: int, move: float
) -> float:
    """Return the sum of the last ``width`` absolute returns without drift: no value is ever subtracted again.

    Blocks of ``width`` values: a window is the tail of the finished block and the head of the current one (van Herk
    1992, Gil and Werman 1993, for any associative operation). ``state[suffix:]`` holds the finished block's tail sums.
    """
    position = counters[block]
    head = move if position == 0 else state[prefix] + move
    state[prefix] = head
    if position + 1 < width:
        counters[block] = position + 1
        return head + state[suffix + position + 1]
    tail = 0.0
    for back in range(width):
        newer = state[PRICES + ((rows - back) & RING_MASK)]
        older = state[PRICES + ((rows - back - 1) & RING_MASK)]
        tail += abs(newer - older)
        state[suffix + width - 1 - back] = tail
    counters[block] = 0
    return head


@compiled
def advance_extremes(
    state: Floats,
    counters: Integers,
    block: int,
    high: int,
    low: int,
    highs: int,
    lows: int,
    width: int,
    rows: int,
    price: float,
) -> tuple[float, float]:
    """Return the highest and lowest of the last ``width`` log prices; the blocks are those of ``advance_path``."""
    position = counters[block]
    top = price if position == 0 or price > state[high] else state[high]
    bottom = price if position == 0 or price < state[low] else state[low]
    state[high] = top
    state[low] = bottom
    if position + 1 < width:
        counters[block] = position + 1
        earlier_top = state[highs + position + 1]
        earlier_bottom = state[lows + position + 1]
        return earlier_top if earlier_top > top else top, earlier_bottom if earlier_bottom < bottom else bottom
    tail_top = price
    tail_bottom = price
    for back in range(width):
        value = state[PRICES + ((rows - back) & RING_MASK)]
        tail_top = value if value > tail_top else tail_top
        tail_bottom = value if value < tail_bottom else tail_bottom
        state[highs + width - 1 - back] = tail_top
        state[lows + width - 1 - back] = tail_bottom
    counters[block] = 0
    return top, bottom
