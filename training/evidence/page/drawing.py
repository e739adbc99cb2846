"""A small drawing board for SVG charts: scales, ticks and marks. Colours are those of the page, light and dark."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

Form = Callable[[float], str]
Anchor = Literal["start", "middle", "end"]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers within ``[low, high]``, about so many of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Return a range that holds the values with some air; never empty."""
    low, high = min(values), max(values)
    air = (high - low) * share if high > low else max(abs(high), 1e-6) * 0.5
    return low - air, high + air


def signed(value: float) -> str:
    """Return a figure of an axis with its sign; zero has none."""
    return f"{value:+.3g}" if value else "0"


@dataclass
class Board:
    """One chart: a frame of ``width`` by ``height`` units and two linear scales. ``svg`` gives its text."""

    x: tuple[float, float]
    y: tuple[float, float]
    label: str  # what the chart shows, for those who cannot see it
    width: float = 640.0
    height: float = 260.0
    left: float = 56.0
    right: float = 14.0
    top: float = 12.0
    bottom: float = 30.0
    parts: list[str] = field(default_factory=list[str])

    def across(self, value: float) -> float:
        """Return the horizontal place of a value."""
        low, high = self.x
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def up(self, value: float) -> float:
        """Return the vertical place of a value."""
        low, high = self.y
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)

    def grid(self, values: Sequence[float], form: Form) -> None:
        """Draw horizontal lines with their figures on the left."""
        for value in values:
            place = self.up(value)
            self.segment(self.left, place, self.width - self.right, place, "grid")
            self.text(self.left - 7, place + 4, form(value), "end")

    def axis(self, values: Sequence[float], form: Form, lines: bool = False) -> None:
        """Write figures below the chart, with vertical lines where asked for."""
        for value in values:
            place = self.across(value)
            if lines:
                self.segment(place, self.top, place, self.height - self.bottom, "grid")
            self.text(place, self.height - self.bottom + 17, form(value), "middle")

    def segment(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a line between two places of the frame."""
        self.parts.append(f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>')

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Draw a line through values."""
        places = " ".join(f"{_n(self.across(x))},{_n(self.up(y))}" for x, y in points)
        self.parts.append(f'<polyline class="line {kind}" points="{places}"/>')

    def area(self, points: Sequence[tuple[float, float]], base: float, kind: str) -> None:
        """Fill what lies between values and a base."""
        places = [(self.across(x), self.up(y)) for x, y in points]
        foot = self.up(base)
        outline = [(places[0][0], foot), *places, (places[-1][0], foot)]
        drawn = " ".join(f"{_n(x)},{_n(y)}" for x, y in outline)
        self.parts.append(f'<polygon class="area {kind}" points="{drawn}"/>')

    def bar(self, x1: float, x2: float, low: float, high: float, kind: str, said: str) -> None:
        """Fill a rectangle between values; ``said`` appears beside the pointer."""
        left, right = sorted((self.across(x1), self.across(x2)))
        upper, lower = sorted((self.up(low), self.up(high)))
        self.parts.append(
            f'<rect class="fill {kind}" x="{_n(left)}" y="{_n(upper)}" width="{_n(max(right - left, 0.8))}" '
            f'height="{_n(max(lower - upper, 0.8))}" rx="1.5"><title>{escape(said)}</title></rect>'
        )

    def dot(self, x: float, y: float, kind: str, said: str, radius: float = 4.0) -> None:
        """Draw a point."""
        self.parts.append(
            f'<circle class="fill {kind}" cx="{_n(self.across(x))}" cy="{_n(self.up(y))}" r="{_n(radius)}">'
            f"<title>{escape(said)}</title></circle>"
        )

    def text(self, x: float, y: float, said: str, anchor: Anchor = "start", kind: str = "") -> None:
        """Write at a place of the frame."""
        self.parts.append(f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(said)}</text>')

    def svg(self) -> str:
        """Return the chart as SVG text."""
        return (
            f'<svg class="chart" viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" '
            f'aria-label="{escape(self.label, quote=True)}">{"".join(self.parts)}</svg>'
        )


def _n(value: float) -> str:
    """Return a place with a tenth of a unit: nobody sees more."""
    return f"{value:.1f}".removesuffix(".0")
