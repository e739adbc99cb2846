"""The pictures of a search as plotly fragments, drawn by Optuna from its own record of the study."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.search import Searched
from training.search.hyperparameters.storage import open_storage

_SHOWN_OBJECTIVES = 3  # more axes than that no picture of a front has
_HISTORY, _FOLDS = "History", "Scores fold by fold"
_FAR = 3.0  # quartile distances beyond the quartiles: the first random trials would press all others into a line


def pictures(searched: Searched) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return HTML fragments by title, for pictures that cannot be drawn the reason, and for some a note."""
    import optuna
    from optuna import visualization as draw

    storage = open_storage(searched.prepared.database_url)
    try:
        study = optuna.load_study(study_name=searched.prepared.name, storage=storage)
        names = searched.prepared.parameters.objectives
        first = names[0]
        wanted: dict[str, Callable[[], Any]] = {}
        for index, name in enumerate(names):
            options: dict[str, Any] = {"target_name": name}
            if len(names) > 1:
                options["target"] = lambda trial, place=index: trial.values[place]
            wanted[f"{_HISTORY} of {name}"] = lambda o=options: draw.plot_optimization_history(study, **o)
            wanted[f"Importance of the parameters for {name}"] = lambda o=options: draw.plot_param_importances(
                study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=searched.prepared.seed % 2**31),
                **o,
            )
            wanted[f"Parallel coordinates, by {name}"] = lambda o=options: draw.plot_parallel_coordinate(study, **o)
        if 1 < len(names) <= _SHOWN_OBJECTIVES:
            wanted["Pareto front"] = lambda: draw.plot_pareto_front(study, target_names=list(names))
        if len(names) == 1:
            wanted[_FOLDS] = lambda: draw.plot_intermediate_values(study)
        drawn: dict[str, str] = {}
        without: dict[str, str] = {}
        notes: dict[str, str] = {}
        for title, make in wanted.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    figure = make()
            except (RuntimeError, ValueError) as error:  # too few trials, or no difference between them
                without[title] = str(error).splitlines()[0]
                continue
            if title.startswith((_HISTORY, _FOLDS)):
                notes |= _without_far_values(figure, title)
            if title == _FOLDS:
                figure.update_xaxes(title_text="folds so far, from 0", dtick=1)
                figure.update_yaxes(title_text=f"{first} of these folds")
            figure.update_layout(title=None, margin={"l": 50, "r": 20, "t": 20, "b": 45}, template="plotly_white")
            drawn[title] = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
        return drawn, without, notes
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _without_far_values(figure: Any, title: str) -> dict[str, str]:
    """Let the picture show where most of its points are; return how many lie outside, if any do."""
    marked = [trace.y for trace in figure.data if trace.y is not None and "markers" in (trace.mode or "markers")]
    points = np.array([y for values in marked for y in values if y is not None], np.float64)
    points = points[np.isfinite(points)]
    if len(points) < 2 * _FAR:
        return {}
    lower, upper = np.quantile(points, [0.25, 0.75])
    reach = _FAR * (upper - lower)
    near = points[(points >= lower - reach) & (points <= upper + reach)]
    outside = len(points) - len(near)
    if outside == 0 or near.max() == near.min():
        return {}
    margin = 0.05 * (near.max() - near.min())
    figure.update_yaxes(range=[float(near.min() - margin), float(near.max() + margin)])
    return {title: f"{outside} of {len(points)} points lie outside; a double click on the picture shows them."}


def legend(names: tuple[str, ...]) -> list[dict[str, str]]:
    """Return what each objective means."""
    return [{"name": n, "direction": OBJECTIVES[n].direction, "words": OBJECTIVES[n].words} for n in names]
