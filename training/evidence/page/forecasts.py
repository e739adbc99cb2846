"""Charts of forecasts: reliability of each class, skill by fold and regime, features that moved."""

from collections.abc import Sequence

from training.evidence.calibration import ClassCalibration
from training.evidence.drift import Drift
from training.evidence.page.drawing import Board, padded, ticks

_HEAD = 0.22  # of a reliability diagram is for the row counts


def reliability(name: str, found: ClassCalibration) -> str:
    """Draw what was said against what happened, with intervals, and the number of rows of each bin above."""
    start, end = padded([one.forecast for one in found.bins], 0.1)
    low, high = padded([value for one in found.bins for value in (one.forecast, one.low, one.high)], 0.05)
    low, high = max(low, 0.0), min(high, 1.0)
    top = high + (high - low) * _HEAD / (1.0 - _HEAD)
    board = Board((start, end), (low, top), f"Reliability of {name}", width=330.0, height=300.0, left=46.0, right=10.0)
    board.grid(ticks(low, high, 4), lambda value: f"{value:.3g}")
    board.axis(ticks(start, end, 4), lambda value: f"{value:.3g}")
    first, last = max(start, low), min(end, high)
    if last > first:
        board.line([(first, first), (last, last)], "ideal")
    most = max(one.rows for one in found.bins)
    width = (end - start) * 0.012
    for one in found.bins:
        tall = (top - high) * 0.8 * one.rows / most
        board.bar(one.forecast - width, one.forecast + width, top - tall, top, "trial", f"{one.rows:,} rows")
        place = board.across(one.forecast)
        board.segment(place, board.up(one.low), place, board.up(one.high), "whisker")
    board.line([(one.forecast, one.frequency) for one in found.bins], "candidate thin")
    for one in found.bins:
        said = f"said {one.forecast:.1%}, happened {one.frequency:.1%} ({one.low:.1%} to {one.high:.1%})"
        board.dot(one.forecast, one.frequency, "candidate", f"{said}, {one.rows:,} rows", 3.5)
    return board.svg()


def bars(names: Sequence[str], values: Sequence[float], label: str, digits: int = 2) -> str:
    """Draw horizontal bars from zero, good to the right and bad to the left, each with its figure."""
    low, high = padded([0.0, *values], 0.02)
    air = (high - low) * 0.16
    board = Board(
        (low - (air if min(values) < 0 else 0.0), high + (air if max(values) > 0 else 0.0)), (len(values), 0.0), label,
        width=480.0, height=24.0 * len(values) + 14.0, left=166.0, top=4.0, bottom=10.0,
    )  # fmt: skip
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        middle = board.up(row + 0.5)
        board.text(board.left - 10, middle + 4, name, "end")
        board.bar(0.0, value, row + 0.2, row + 0.8, "good" if value > 0 else "bad", f"{name}: {value:+.{digits}%}")
        side = 6 if value >= 0 else -6
        board.text(board.across(value) + side, middle + 4, f"{value:+.{digits}%}", "start" if value >= 0 else "end")
    board.segment(board.across(0.0), board.top, board.across(0.0), board.height - board.bottom, "zero")
    return board.svg()


def moved(drift: Drift) -> str:
    """Draw the index of each feature that moved, with the mark that 95 % of its own past stays below."""
    if not drift.moved:
        return ""
    largest = max(max(one.index, one.threshold) for one in drift.moved)
    board = Board(
        (0.0, largest * 1.18), (len(drift.moved), 0.0), "Features that moved", height=24.0 * len(drift.moved) + 14.0,
        width=480.0, left=180.0, top=4.0, bottom=10.0,
    )  # fmt: skip
    for row, one in enumerate(drift.moved):
        middle = board.up(row + 0.5)
        board.text(board.left - 10, middle + 4, one.feature, "end")
        said = f"{one.feature}: index {one.index:.3f}, 95 % of its past below {one.threshold:.3f}"
        board.bar(0.0, one.index, row + 0.2, row + 0.8, "trial", said)
        place = board.across(one.threshold)
        board.segment(place, board.up(row + 0.1), place, board.up(row + 0.9), "mark luck")
        board.text(board.across(max(one.index, one.threshold)) + 6, middle + 4, f"{one.index:.3f}")
    return board.svg()
