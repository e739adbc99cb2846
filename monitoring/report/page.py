"""Render the run report: one HTML file that needs no network."""

import base64
import math
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.files import write_bytes
from monitoring.report import charts
from monitoring.report.summary import ChartData, RunSummary

SECTIONS = [
    ("stages", "Stages"),
    ("quality", "Data quality"),
    ("skill", "Skill"),
    ("gate", "Gate"),
    ("trading", "Trading"),
    ("reconciliation", "Reconciliation"),
    ("latency", "Latency"),
    ("drift", "Drift"),
    ("lineage", "Lineage"),
]


def _number(value: float | None, pattern: str) -> str:
    return "–" if value is None or not math.isfinite(value) else pattern % value


def _embed(path: str) -> str:
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def write_page(summary: RunSummary, data: ChartData, path: Path) -> None:
    """Write the report. Every value is escaped; only our own charts go in as they are."""
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    fragments = {
        "skill": charts.skill_chart(summary),
        "calibration": charts.calibration_chart(data),
        "out_of_sample": charts.curves_chart(
            "Out-of-sample equity of each model, net of cost", data.out_of_sample_equity, "growth of 1"
        ),
        "equity": charts.equity_chart(summary, data),
        "trades": charts.trades_chart(data),
        "exposure": charts.curves_chart("Gross exposure", {"leverage": data.exposure}, "multiple of account value"),
        "latency": charts.latency_chart(summary),
        "drift": charts.drift_chart(summary),
    }
    html = environment.get_template("page.html").render(
        s=summary,
        t=summary.trading,
        charts={name: Markup(fragment) for name, fragment in fragments.items()},
        images={title: _embed(image) for title, image in data.images.items()},
        reconciled=all(row.equal for row in summary.reconciliation),
        plotly_js=Markup(get_plotlyjs()),
        sections=SECTIONS,
        number=_number,
        percent=lambda value, pattern: _number(None if value is None else 100.0 * value, pattern),
    )
    write_bytes(path, html.encode())
