"""The pictures of a strategy search as SVG text for its page; the same search gives the same bytes."""

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.search.strategy.space import Space
from training.search.strategy.state import Generation

_SIZE = (8.0, 4.2)
_CELLS = 14  # of a heat map, along each side
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a range


def _svg(figure: Figure) -> str:
    """Return a figure as SVG without what differs from run to run."""
    figure.tight_layout()
    FigureCanvasSVG(figure)
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tidegate", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def _axes(size: tuple[float, float] = _SIZE) -> tuple[Figure, Axes]:
    figure = Figure(size)
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _name(fold: int, folds: int) -> str:
    return "final" if fold == folds - 1 else f"fold {fold + 1}"


def generations(history: Sequence[Generation], choice: str) -> str:
    """Draw what each fold would choose, and the relative hypervolume of its front, by generation."""
    figure = Figure((10.0, 4.2))
    left, right = figure.subplots(1, 2)
    numbers = [generation.number for generation in history]
    folds = len(history[0].best)
    for fold in range(folds):
        name, width = _name(fold, folds), 2.0 if fold == folds - 1 else 1.0
        left.plot(numbers, [g.best[fold] for g in history], label=name, linewidth=width)
        volumes = np.array([g.hypervolume[fold] for g in history])
        last = volumes[-1] if volumes[-1] > 0 else 1.0
        right.plot(numbers, volumes / last, label=name, linewidth=width)
    for generation in history:
        if generation.migrated:
            left.axvline(generation.number, color="grey", linewidth=0.5, linestyle=":")
    left.set_title(f"{choice} of the choice, training window")
    right.set_title("hypervolume of the front, share of its last")
    for axes in (left, right):
        axes.set_xlabel("generation (dotted: migration)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return _svg(figure)


def islands(history: Sequence[Generation], per_fold: int, choice: str) -> str:
    """Draw the best of each island of the final fold by generation, and how hot mutation was."""
    figure, axes = _axes()
    numbers = [generation.number for generation in history]
    for island in range(per_fold):
        place = len(history[0].islands) - per_fold + island
        axes.plot(numbers, [generation.islands[place] for generation in history], label=f"island {island + 1}")
    axes.set_title(f"Islands of the final fold: best {choice} in the population")
    axes.set_xlabel("generation")
    axes.set_ylabel(choice)
    heat = axes.twinx()
    heat.plot(numbers, [g.mutation for g in history], color="grey", linestyle="--", linewidth=0.8)
    heat.set_ylabel("mutation probability (dashed)")
    heat.set_ylim(bottom=0.0)
    axes.legend(fontsize=8)
    return _svg(figure)


def pareto(
    everything: NDArray[np.float64], front: NDArray[np.float64], names: Sequence[str], winner: NDArray[np.float64]
) -> str:
    """Draw all candidates of the final fold, its front and the winner; arrays [N, O] in the order of ``names``."""
    figure, axes = _axes()
    axes.scatter(everything[:, 1], everything[:, 0], s=6, color="lightgrey", label="tried")
    colour = front[:, 2] if front.shape[1] > 2 else np.zeros(len(front))
    points = axes.scatter(front[:, 1], front[:, 0], s=18, c=colour, cmap="viridis", label="front")
    axes.scatter(winner[1], winner[0], s=110, facecolors="none", edgecolors="crimson", linewidths=1.6, label="winner")
    if front.shape[1] > 2:
        figure.colorbar(points, ax=axes, label=names[2])
    axes.set_xlabel(names[1])
    axes.set_ylabel(names[0])
    axes.set_title("Pareto front of the final fold, training window (in-sample)")
    axes.legend(fontsize=8)
    return _svg(figure)


def plateau(
    genes: NDArray[np.float64],
    figures: NDArray[np.float64],
    winner: NDArray[np.float64],
    space: Space,
    radius: float,
    choice: str,
) -> str:
    """Draw the median figure over the plane of the two parameters it depends on most; above zero is green.

    Args:
        genes: positions of all that was tried on the final fold and around its winner, [N, D] in the unit cube.
        figures: their figure on the final training window, [N].
        winner: its position, [D].
        space: of the rule.
        radius: of the neighbourhood that was checked.
        choice: name of the figure.
    """
    figure, axes = _axes((6.6, 5.2))
    first, second = _strongest(genes, figures)
    cells = np.full((_CELLS, _CELLS), np.nan)
    column = np.minimum((genes[:, first] * _CELLS).astype(int), _CELLS - 1)
    row = np.minimum((genes[:, second] * _CELLS).astype(int), _CELLS - 1)
    for place in np.unique(row * _CELLS + column):
        inside = row * _CELLS + column == place
        cells[place // _CELLS, place % _CELLS] = np.median(figures[inside])
    reach = max(float(np.nanmax(np.abs(cells))), 1e-12)  # the middle colour is zero
    image = axes.imshow(
        cells, origin="lower", extent=(0, 1, 0, 1), aspect="auto", cmap="RdYlGn", vmin=-reach, vmax=reach
    )
    figure.colorbar(image, ax=axes, label=f"median {choice}, training window")
    x, y = winner[first], winner[second]
    axes.plot(x, y, marker="o", color="black", markersize=6)
    box_x = [x - radius, x + radius, x + radius, x - radius, x - radius]
    box_y = [y - radius, y - radius, y + radius, y + radius, y - radius]
    axes.plot(box_x, box_y, color="black", linewidth=1.0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks(_TICKS, [f"{space.value(first, tick):.3g}" for tick in _TICKS])
    axes.set_xlabel(space.names[first])
    if second != first:
        axes.set_yticks(_TICKS, [f"{space.value(second, tick):.3g}" for tick in _TICKS])
        axes.set_ylabel(space.names[second])
    axes.set_title("Plateau: all that was tried, the winner and its neighbourhood")
    return _svg(figure)


def _strongest(genes: NDArray[np.float64], figures: NDArray[np.float64]) -> tuple[int, int]:
    """Return the two parameters with the strongest linear and quadratic link to the figure, the stronger one first."""
    dimension = genes.shape[1]
    if dimension == 1:
        return 0, 0
    explained = []
    for index in range(dimension):
        design = np.column_stack([np.ones(len(genes)), genes[:, index], genes[:, index] ** 2])
        fitted = design @ np.linalg.lstsq(design, figures, rcond=None)[0]
        explained.append(-float(((figures - fitted) ** 2).sum()))
    order = sorted(range(dimension), key=lambda index: (-explained[index], index))
    return order[0], order[1]


def equity(
    walk_forward: tuple[NDArray[np.int64], NDArray[np.float64]],
    unseen: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]],
    winner: int,
) -> str:
    """Draw equity that nobody chose on: the walk-forward path, then the hall of fame on the unseen span."""
    figure, axes = _axes()
    times, returns = walk_forward
    path = np.cumprod(1.0 + returns)
    axes.plot(times.astype("datetime64[ns]"), path, linewidth=1.2, label="walk-forward choices")
    start = float(path[-1])
    for place, (days, member) in enumerate(unseen):
        chosen = place == winner
        label = "winner, unseen span" if chosen else ("others of the hall of fame" if place == (winner == 0) else None)
        colour, width = ("crimson", 1.4) if chosen else ("lightgrey", 0.8)
        axes.plot(
            days.astype("datetime64[ns]"), start * np.cumprod(1.0 + member), color=colour, linewidth=width, label=label
        )
    axes.axhline(1.0, color="black", linewidth=0.6)
    axes.set_title("Out of sample, after cost")
    axes.set_ylabel("equity, start = 1")
    axes.legend(fontsize=8)
    return _svg(figure)
