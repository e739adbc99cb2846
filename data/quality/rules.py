"""Which rows are wrong, and why. Every rule is vectorised and returns a mask over the rows of a batch.

A row goes to quarantine when it cannot be what the market did. What is merely unusual (a jump that stayed, a run of
equal prices, a row outside market hours) is counted and kept: hiding a crash would be worse than keeping it.
"""

import numpy as np
from numpy.typing import NDArray

from data.batch import Batch
from data.calendar import ForexCalendar

Mask = NDArray[np.bool_]

# Reasons of quarantine, in the order in which they are tried: a row has the first that fits.
MISSING_PRICE = "missing_price"
NON_POSITIVE = "non_positive"
CROSSED = "crossed"
BAD_OHLC = "bad_ohlc"
MARKET_CLOSED = "market_closed"
DUPLICATE = "duplicate"
CONFLICT = "conflict"
SPIKE = "spike"

JUMP_SCORE = 20.0  # robust standard deviations from which a return counts as a jump
SPIKE_MOVE = 0.005  # a bad print is at least this large …
SPIKE_REVERSAL = 0.2  # … and all but this share of it is taken back …
SPIKE_ROWS = 3  # … at once, within this many rows …
SPIKE_NEIGHBOURS = 20  # … and it stands out as far from this many rows on each side: in a crisis hours of 3 % are real
WICK_RATIO = 2.0  # a high or low this far from the close is a misprint, not a market
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution (Rousseeuw and Croux 1993, JASA 88, 1273)


def present_sides(batch: Batch) -> tuple[str, ...]:
    """Return which of bid and ask the batch has at all."""
    suffix = "" if batch.granularity.is_quote else "_close"
    return tuple(side for side in ("bid", "ask") if bool(np.isfinite(batch.column(f"{side}{suffix}")).any()))


def _prices(batch: Batch, side: str) -> list[NDArray[np.float64]]:
    if batch.granularity.is_quote:
        return [batch.column(side)]
    if batch.granularity.is_fixing:
        return [batch.column(f"{side}_close")]
    return [batch.column(f"{side}_{name}") for name in ("open", "high", "low", "close")]


def missing_price(batch: Batch) -> Mask:
    """Mark rows without a usable side, or with a side that is there in part."""
    whole = {side: np.isfinite(np.column_stack(_prices(batch, side))).all(axis=1) for side in ("bid", "ask")}
    some = {side: np.isfinite(np.column_stack(_prices(batch, side))).any(axis=1) for side in ("bid", "ask")}
    partial = (some["bid"] & ~whole["bid"]) | (some["ask"] & ~whole["ask"])
    if batch.granularity.is_quote or batch.granularity.is_fixing:
        return np.asarray(~(whole["bid"] & whole["ask"]), bool)
    return np.asarray(partial | ~(whole["bid"] | whole["ask"]), bool)


def non_positive(batch: Batch) -> Mask:
    """Mark rows with a price of zero or less."""
    prices = np.column_stack([column for side in ("bid", "ask") for column in _prices(batch, side)])
    return np.asarray((np.where(np.isnan(prices), 1.0, prices) <= 0).any(axis=1), bool)


def crossed(batch: Batch) -> Mask:
    """Mark rows where the ask is below the bid at any of open, high, low and close."""
    wrong = np.zeros(len(batch), bool)
    for bid, ask in zip(_prices(batch, "bid"), _prices(batch, "ask"), strict=True):
        wrong |= ask < bid  # false where a side is NaN
    return wrong


def locked(batch: Batch) -> Mask:
    """Mark rows whose closing bid and ask are equal: odd, but possible; counted and kept."""
    suffix = "" if batch.granularity.is_quote else "_close"
    if batch.granularity.is_fixing:
        return np.zeros(len(batch), bool)
    return batch.column(f"bid{suffix}") == batch.column(f"ask{suffix}")


def bad_ohlc(batch: Batch) -> Mask:
    """Mark bars whose high is not the highest or whose low is not the lowest of their prices."""
    wrong = np.zeros(len(batch), bool)
    if batch.granularity.is_quote or batch.granularity.is_fixing:
        return wrong
    for side in ("bid", "ask"):
        opening, high, low, close = _prices(batch, side)
        wrong |= (high < low) | (high < opening) | (high < close) | (low > opening) | (low > close)
    return wrong


def market_closed(batch: Batch, calendar: ForexCalendar) -> Mask:
    """Mark flat rows without a single tick while the market is closed: filler of the vendor, not market."""
    if batch.granularity.is_quote or batch.granularity.is_fixing:
        return np.zeros(len(batch), bool)
    quiet = batch.column("tick_volume") == 0
    if not quiet.any():
        return quiet
    for side in present_sides(batch):
        _, high, low, _ = _prices(batch, side)
        quiet &= high == low
    return quiet & ~_touches_session(batch, calendar)


def off_hours(batch: Batch, calendar: ForexCalendar) -> Mask:
    """Mark rows while the market is closed; counted and kept, brokers' hours differ."""
    if batch.granularity.is_fixing:
        return np.zeros(len(batch), bool)
    return ~_touches_session(batch, calendar)


