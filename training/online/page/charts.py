"""Charts of a release: what both versions earned, the evidence, the bounds, and the way through the states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.clock import to_datetime
from training.evidence.page.drawing import Board, padded, ticks
from training.online.series import ComparisonSeries

_MOST_POINTS = 400  # of a line: more than a screen shows
_LOG10 = math.log(10.0)


@dataclass(frozen=True)
class Phase:
    """A stay in one state, between two moments of market time."""

    state: str
    words: str
    start_ns: int
    end_ns: int


def money(series: ComparisonSeries, phases: Sequence[Phase]) -> str:
    """Draw the summed net returns of both versions, as if each had traded everything, and of the account."""
    lines = {"champion": series.champion, "challenger": series.challenger, "account": series.account}
    low, high = padded([0.0, *(float(value) for values in lines.values() for value in (values.min(), values.max()))])
    board = _over(series.times, (low, high), "Net return of champion, challenger and account", phases)
    board.grid(ticks(low, high), lambda value: f"{value:+.1%}" if value else "0")
    board.segment(board.left, board.up(0.0), board.width - board.right, board.up(0.0), "zero")
    for kind, values in lines.items():
        board.line(_thin(series.times, values), kind)
    return board.svg()


def evidence(series: ComparisonSeries, phases: Sequence[Phase], thresholds: dict[str, float]) -> str:
    """Draw the e-values on a logarithmic scale with the thresholds that decide."""
    lines = {
        "benefit": (series.block_times, series.benefit / _LOG10),
        "harm": (series.block_times, series.harm / _LOG10),
        "calibration": (series.calibration_times, series.calibration / _LOG10),
    }
    found = [float(value) for _, values in lines.values() for value in values]
    limits = {name: math.log10(value) for name, value in thresholds.items()}
    low, high = padded([0.0, *limits.values(), *(max(value, -3.0) for value in found)])
    board = _over(series.times, (low, high), "E-values, logarithmic", phases)
    board.grid(range(math.ceil(low), math.floor(high) + 1), lambda value: f"{10.0**value:g}")
    for place in sorted(set(limits.values())):
        names = sorted(name for name, value in limits.items() if value == place)
        kind = names[0] if len(names) == 1 else "several"
        board.segment(board.left, board.up(place), board.width - board.right, board.up(place), f"limit {kind}")
        said = f"{' and '.join(names)}: {10.0**place:.3g} decides"
        board.text(board.width - board.right - 4, board.up(place) - 4, said, "end", kind)
    for kind, (times, values) in lines.items():
        if len(values):
            board.line(_thin(times, np.maximum(values, low)), kind)
    return board.svg()


def bounds(series: ComparisonSeries, phases: Sequence[Phase], confidence: float) -> str:
    """Draw the mean difference a block with its confidence sequence."""
    known = np.isfinite(series.low) & np.isfinite(series.high)
    if not known.any():
        return ""
    low, high, mean = (values[known] for values in (series.low, series.high, series.mean))
    times = series.block_times[series.looks[known] - 1]
    widest = float(np.quantile(np.abs(np.concatenate([low, high])), 0.9))  # the first bounds would hide the rest
    range_ = padded([0.0, *mean.tolist(), -widest, widest])
    board = _over(series.times, range_, f"Difference a block with bounds at {confidence:.0%}", phases)
    board.grid(ticks(*range_), lambda value: f"{value * 1e4:+.3g} bp" if value else "0")
    board.segment(board.left, board.up(0.0), board.width - board.right, board.up(0.0), "zero")
    outline = [*zip(times.tolist(), high.tolist(), strict=True)]
    outline += [*zip(times[::-1].tolist(), low[::-1].tolist(), strict=True)]
    drawn = " ".join(f"{board.across(x):.1f},{board.up(min(max(y, range_[0]), range_[1])):.1f}" for x, y in outline)
    board.parts.append(f'<polygon class="area challenger" points="{drawn}"/>')
    board.line([*zip(times.tolist(), mean.tolist(), strict=True)], "challenger")
    return board.svg()


def _over(
    times: NDArray[np.int64], y: tuple[float, float], label: str, phases: Sequence[Phase], height: float = 250.0
) -> Board:
    """Return a board over market time, with a line and a name where each state begins."""
    begin, end = float(times[0]), float(times[-1])
    if not end > begin:
        end = begin + 1.0
    board = Board((begin, end), y, label, width=900.0, height=height, top=26.0, right=26.0)
    span_days = (end - begin) / 86_400e9
    form = "%Y-%m" if span_days > 300 else "%m-%d" if span_days > 4 else "%m-%d %H:%M"
    board.axis(
        [begin + (end - begin) * part / 6 for part in range(7)], lambda value: f"{to_datetime(int(value)):{form}}"
    )
    free = 0.0  # where the next name may begin: steps can follow each other faster than names are wide
    for phase in phases:
        if phase.start_ns > end:
            continue  # a step that was entered after the newest decision
        place = board.across(max(float(phase.start_ns), begin))
        board.segment(place, board.top - 12, place, board.height - board.bottom, "phase")
        if place >= free:
            board.text(place + 4, board.top - 4, phase.words, "start", "phase")
            free = place + 12.0 + 7.5 * len(phase.words)
    return board


def _thin(times: NDArray[np.int64], values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return at most so many points, the last one always."""
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).round().astype(np.int64))
    return [(float(times[index]), float(values[index])) for index in chosen]
