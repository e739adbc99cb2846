"""``result.json`` for machines, ``trades.csv`` for spreadsheets, ``report.html`` for people; no wall-clock time."""

import csv
import io
from pathlib import Path
from typing import Any

import msgspec

from core.clock import to_rfc3339
from core.files import write_bytes, write_json
from training.backtest.market import Market
from training.backtest.model.scope import Part
from training.backtest.report.content import Content
from training.backtest.result import Result, Trade
from training.pages import page_environment

RESULT, TRADES, REPORT = "result.json", "trades.csv", "report.html"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def write_report(
    folder: Path,
    content: Content,
    result: Result,
    benchmarks: dict[str, Result],
    market: Market,
    parts: tuple[Part, ...],
) -> Path:
    """Write the three files into a folder and return the page."""
    write_bytes(folder / TRADES, _table(result.trades).encode())
    pictures = _pictures(content, result, benchmarks, market, parts)
    write_bytes(folder / REPORT, render(content, pictures).encode())
    write_json(folder / RESULT, msgspec.to_builtins(content))
    return folder / REPORT


def render(content: Content, pictures: dict[str, Any]) -> str:
    """Return the page; it refers to nothing outside itself."""
    environment = page_environment("training.backtest.report")
    environment.filters["percent"] = lambda value: f"{100 * value:+.2f} %"
    environment.filters["money"] = lambda value: f"{value:,.0f}".replace(",", "\u202f")
    environment.filters["spaced"] = lambda text: str(text).replace("_", " ")
    return environment.get_template("report.html").render(content=content, pictures=pictures, months=_MONTHS)


def _pictures(
    content: Content, result: Result, benchmarks: dict[str, Result], market: Market, parts: tuple[Part, ...]
) -> dict[str, Any]:
    from training.backtest.report import plots

    return {
        "equity": plots.equity(result, benchmarks, parts),
        "drawdown": plots.drawdown(result, parts),
        "exposure": plots.exposure(result, parts),
        "trades": [plots.trades(market, result, name, parts) for name in market.names] if result.trades else [],
        "costs": plots.cost_split(content.costs, content.currency),
        "calibration": plots.calibration(content.forecasts) if content.forecasts else "",
        "attribution": plots.shares(content.attribution, content.currency) if result.trades else "",
    }


def _table(trades: tuple[Trade, ...]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["instrument", "side", "entry", "exit", "units", "entry_price", "exit_price", "profit", "spread_cost",
         "slippage_cost", "commission", "financing", "net", "reason"]
    )  # fmt: skip
    for t in trades:
        writer.writerow(
            [t.instrument, "long" if t.side > 0 else "short", to_rfc3339(t.entry_ns), to_rfc3339(t.exit_ns), t.units,
             t.entry_price, t.exit_price, t.profit, f"{t.spread_cost:.4f}", f"{t.slippage_cost:.4f}",
             f"{t.commission:.4f}", f"{t.financing:.4f}", f"{t.net:.4f}", str(t.reason)]
        )  # fmt: skip
    return stream.getvalue()