def _touches_session(batch: Batch, calendar: ForexCalendar) -> Mask:
    if batch.granularity.is_quote:
        return calendar.is_open(batch.event_ns)
    return calendar.open_ns_between(batch.open_ns, batch.event_ns) > 0


def repeated(batch: Batch) -> tuple[Mask, Mask]:
    """Return masks of duplicates and of conflicts, given rows sorted by event time with ties in source order.

    Bars and fixings: a later row of the same time is a duplicate when its values are equal, else a conflict; the first
    is kept. Quotes may share a time; one is a duplicate only when it repeats another of its time and stood elsewhere
    in the source, as in a file joined twice.
    """
    same_time = np.r_[False, batch.event_ns[1:] == batch.event_ns[:-1]] if len(batch) else np.zeros(0, bool)
    if not same_time.any():
        return same_time, same_time
    equal = np.zeros(len(batch), bool)
    left, right = batch.values[1:], batch.values[:-1]
    equal[1:] = ((left == right) | (np.isnan(left) & np.isnan(right))).all(axis=1)
    if batch.granularity.is_quote:
        repeats = same_time & equal
        apart = np.cumsum(repeats & np.r_[False, np.diff(batch.row) != 1])
        # Of equal quotes in a row only those stay that stood together with the first one in the source.
        first = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(batch))))
        return repeats & (apart > apart[first]), np.zeros(len(batch), bool)
    return same_time & equal, same_time & ~equal


def closes(batch: Batch) -> NDArray[np.float64]:
    """Return one price a row for the rules on returns: the bid close, or the ask where only that is there."""
    suffix = "" if batch.granularity.is_quote else "_close"
    bid, ask = batch.column(f"bid{suffix}"), batch.column(f"ask{suffix}")
    return np.where(np.isfinite(bid), bid, ask)


def robust_scores(price: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log returns [n − 1] and their distance from the median in robust standard deviations.

    The scale is the median absolute deviation of the returns that are not zero: most ticks repeat the price, and a
    scale of zero would make every move a jump.
    """
    returns = np.diff(np.log(price))
    moving = returns[returns != 0]
    if len(moving) < 20:
        return returns, np.zeros(len(returns))
    middle = float(np.median(moving))
    scale = _MAD_TO_DEVIATION * float(np.median(np.abs(moving - middle)))
    if scale == 0:
        return returns, np.zeros(len(returns))
    return returns, np.abs(returns - middle) / scale


def spikes(batch: Batch) -> tuple[Mask, Mask]:
    """Return masks of bad prints and of jumps, given sorted rows of positive prices.

    A bad print leaves the market by a jump and comes back by the opposite one within ``SPIKE_ROWS`` rows. A jump that
    stays is the market.
    """
    rows = len(batch)
    bad, jumps = np.zeros(rows, bool), np.zeros(rows, bool)
    if rows < 3:
        return bad, jumps
    returns, scores = robust_scores(closes(batch))
    large = (scores >= JUMP_SCORE) & (np.abs(returns) >= SPIKE_MOVE)
    for away in np.flatnonzero(large).tolist():  # a handful in millions of rows
        if bad[away] or not _stands_out(returns, away):
            continue
        for back in range(away + 1, min(away + 1 + SPIKE_ROWS, rows - 1)):
            taken_back = -returns[back] / returns[away]
            if abs(taken_back - 1.0) <= SPIKE_REVERSAL and abs(returns[away : back + 1].sum()) <= SPIKE_MOVE:
                bad[away + 1 : back + 1] = True
                break
    if not (batch.granularity.is_quote or batch.granularity.is_fixing):
        for side in ("bid", "ask"):
            _, high, low, close = _prices(batch, side)
            bad |= (high > WICK_RATIO * close) | (low * WICK_RATIO < close)
    jumps[1:] = scores >= JUMP_SCORE
    return bad, jumps & ~bad


def _stands_out(returns: NDArray[np.float64], place: int) -> bool:
    """Return whether a return is as far from its neighbourhood as a jump has to be from the whole series."""
    near = returns[max(place - SPIKE_NEIGHBOURS, 0) : place + SPIKE_ROWS + SPIKE_NEIGHBOURS]
    moving = np.abs(near[near != 0])
    return bool(abs(returns[place]) >= JUMP_SCORE * np.median(moving))


def stale_rows(batch: Batch, minimum_run: int) -> tuple[int, int]:
    """Return how many rows lie in runs of at least ``minimum_run`` unchanged rows, and the longest run."""
    if len(batch) < 2:
        return 0, len(batch)
    prices = np.column_stack([column for side in present_sides(batch) for column in _prices(batch, side)])
    changed = (prices[1:] != prices[:-1]).any(axis=1)
    if not batch.granularity.is_quote and not batch.granularity.is_fixing:
        for side in present_sides(batch):
            _, high, low, _ = _prices(batch, side)
            changed |= (high != low)[1:]  # a bar that moved inside is not stale
    edges = np.r_[0, np.flatnonzero(changed) + 1, len(batch)]
    runs = np.diff(edges)
    return int(runs[runs >= minimum_run].sum()), int(runs.max())


def out_of_order(batch: Batch) -> int:
    """Return how many rows come after a later one; they are sorted in, not refused."""
    if len(batch) < 2:
        return 0
    return int((batch.event_ns[1:] < np.maximum.accumulate(batch.event_ns)[:-1]).sum())
