"""The quality report: one JSON for machines, one self-contained HTML page for people. No wall-clock time in either."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from core.clock import to_datetime
from core.files import write_bytes, write_json
from data.quality.gate import SeriesQuality

FORMAT = 1
_STRIP_WIDTH = 720.0  # user units of a coverage strip
_SLIVER = 1.5  # narrowest visible gap


class QualityReport(msgspec.Struct, frozen=True):
    """The verdict over all series of one ingest: the lowest score counts."""

    format: int
    source: str
    minimum_quality: float
    accepted: bool
    score: float
    rows_in: int
    rows_kept: int
    rows_quarantined: int
    series: tuple[SeriesQuality, ...]

    @property
    def refusal(self) -> str:
        """Say in one line which series failed and why."""
        failed = [found for found in self.series if found.score < self.minimum_quality]
        worst = min(failed, key=lambda found: found.score)
        causes = [p for p in worst.penalties if p.factor < 1.0]
        words = ", ".join(f"{p.check} {100 * p.share:.1f} %" for p in sorted(causes, key=lambda p: p.factor))
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        name = f"{worst.instrument} {worst.granularity}"
        return f"{worst.origin}: quality {worst.score:.2f} of {name}{others} is below {self.minimum_quality:g}: {words}"


def make_report(source: str, minimum_quality: float, series: Sequence[SeriesQuality]) -> QualityReport:
    """Sum up the findings of every series."""
    lowest = min((found.score for found in series), default=0.0)
    return QualityReport(
        FORMAT,
        source,
        minimum_quality,
        lowest >= minimum_quality,
        lowest,
        sum(found.rows_in for found in series),
        sum(found.rows_kept for found in series),
        sum(found.rows_quarantined for found in series),
        tuple(series),
    )


def write_report(folder: Path, report: QualityReport) -> Path:
    """Write ``quality.json`` and ``quality.html`` and return the page; a former refusal is out of date and goes."""
    write_json(folder / "quality.json", msgspec.to_builtins(report))
    write_bytes(folder / "quality.html", render(report).encode())
    for name in ("refused.json", "refused.html"):
        (folder / name).unlink(missing_ok=True)
    return folder / "quality.html"


def write_refused(folder: Path, report: QualityReport) -> Path:
    """Write ``refused.json`` and ``refused.html`` beside the last accepted report and return the page."""
    write_json(folder / "refused.json", msgspec.to_builtins(report))
    write_bytes(folder / "refused.html", render(report).encode())
    return folder / "refused.html"


def render(report: QualityReport) -> str:
    """Return the report as one HTML page without outside references."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("data.quality", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["when"] = _when
    environment.filters["count"] = lambda number: f"{number:,}".replace(",", "\u202f")
    environment.filters["percent"] = _percent
    series = [{"found": found, "strip": _strip(found), "span": _span(found)} for found in report.series]
    return environment.get_template("quality.html").render(report=report, series=series, width=_STRIP_WIDTH)


def _when(time_ns: int | None) -> str:
    return "–" if time_ns is None else f"{to_datetime(time_ns):%Y-%m-%d %H:%M}"


def _percent(share: float) -> str:
    if share == 0:
        return "0\u00a0%"
    return f"{100 * share:.3f}\u00a0%" if share < 0.001 else f"{100 * share:.2f}\u00a0%"


def _span(found: SeriesQuality) -> int:
    if found.first_event_ns is None or found.last_event_ns is None:
        return 1
    return max(found.last_event_ns - found.first_event_ns, 1)


def _strip(found: SeriesQuality) -> list[dict[str, Any]]:
    """Return the gaps as rectangles on a strip from the first to the last row."""
    if found.first_event_ns is None:
        return []
    span = _span(found)
    rectangles: list[dict[str, Any]] = []
    for gap in found.coverage.gaps:
        left = (gap.start_ns - found.first_event_ns) / span * _STRIP_WIDTH
        width = max((gap.end_ns - gap.start_ns) / span * _STRIP_WIDTH, _SLIVER)
        left = min(max(left, 0.0), _STRIP_WIDTH - _SLIVER)
        rectangles.append({"x": round(left, 2), "width": round(min(width, _STRIP_WIDTH - left), 2), "gap": gap})
    return rectangles
