"""The pictures of a search as plotly fragments, drawn by Optuna from its own record of the study."""

import warnings
from collections.abc import Callable
from typing import Any

from training.search.hyperparameters.objectives import OBJECTIVES
from training.search.hyperparameters.search import Searched
from training.search.hyperparameters.storage import open_storage

_SHOWN_OBJECTIVES = 3  # more axes than that no picture of a front has


def pictures(searched: Searched) -> tuple[dict[str, str], dict[str, str]]:
    """Return HTML fragments by title, and for pictures that cannot be drawn the reason by title."""
    import optuna
    from optuna import visualization as draw

    storage = open_storage(searched.prepared.database_url)
    try:
        study = optuna.load_study(study_name=searched.prepared.name, storage=storage)
        names = searched.prepared.parameters.objectives
        wanted: dict[str, Callable[[], Any]] = {}
        for index, name in enumerate(names):
            options: dict[str, Any] = {"target_name": name}
            if len(names) > 1:
                options["target"] = lambda trial, place=index: trial.values[place]
            wanted[f"History of {name}"] = lambda o=options: draw.plot_optimization_history(study, **o)
            wanted[f"Importance of the parameters for {name}"] = lambda o=options: draw.plot_param_importances(
                study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(seed=searched.prepared.seed % 2**31),
                **o,
            )
            wanted[f"Parallel coordinates, by {name}"] = lambda o=options: draw.plot_parallel_coordinate(study, **o)
        if 1 < len(names) <= _SHOWN_OBJECTIVES:
            wanted["Pareto front"] = lambda: draw.plot_pareto_front(study, target_names=list(names))
        if len(names) == 1:
            wanted["Scores fold by fold"] = lambda: draw.plot_intermediate_values(study)
        drawn: dict[str, str] = {}
        without: dict[str, str] = {}
        for title, make in wanted.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    figure = make()
            except (RuntimeError, ValueError) as error:  # too few trials, or no difference between them
                without[title] = str(error).splitlines()[0]
                continue
            figure.update_layout(title=None, margin={"l": 50, "r": 20, "t": 20, "b": 45}, template="plotly_white")
            drawn[title] = figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})
        return drawn, without
    finally:
        storage.remove_session()
        storage.engine.dispose()


def legend(names: tuple[str, ...]) -> list[dict[str, str]]:
    """Return what each objective means."""
    return [{"name": n, "direction": OBJECTIVES[n].direction, "words": OBJECTIVES[n].words} for n in names]
