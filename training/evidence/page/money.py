"""Charts of money: equity and drawdown out of sample, and what is left at higher costs."""

from collections.abc import Sequence
from datetime import UTC, datetime

from core.clock import to_datetime
from training.evidence.page.drawing import Board, padded, ticks
from training.evidence.paths import EquityPath
from training.evidence.robustness import Stress

_NANOSECONDS = 1e9


def equity(paths: Sequence[EquityPath]) -> str:
    """Draw equity after cost of every path, start = 1; the champion is dashed."""
    low, high = padded([1.0, *(value for path in paths for value in path.equity)])
    board = _over_time(paths, (low, high), "Equity after cost, out of sample", 280.0)
    board.grid(ticks(low, high), lambda value: f"{value:.2f}")
    board.segment(board.left, board.up(1.0), board.width - board.right, board.up(1.0), "zero")
    for path in sorted(paths, key=_layer):
        board.line(_points(path, path.equity), path.role)
    return board.svg()


def drawdown(paths: Sequence[EquityPath]) -> str:
    """Draw the deepest fall from the highest equity so far, as a share of it."""
    deepest = max(max(path.drawdown) for path in paths)
    low = -max(deepest * 1.05, 0.005)
    board = _over_time(paths, (low, 0.0), "Drawdown, out of sample", 170.0)
    board.grid(ticks(low, 0.0, 3), lambda value: f"{value:.1%}" if -low < 0.04 else f"{value:.0%}")
    for path in sorted(paths, key=_layer):
        points = _points(path, [-value for value in path.drawdown])
        if path.role == "candidate":
            board.area(points, 0.0, path.role)
        board.line(points, path.role)
    return board.svg()


def stress(values: Sequence[Stress]) -> str:
    """Draw the yearly net return at each multiple of the cost with its interval."""
    multiples = [one.multiple for one in values]
    low, high = padded([0.0, *(one.net_return_low for one in values), *(one.net_return_high for one in values)])
    board = Board(
        (min(multiples) - 0.3, max(multiples) + 0.3), (low, high), "Net return at multiples of the cost", width=480.0
    )
    board.grid(ticks(low, high), lambda value: f"{value:+.1%}" if value else "0")
    board.segment(board.left, board.up(0.0), board.width - board.right, board.up(0.0), "zero")
    board.axis(multiples, lambda value: f"{value:g} × cost")
    board.line([(one.multiple, one.net_return) for one in values], "candidate")
    for one in values:
        place = board.across(one.multiple)
        board.segment(place, board.up(one.net_return_low), place, board.up(one.net_return_high), "whisker")
        said = f"{one.net_return:+.2%} a year ({one.net_return_low:+.2%} to {one.net_return_high:+.2%})"
        board.dot(one.multiple, one.net_return, "good" if one.net_return > 0 else "bad", said, 5.0)
        board.text(place + 9, board.up(one.net_return) - 8, f"{one.net_return:+.2%}")
    return board.svg()


def _over_time(paths: Sequence[EquityPath], y: tuple[float, float], label: str, height: float) -> Board:
    """Return a board over the time of all paths, with years, or months where there are few, below it."""
    start = min(path.end_ns[0] for path in paths) / _NANOSECONDS
    end = max(path.end_ns[-1] for path in paths) / _NANOSECONDS
    board = Board((start, max(end, start + 1.0)), y, label, width=980.0, height=height)
    years = range(to_datetime(int(start * _NANOSECONDS)).year + 1, to_datetime(int(end * _NANOSECONDS)).year + 1)
    if len(years) >= 3:
        every = max(len(years) // 10, 1)
        board.axis([_start_of(year) for year in years[::every]], lambda value: f"{_at(value):%Y}", lines=True)
    else:
        marks = [start + (end - start) * part / 5 for part in range(1, 5)]
        board.axis(marks, lambda value: f"{_at(value):%Y-%m-%d}", lines=True)
    return board


def _layer(path: EquityPath) -> int:
    """Return the order of drawing: the champion, dashed, on top, so that two equal paths are seen to be two."""
    return ("baseline", "candidate", "champion").index(path.role)


def _points(path: EquityPath, values: Sequence[float]) -> list[tuple[float, float]]:
    return [(time / _NANOSECONDS, value) for time, value in zip(path.end_ns, values, strict=True)]


def _at(seconds: float) -> datetime:
    return to_datetime(int(seconds * _NANOSECONDS))


def _start_of(year: int) -> float:
    return datetime(year, 1, 1, tzinfo=UTC).timestamp()
