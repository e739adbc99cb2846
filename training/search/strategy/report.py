"""``result.json`` for machines and ``report.html`` for people; no wall-clock time in either."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.files import write_bytes, write_json
from training.pages import page_environment
from training.search.strategy.outcome import Outcome
from training.search.strategy.parameters import StrategySearchParameters
from training.search.strategy.plateau import PlateauResult
from training.search.strategy.space import Space
from training.search.strategy.state import State

RESULT = "result.json"
REPORT = "report.html"


class Paths(msgspec.Struct, frozen=True):
    """Daily returns that nobody chose on, for the equity picture: times and returns of a path."""

    walk_forward: tuple[NDArray[np.int64], NDArray[np.float64]]
    unseen: tuple[tuple[NDArray[np.int64], NDArray[np.float64]], ...]


def write_result(
    folder: Path,
    outcome: Outcome,
    parameters: StrategySearchParameters,
    space: Space,
    state: State,
    plateaus: Sequence[PlateauResult],
    paths: Paths,
) -> Path:
    """Write the result and its page; return the page."""
    write_bytes(
        folder / REPORT, render(outcome, _pictures(outcome, parameters, space, state, plateaus, paths)).encode()
    )
    write_json(folder / RESULT, msgspec.to_builtins(outcome))
    return folder / REPORT


def read_result(folder: Path) -> Outcome | None:
    """Return the result of a search that is over; None where there is none yet."""
    path = folder / RESULT
    if not path.is_file():
        return None
    return msgspec.convert(_finite(msgspec.json.decode(path.read_bytes())), Outcome, strict=False)


def render(outcome: Outcome, pictures: dict[str, str]) -> str:
    """Return the page; it refers to nothing outside itself."""
    environment = page_environment("training.search.strategy")
    environment.filters["figure"] = _figure
    environment.filters["named"] = _named
    return environment.get_template("report.html").render(outcome=outcome, pictures=pictures)


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {_figure(value)}" for name, value in values.items())


def _figure(value: Any) -> str:
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value)}"
    return f"{value:.4g}"


def _finite(value: Any) -> Any:
    """Put NaN back where JSON has null inside the figures of a generation: no candidate was inside the limits."""
    for generation in value["history"]:
        for key in ("best", "islands"):
            generation[key] = [float("nan") if item is None else item for item in generation[key]]
    return value


def _pictures(
    outcome: Outcome,
    parameters: StrategySearchParameters,
    space: Space,
    state: State,
    plateaus: Sequence[PlateauResult],
    paths: Paths,
) -> dict[str, str]:
    from training.search.strategy import plots
    from training.search.strategy.objectives import column

    final = len(state.fronts) - 1
    islands = parameters.evolution.islands
    choice = column(parameters.choose_by)
    held = sorted({index for tried in state.tried[final * islands :] for index in tried})
    inside = [index for index in held if state.assessments[index].shortfall[final] == 0.0]
    columns = [column(name) for name in parameters.objectives]

    def points(indices: Sequence[int]) -> NDArray[np.float64]:
        return np.array([[state.assessments[i].train[final][c] for c in columns] for i in indices]).reshape(
            len(indices), len(columns)
        )

    member = outcome.hall_of_fame[outcome.winner]
    winner = tuple(float(member.parameters[name]) for name in space.names)
    position = np.array(space.encode(winner))
    around = plateaus[outcome.winner] if outcome.winner < len(plateaus) else plateaus[-1]
    genes = [space.encode(state.values[i]) for i in inside]
    figures = [state.assessments[i].train[final][choice] for i in inside]
    for values, figure in zip(around.neighbours, around.figures.tolist(), strict=True):
        if np.isfinite(figure):
            genes.append(space.encode(values))
            figures.append(figure)
    front = [index for index in state.fronts[final] if state.assessments[index].shortfall[final] == 0.0]
    place = np.array([member.in_sample[name] for name in parameters.objectives])
    return {
        "generations": plots.generations(state.history, parameters.choose_by),
        "islands": plots.islands(state.history, islands, parameters.choose_by),
        "pareto": plots.pareto(points(inside), points(front), parameters.objectives, place),
        "plateau": plots.plateau(
            np.array(genes),
            np.array(figures),
            position,
            space,
            parameters.plateau.radius,
            parameters.choose_by,
        ),
        "equity": plots.equity(paths.walk_forward, paths.unseen, outcome.winner),
    }
