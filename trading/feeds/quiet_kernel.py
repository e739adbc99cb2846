"""How many quotes of a block change nothing but bars and standing prices, and what they are as journal entries.

The conditions and the arithmetic are those of ``QuoteGuard.refusal``, ``BarBuilder.on_quote`` and
``Exchange.on_quote``, of which this is the compiled form for the case in which nothing happens.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

# Columns of the state by instrument.
NEWEST, CLOSE, TICKS, LAST, STANDING = range(5)  # int64
MIDDLE, BID_HIGH, BID_LOW, ASK_HIGH, ASK_LOW = range(5)  # float64


@numba.njit(cache=True)
def quiet_run(
    which: Integers,
    time_ns: Integers,
    bid: Floats,
    ask: Floats,
    begin: int,
    end: int,
    now_ns: int,
    until_ns: int,
    jump: float,
    bounds: Floats,
    times: Integers,
    prices: Floats,
    stamps: Integers,
) -> int:
    """Take in quotes from ``begin`` on as long as nothing can come of them; return the index of the first left over.

    Args:
        which, time_ns, bid, ask: columns of the block, [n].
        end: where to stop at the latest.
        now_ns: the session's time.
        until_ns: quotes of this time or later are left over: a step ends, or something happens at the exchange.
        jump: relative move of the middle that is believed; 0: any.
        bounds: float64 [N, 4], bid above, bid below, ask above, ask below: outside, an order may be due.
        times: int64 [N, 5], changed: guard's newest time, close of the open bar (0: none), its ticks, index of the
            newest quote taken in (-1: none), time of the exchange's standing quote.
        prices: float64 [N, 5], changed: guard's middle, highs and lows of the open bar.
        stamps: int64 [n], filled: the session's time at each quote.
    """
    now = now_ns
    for index in range(begin, end):
        name, time, low, high = which[index], time_ns[index], bid[index], ask[index]
        if time >= until_ns or time >= times[name, CLOSE]:
            return index
        if time < times[name, NEWEST] or time < times[name, STANDING]:
            return index
        # Written so that NaN fails.
        if not (low > 0.0 and low <= high and high < np.inf):
            return index
        if not (bounds[name, 0] < low and low < bounds[name, 1] and bounds[name, 2] < high and high < bounds[name, 3]):
            return index
        if jump:
            middle = (low + high) / 2.0
            if not abs(middle - prices[name, MIDDLE]) <= jump * prices[name, MIDDLE]:
                return index
            prices[name, MIDDLE] = middle
        now = max(now, time)
        stamps[index] = now
        times[name, NEWEST] = times[name, STANDING] = time
        times[name, TICKS] += 1
        times[name, LAST] = index
        if low > prices[name, BID_HIGH]:
            prices[name, BID_HIGH] = low
        elif low < prices[name, BID_LOW]:
            prices[name, BID_LOW] = low
        if high > prices[name, ASK_HIGH]:
            prices[name, ASK_HIGH] = high
        elif high < prices[name, ASK_LOW]:
            prices[name, ASK_LOW] = high
    return end


@numba.njit(cache=True)
def write_payloads(
    which: Integers, columns: Integers, begin: int, end: int, templates: Bytes, offsets: Integers, out: Bytes
) -> None:
    """Write records of quotes.

    Args:
        which: int64 [n].
        columns: int64 [4, n]: time, arrival, and the bits of bid and ask.
        begin, end: the quotes.
        templates: uint8 [N, L], the record of a quote of each instrument.
        offsets: int64 [N, 4], where the four numbers stand in it, eight bytes each, big endian.
        out: uint8 [end - begin, L], filled.
    """
    for index in range(begin, end):
        name, row = which[index], index - begin
        for byte in range(templates.shape[1]):
            out[row, byte] = templates[name, byte]
        for number in range(4):
            at, value = offsets[name, number], columns[number, index]
            for byte in range(8):
                out[row, at + byte] = (value >> (56 - 8 * byte)) & 0xFF
