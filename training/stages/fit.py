"""The stages that fit: one component, or the blend of all."""

from typing import Any

import msgspec
import numpy as np

from core.errors import UsageError
from core.settings import get_settings
from training.component import fit_component
from training.labels.side_graph import restrict, with_side
from training.models import BLEND, create, model_folder
from training.models import graph as graphs
from training.models.blend import blend as fit_blend
from training.models.calibration import Slopes
from training.models.interface import Forecaster
from training.package import (
    FoldReport,
    TrainingReport,
    parity_rows,
    read_model,
    read_out_of_fold,
    read_training,
    write_digest,
    write_model,
    write_native,
    write_training,
)
from training.splits import last_window
from training.stages.context import Context, load_context
from training.stages.progress import Progress
from training.stages.trial import fit_trial
from training.walkforward import OutOfFold, class_frequencies, log_loss


def train(name: str) -> None:
    """Validate a model walk-forward, fit it on the last window, calibrate it and write ``models/<name>``."""
    progress = Progress(f"train {name}")
    context = load_context()
    parameters, dataset, folds = context.parameters, context.dataset, context.folds
    create(name, parameters)  # an unknown name ends here, before a run is opened
    if name not in parameters.models.components:
        raise UsageError(f"{name} is not in params.yaml models.components: add it there to train it")
    progress(f"{len(dataset.label)} rows, {len(folds)} folds")
    options = context.model_parameters(name)
    with context.tracker().fit(name, options) as run, fit_trial(context, run, name, options) as trial:
        reports: list[FoldReport] = []

        def report(number: int, loss: float, model: Forecaster) -> None:
            reports.append(_fold_report(context, number, loss, model.fitted()))
            run.fold(number, loss, model.fitted())
            trial.fold(number, loss)
            progress(f"fold {number + 1}/{len(folds)}, log loss {loss:.5f}")

        checkpoints = get_settings().state / "checkpoints"
        fitted = fit_component(name, parameters, dataset, folds, report, context.rule, checkpoints)
        folder = model_folder(name)
        manifest = write_model(
            folder,
            fitted.content,
            dataset,
            fitted.rows,
            parameters,
            context.feature_digest,
            fitted.model.lookback,
            context.model_parameters(name),
        )
        written = TrainingReport(
            name=name,
            folds=tuple(reports),
            fitted=fitted.model.fitted(),
            calibration=_slopes(fitted.slopes),
            parity=fitted.parity,
            importance=fitted.model.importance(dataset.feature_names),
            native=write_native(folder, fitted.model),
        )
        write_training(folder, dataset, fitted.predictions, written)
        write_digest(folder)
        trial.complete(fitted.predictions)
        run.fitted(folder, written, manifest.model_digest)
        digest = manifest.model_digest[:12]
        progress(f"final fit on {len(fitted.rows)} rows, parity {fitted.parity:.1e}, model {digest}")


def blend() -> None:
    """Combine the components by what they said out of fold, calibrate that and merge their graphs into one."""
    progress = Progress("blend")
    context = load_context()
    parameters, dataset = context.parameters, context.dataset
    names = sorted(parameters.models.components)
    components = {name: read_out_of_fold(model_folder(name), dataset) for name in names}
    options = {"components": ", ".join(names), **msgspec.to_builtins(parameters.models.blend)}
    with context.tracker().fit(BLEND, options) as run, fit_trial(context, run, BLEND, options) as trial:
        predictions, fitted = fit_blend(dataset, context.folds, components, parameters.models.blend)
        rows = last_window(dataset.time_ns, parameters.validation.train_steps)
        frequencies = class_frequencies(dataset, rows)
        models = {name: read_model(model_folder(name)) for name in names}
        content = graphs.to_bytes(with_side(fitted.graph(models, frequencies), context.rule))
        lookback = max(_lookback(model) for model in models.values())
        windows = dataset.windows(parity_rows(dataset, rows), lookback)
        answers = [
            graphs.run(models[name].SerializeToString(), windows[:, -_lookback(models[name]) :]) for name in names
        ]
        expected = restrict(fitted.answer(np.stack(answers), frequencies), windows, context.rule)
        parity = graphs.check_parity(content, windows, expected)
        folder = model_folder(BLEND)
        made_of: dict[str, Any] = {
            "weights": fitted.weights,
            "components": {name: context.model_parameters(name) for name in names},
        }
        manifest = write_model(folder, content, dataset, rows, parameters, context.feature_digest, lookback, made_of)
        reports = tuple(
            _fold_report(context, fold.number, _fold_loss(context, predictions, fold.number), {})
            for fold in context.folds
        )
        worst = max(parity, *(read_training(model_folder(name)).parity for name in components))
        written = TrainingReport(
            name=BLEND,
            folds=reports,
            fitted={},
            calibration=_slopes(fitted.slopes),
            parity=worst,
            weights=fitted.weights,
        )
        write_training(folder, dataset, predictions, written)
        for fold in reports:
            run.fold(fold.fold, fold.log_loss, {})
            trial.fold(fold.fold, fold.log_loss)
        trial.complete(predictions)
        run.metrics({f"weight_{name}": weight for name, weight in fitted.weights.items()})
        run.fitted(folder, written, manifest.model_digest)
        shares = ", ".join(f"{name} {weight:.2f}" for name, weight in fitted.weights.items())
        progress(f"weights {shares}; parity {worst:.1e}, model {manifest.model_digest[:12]}")


def _slopes(slopes: Slopes) -> dict[str, float]:
    return {"direction_slope": slopes.direction, "flatness_slope": slopes.flatness}


def _lookback(model: Any) -> int:
    return int(model.graph.input[0].type.tensor_type.shape.dim[1].dim_value)


def _fold_loss(context: Context, predictions: OutOfFold, number: int) -> float:
    here = predictions.fold == number
    return log_loss(predictions.calibrated[here], context.dataset.label[predictions.rows[here]])


def _fold_report(context: Context, number: int, loss: float, fitted: dict[str, float]) -> FoldReport:
    fold, times = context.folds[number], context.dataset.time_ns
    return FoldReport(
        number, len(fold.train), len(fold.test), int(times[fold.test].min()), int(times[fold.test].max()), loss, fitted
    )
