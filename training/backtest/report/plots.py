"""The pictures of a backtest as SVG text for its page; the same backtest gives the same bytes."""

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core.domain import CLASSES
from training.backtest.market import Market
from training.backtest.model.outcomes import ForecastQuality
from training.backtest.model.scope import AFTER, BEFORE, HOLDOUT, IN_SAMPLE, Part
from training.backtest.report.measures import Costs, DailySeries, Share, daily
from training.backtest.result import Result, Trade

TRADES_SHOWN = 40  # of an instrument: more cannot be told apart
_POINTS = 1500  # of a line: more than a screen shows
_SHADES = {
    IN_SAMPLE: ("#c0392b", "in-sample"),
    BEFORE: ("#d68910", "before training, not out of sample"),
    AFTER: ("#1f8a5b", "out of sample"),
    HOLDOUT: ("#2471a3", "holdout"),
}
_LONG, _SHORT = "#1a7f4b", "#b03a2e"


def _svg(figure: Figure) -> str:
    """Return a figure as SVG without what differs from run to run."""
    figure.tight_layout()
    FigureCanvasSVG(figure)
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tidegate", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def _axes(height: float = 3.6) -> tuple[Figure, Axes]:
    figure = Figure((10.0, height))
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _times(time_ns: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return time_ns.astype("datetime64[ns]")


def _thin(count: int) -> NDArray[np.int64]:
    """Return which of so many points a line is drawn through, the last one among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).astype(np.int64))


def _shade(axes: Axes, parts: Sequence[Part], named: bool = False) -> None:
    """Tint what each part of the range is to the model, and name it in the legend."""
    told: set[str] = set()
    for part in parts:
        if part.kind not in _SHADES:
            continue
        colour, words = _SHADES[part.kind]
        label = words if named and part.kind not in told else None
        told.add(part.kind)
        low, high = _times(np.array([part.start_ns, part.end_ns]))
        axes.axvspan(low, high, color=colour, alpha=0.10, linewidth=0, label=label)  # pyright: ignore[reportArgumentType]


def equity(result: Result, benchmarks: dict[str, Result], parts: Sequence[Part]) -> str:
    """Draw equity beside the benchmarks, start = 1."""
    figure, axes = _axes(4.2)
    _shade(axes, parts, named=True)
    thin = _thin(len(result.time_ns))
    times = _times(result.time_ns[thin])
    for (name, one), colour in zip(benchmarks.items(), ("#7f8c8d", "#8e44ad"), strict=False):
        axes.plot(times, (one.equity / one.equity[0])[thin], label=name, color=colour, linewidth=0.9)
    start = result.equity[0] / (1.0 + result.net[0])
    axes.plot(times, (result.equity / start)[thin], label=result.rule, color="#1b4f9c", linewidth=1.4)
    axes.axhline(1.0, color="black", linewidth=0.6)
    axes.set_ylabel("equity, start = 1")
    axes.set_title("Equity after cost")
    axes.legend(fontsize=8)
    return _svg(figure)


def drawdown(result: Result, parts: Sequence[Part]) -> str:
    """Draw the fall from the highest equity so far."""
    figure, axes = _axes(2.6)
    _shade(axes, parts)
    series: DailySeries = daily(result.time_ns, result.net)
    curve = np.cumprod(1.0 + series.returns)
    fall = 1.0 - curve / np.maximum(np.maximum.accumulate(curve), 1.0)
    axes.fill_between(_times(series.end_ns), -100.0 * fall, 0.0, color="#c0392b", alpha=0.5, linewidth=0)  # pyright: ignore[reportArgumentType]
    axes.set_ylabel("%")
    axes.set_title("Drawdown, at the end of each trading day")
    return _svg(figure)


def exposure(result: Result, parts: Sequence[Part]) -> str:
    """Draw the gross notional over equity."""
    figure, axes = _axes(2.6)
    _shade(axes, parts)
    thin = _thin(len(result.time_ns))
    share = np.where(result.equity > 0, result.exposure / np.maximum(result.equity, 1e-9), 0.0)
    axes.plot(_times(result.time_ns[thin]), share[thin], linewidth=0.7, color="#1b4f9c")
    axes.set_ylabel("multiples of equity")
    axes.set_title("Gross exposure")
    return _svg(figure)


def shown_trades(trades: Sequence[Trade], instrument: str) -> list[Trade]:
    """Return the trades of an instrument that are drawn: those that moved most money, in the order of time."""
    own = [trade for trade in trades if trade.instrument == instrument]
    largest = sorted(own, key=lambda trade: (-abs(trade.net), trade.entry_ns))[:TRADES_SHOWN]
    return sorted(largest, key=lambda trade: trade.entry_ns)


def trades(market: Market, result: Result, instrument: str, parts: Sequence[Part]) -> str:
    """Draw the price of an instrument with the trades that moved most money, entry to exit."""
    figure, axes = _axes(3.4)
    _shade(axes, parts)
    place = market.names.index(instrument)
    tick = float(market.instruments[place].tick)
    bars = np.flatnonzero(market.present[:, place])
    bars = bars[_thin(len(bars))]
    middle = 0.5 * tick * (market.prices[bars, place, 3].astype(float) + market.prices[bars, place, 7])
    axes.plot(_times(market.time_ns[bars]), middle, color="#85929e", linewidth=0.7)
    drawn = shown_trades(result.trades, instrument)
    for trade in drawn:
        colour = _LONG if trade.side > 0 else _SHORT
        moments = _times(np.array([trade.entry_ns, trade.exit_ns]))
        prices = [float(trade.entry_price), float(trade.exit_price)]
        axes.plot(moments, prices, color=colour, linewidth=1.1, linestyle="-" if trade.net > 0 else ":")
        axes.plot(moments[:1], prices[:1], marker="^" if trade.side > 0 else "v", color=colour, markersize=5)
        axes.plot(moments[1:], prices[1:], marker="x", color=colour, markersize=4)
    count = sum(trade.instrument == instrument for trade in result.trades)
    which = f"all {count} trades" if len(drawn) == count else f"{len(drawn)} of {count} trades, those of most money"
    axes.set_title(f"{instrument}: {which} (▲ long, ▼ short, × end; dotted: a loss)", fontsize=10)
    return _svg(figure)


def cost_split(costs: Costs, currency: str) -> str:
    """Draw what stands between the profit without cost and what is left."""
    figure, axes = _axes(2.8)
    names = ["without cost", "spread", "slippage", "commission", "financing", "after cost"]
    values = [costs.gross, -costs.spread, -costs.slippage, -costs.commission, costs.financing, costs.net]
    starts = [0.0]
    for value in values[:-2]:
        starts.append(starts[-1] + value)
    bottoms = [*starts[:5], 0.0]
    colours = [
        "#1b4f9c" if place in (0, 5) else "#c0392b" if value < 0 else "#1f8a5b" for place, value in enumerate(values)
    ]
    axes.bar(names, values, bottom=bottoms, color=colours)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set_ylabel(currency)
    axes.use_sticky_edges = False  # or the highest bar touches the frame
    axes.margins(y=0.12)
    axes.set_title("From the profit without cost to the profit after it")
    return _svg(figure)


def calibration(qualities: Sequence[ForecastQuality]) -> str:
    """Draw said against observed frequency, one panel a class, one line for each part of the range."""
    figure = Figure((10.0, 3.6))
    panels = figure.subplots(1, len(CLASSES))
    for axes, label in zip(panels, CLASSES, strict=True):
        for quality in qualities:
            colour, words = _SHADES.get(quality.kind, ("#1b4f9c", quality.kind))
            said = [bin.probability for bin in quality.classes[label]]
            seen = [bin.frequency for bin in quality.classes[label]]
            axes.plot(said, seen, marker="o", markersize=3, linewidth=1.0, label=words, color=colour)
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
        axes.set_title(label)
        axes.set_xlabel("said")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("observed")
    panels[0].legend(fontsize=7)
    return _svg(figure)


def shares(groups: dict[str, list[Share]], currency: str) -> str:
    """Draw the profit after cost by group, one panel each."""
    columns = 2
    rows = -(-len(groups) // columns)
    figure = Figure((10.0, 2.5 * rows))
    panels = np.atleast_1d(figure.subplots(rows, columns)).reshape(-1)
    for axes, (name, values) in zip(panels, groups.items(), strict=False):
        colours = [_LONG if share.net > 0 else _SHORT for share in values]
        axes.bar([share.key for share in values], [share.net for share in values], color=colours)
        axes.axhline(0.0, color="black", linewidth=0.6)
        axes.set_title(f"by {name}", fontsize=10)
        axes.set_ylabel(currency, fontsize=8)
        axes.tick_params(labelsize=7, axis="both")
        if len(values) > 6:
            axes.tick_params(axis="x", rotation=60)
    for axes in panels[len(groups) :]:
        axes.axis("off")
    return _svg(figure)
