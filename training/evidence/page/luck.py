"""Charts of the search: where the candidate stands among all trials, and how choosing fares out of sample."""

import math
from collections.abc import Sequence

from training.evidence.page.drawing import Board, padded, signed, ticks
from training.evidence.search import SearchEvidence

_SINGLE = 40  # trials that can still be drawn one by one
_BINS = 36
_SLOTS = 46  # across, in which trials drawn one by one are stacked


def ratios(search: SearchEvidence) -> str:
    """Draw the yearly Sharpe ratios of all trials with a series, the candidate's, and what luck would show."""
    year = math.sqrt(search.steps_per_year)
    values = [ratio * year for ratio in search.ratios]
    own, luck = search.sharpe * year, search.luck * year
    low, high = padded([*values, own, luck, 0.0], 0.08)
    width = (high - low) / (_SLOTS if len(values) <= _SINGLE else _BINS)
    counts: dict[int, int] = {}
    for value in values:
        slot = int((value - low) / width)
        counts[slot] = counts.get(slot, 0) + 1
    most = max(counts.values(), default=1)
    board = Board(
        (low, high),
        (0.0, max(most * 1.3, 7.0 if len(values) <= _SINGLE else 2.0)),
        "Sharpe ratios of all trials, a year",
        width=480.0,
        height=240.0,
        top=38.0,
    )
    board.axis(ticks(low, high, 7), signed)
    if len(values) <= _SINGLE:
        for slot, count in counts.items():
            for place in range(count):
                board.dot(low + (slot + 0.5) * width, place + 0.5, "trial", "one trial", 4.5)
    else:
        board.grid([tick for tick in ticks(0.0, most, 3) if tick == int(tick)], lambda value: f"{value:.0f}")
        for slot, count in counts.items():
            left = low + slot * width
            said = f"{count} trials from {left:+.2f} to {left + width:+.2f}"
            board.bar(left, left + width * 0.92, 0.0, count, "trial", said)
    board.segment(board.left, board.up(0.0), board.width - board.right, board.up(0.0), "zero")
    _mark(board, luck, f"luck {luck:+.2f}", "luck", 0)
    _mark(board, own, f"candidate {own:+.2f}", "candidate", 1)
    return board.svg()


def _mark(board: Board, value: float, said: str, kind: str, row: int) -> None:
    """Draw a vertical line with its name above the chart, the names in rows so that they never meet."""
    place = board.across(value)
    board.segment(place, 8.0 + 15.0 * row, place, board.up(0.0), f"mark {kind}")
    left = place < board.width * 0.7
    board.text(place + (5 if left else -5), 17.0 + 15.0 * row, said, "start" if left else "end", f"name {kind}")


def logits(search: SearchEvidence) -> str:
    """Draw the logit of the chosen trial's rank in the other half of the time, over all splits."""
    histogram = search.logits
    if histogram is None:
        return ""
    total = sum(histogram.counts)
    shares = [count / total for count in histogram.counts]
    low, high = histogram.edges[0], histogram.edges[-1]
    board = Board(
        (low, high), (0.0, max(shares) * 1.25), "Logits of the chosen trial's rank", width=480.0, height=240.0
    )
    board.grid(ticks(0.0, max(shares), 4), lambda value: f"{value:.0%}")
    board.axis(ticks(low, high, 6), signed)
    edges: Sequence[tuple[float, float]] = list(zip(histogram.edges[:-1], histogram.edges[1:], strict=True))
    for (left, right), share, count in zip(edges, shares, histogram.counts, strict=True):
        if count:
            kind = "bad" if right <= 0.0 or left < -1e-12 else "good"
            said = f"{count:,} of {total:,} splits from {left:+.2f} to {right:+.2f}"
            board.bar(left, left + (right - left) * 0.94, 0.0, share, kind, said)
    board.segment(board.across(0.0), board.top, board.across(0.0), board.up(0.0), "mark luck")
    return board.svg()
