"""The page of a simulation of the online gate: rates, power, and what a daily look costs a test that allows one."""

import io
import re
from pathlib import Path

import msgspec

from core.files import write_bytes, write_json
from training.pages import page_environment
from training.simulation.online import OnlineSimulation

RESULT = "result.json"
REPORT = "report.html"
_SIZE = (8.0, 4.2)


def write_online_report(folder: Path, result: OnlineSimulation) -> Path:
    """Write ``report.html``, which refers to nothing outside itself, and ``result.json``; return the page.

    The same result gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = page_environment("training.simulation")
    pictures = {"power": _power(result), "time": _time(result), "curve": _curve(result)}
    page = environment.get_template("online.html").render(result=result, pictures=pictures)
    write_json(folder / RESULT, msgspec.to_builtins(result))
    write_bytes(folder / REPORT, page.encode())
    return folder / REPORT


def _power(result: OnlineSimulation) -> str:
    figure, axes = _axes()
    effects = [item.effect for item in result.power]
    for name, rates in (
        ("promoted by the gate", [item.promoted for item in result.power]),
        ("demoted by the gate, as much worse", [item.demoted for item in result.power]),
    ):
        axes.plot(effects, [rate.value for rate in rates], marker="o", markersize=3, label=name)
        axes.fill_between(effects, [rate.low for rate in rates], [rate.high for rate in rates], alpha=0.15)
    axes.plot(
        effects,
        [item.naive_promoted.value for item in result.power],
        linestyle="--",
        label=f"daily t-test, which also promotes {result.naive_promotion.value:.0%} of what is no better",
    )
    axes.axhline(0.8, color="grey", linewidth=0.7, linestyle=":")
    axes.set_xlabel("mean of a block over its standard deviation")
    axes.set_ylabel(f"share found within {result.options.decisions} decisions")
    axes.set_ylim(0.0, 1.02)
    axes.legend(fontsize=8, loc="lower right")
    return _svg(figure)


def _time(result: OnlineSimulation) -> str:
    figure, axes = _axes()
    for name, found in (
        ("half of them", [(item.effect, item.median_decisions) for item in result.power]),
        ("nine in ten", [(item.effect, item.ninth_decile_decisions) for item in result.power]),
    ):
        points = [(effect, when) for effect, when in found if when is not None]
        axes.plot([at for at, _ in points], [when for _, when in points], marker="o", markersize=3, label=name)
    axes.set_xlabel("mean of a block over its standard deviation")
    axes.set_ylabel("decisions until promotion, of the promoted")
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize=8)
    return _svg(figure)


def _curve(result: OnlineSimulation) -> str:
    figure, axes = _axes()
    axes.plot(result.curve.days, result.curve.naive, linestyle="--", label="daily t-test")
    axes.plot(result.curve.days, result.curve.gate, label="the gate")
    axes.axhline(result.alphas.benefit, color="grey", linewidth=0.7, linestyle=":")
    axes.set_xlabel("days looked at")
    axes.set_ylabel("share promoted though no better")
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize=8)
    return _svg(figure)


def _axes():  # type: ignore[no-untyped-def]
    from matplotlib.figure import Figure

    figure = Figure(_SIZE)
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure) -> str:  # type: ignore[no-untyped-def]
    """Return a figure as SVG without what differs from run to run."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.tight_layout()
    FigureCanvasSVG(figure)
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tidegate", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
