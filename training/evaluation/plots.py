"""The pictures of an evaluation, drawn off screen; the same values give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core.domain import CLASSES
from core.files import replacing
from training.evaluation.strategy import Performance

_DPI = 100
_SIZE = (8.0, 4.5)


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def equity(path: Path, times_ns: NDArray[np.int64], performances: Mapping[str, Performance]) -> None:
    """Draw equity after cost of every strategy over the out-of-sample period."""
    figure = Figure(_SIZE)
    axes = figure.subplots()
    days = times_ns.astype("datetime64[ns]").astype("datetime64[s]")
    for name, performance in performances.items():
        axes.plot(days, performance.equity, label=name, linewidth=1.0)
    axes.set_title("Equity after cost, out of sample (walk-forward)")
    axes.set_ylabel("equity, start = 1")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    _save(figure, path)


def calibration(path: Path, models: Mapping[str, dict[str, Any]]) -> None:
    """Draw said against observed frequency, one panel a class."""
    figure = Figure((10.0, 4.0))
    panels = figure.subplots(1, len(CLASSES))
    for axes, label in zip(panels, CLASSES, strict=True):
        for name, entry in models.items():
            bins = entry["reliability"][label]
            said, seen = [row["probability"] for row in bins], [row["frequency"] for row in bins]
            axes.plot(said, seen, marker="o", markersize=3, linewidth=1.0, label=name)
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle="--")
        axes.set_title(label)
        axes.set_xlabel("said")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("observed")
    panels[0].legend(fontsize=7)
    _save(figure, path)


def importance(path: Path, shares: Mapping[str, Mapping[str, float]], top: int = 15) -> None:
    """Draw the largest feature importances of each model that has them."""
    figure = Figure((5.0 * max(len(shares), 1), 5.0))
    panels = np.atleast_1d(figure.subplots(1, max(len(shares), 1)))
    for axes, (name, values) in zip(panels, shares.items(), strict=False):
        best = sorted(values.items(), key=lambda item: (-item[1], item[0]))[:top][::-1]
        axes.barh([feature for feature, _ in best], [share for _, share in best])
        axes.set_title(f"{name}: feature importance")
        axes.tick_params(labelsize=7)
    _save(figure, path)


def losses(path: Path, models: Mapping[str, dict[str, Any]], reference: Sequence[float]) -> None:
    """Draw each model's skill by fold as log loss under the reference's."""
    figure = Figure(_SIZE)
    axes = figure.subplots()
    folds = np.arange(1, len(reference) + 1)
    for name, entry in models.items():
        axes.plot(folds, entry["log_loss_per_fold"], marker="o", linewidth=1.0, label=name)
    axes.plot(folds, reference, color="black", linestyle="--", linewidth=1.0, label="climatology")
    axes.set_xticks(folds)
    axes.set_title("Log loss per fold")
    axes.set_xlabel("fold")
    axes.set_ylabel("nats")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    _save(figure, path)
