"""Charts of a rollback's page as SVG that takes the page's colours: figures against their limit, and the timeline."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH = 960
_LEFT, _ROW, _BAR = 230, 34, 16


class Bar(NamedTuple):
    """One bar. ``told`` is the figure in words; ``bad`` marks what triggered."""

    label: str
    value: float
    told: str
    bad: bool = False


def bars(rows: Sequence[Bar], limit: float | None = None, limit_told: str = "") -> Markup:
    """Return horizontal bars from 0, with a dashed line at the limit."""
    top = max([*(row.value for row in rows), limit or 0.0, 0.0]) or 1.0
    height = _ROW * len(rows) + (26 if limit is not None else 6)
    span = WIDTH - _LEFT - 150

    def x(value: float) -> float:
        return _LEFT + span * max(0.0, value) / top

    parts = [_open(height)]
    for number, row in enumerate(rows):
        y = number * _ROW + (24 if limit is not None else 4)
        colour = "var(--bad)" if row.bad else "var(--good)"
        width = max(2.0, x(row.value) - _LEFT)
        parts.append(_text(_LEFT - 12, y + 13, row.label, "end", "var(--ink)"))
        parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3" fill="{colour}"/>')
        parts.append(_text(_LEFT + width + 8, y + 13, row.told, "start", "var(--ink)"))
    if limit is not None:
        at = x(limit)
        line = f'x1="{at:.1f}" x2="{at:.1f}" y1="18" y2="{height}"'
        parts.append(f'<line {line} stroke="var(--soft)" stroke-width="1.5" stroke-dasharray="4 3"/>')
        parts.append(_text(at, 13, limit_told, "middle", "var(--soft)"))
    return Markup("".join([*parts, "</svg>"]))


class Moment(NamedTuple):
    """One step on the timeline, seconds after the trigger."""

    label: str
    seconds: float
    told: str
    good: bool = True


def timeline(moments: Sequence[Moment]) -> Markup:
    """Return one row a step; the bar runs from the trigger to the moment the step was done, on a root scale.

    The first second matters and the last steps may be hours away: lengths follow the square root of time.
    """
    longest = max([moment.seconds for moment in moments if moment.seconds > 0] or [1.0]) ** 0.5
    span, height = WIDTH - _LEFT - 110, _ROW * len(moments) + 6
    parts = [_open(height)]
    for number, moment in enumerate(moments):
        y = number * _ROW + 4
        width = max(3.0, span * max(0.0, moment.seconds) ** 0.5 / longest)
        colour = "var(--good)" if moment.good else "var(--bad)"
        parts.append(_text(_LEFT - 12, y + 13, moment.label, "end", "var(--ink)"))
        parts.append(f'<rect x="{_LEFT}" y="{y + 6}" width="{width:.1f}" height="3" fill="var(--line)"/>')
        parts.append(f'<circle cx="{_LEFT + width:.1f}" cy="{y + 7.5}" r="5" fill="{colour}"/>')
        parts.append(_text(_LEFT + width + 12, y + 13, moment.told, "start", "var(--soft)"))
    return Markup("".join([*parts, "</svg>"]))


def _open(height: int) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg" role="img" '
        'style="display:block;width:100%;height:auto;font:13px system-ui,sans-serif">'
    )


def _text(x: float, y: float, words: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
