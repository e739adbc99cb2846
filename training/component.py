"""One component from rows to graph: walk-forward, the final fit, calibration, export and the proof of parity."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.dataset import Dataset
from training.labels.primary import PrimaryRule
from training.labels.side_graph import restrict, with_side
from training.models import create, graph
from training.models.calibration import Slopes
from training.models.interface import Forecaster
from training.package import parity_rows
from training.parameters import Parameters
from training.splits import Split, last_window
from training.walkforward import OutOfFold, Rows, class_frequencies, final_slopes, next_model, walk_forward


@dataclass(frozen=True)
class Component:
    """A model fitted on the last window, what it said out of fold before, and its graph.

    ``parity`` is the largest difference between the graph's answers and the model's.
    """

    model: Forecaster
    predictions: OutOfFold
    rows: Rows  # of the final fit
    slopes: Slopes
    content: bytes
    parity: float


def fit_component(
    name: str,
    parameters: Parameters,
    dataset: Dataset,
    folds: list[Split],
    report: Callable[[int, float, Forecaster], None],
    rule: PrimaryRule | None = None,
    checkpoints: Path | None = None,
) -> Component:
    """Validate a model walk-forward, fit it on the last window, calibrate and export it.

    Args:
        name: of the model.
        parameters: of the run.
        dataset: the rows.
        folds: the splits, in time order.
        report: called after each fold with its number, the test rows' log loss and the model.
        rule: that gives meta-labels their side, None for other labels.
        checkpoints: where networks keep what they have learnt so far.

    Raises:
        IntegrityError: the graph does not answer as the model does.
    """
    latest: Forecaster | None = None

    def reported(number: int, loss: float, model: Forecaster) -> None:
        nonlocal latest
        latest = model
        report(number, loss, model)

    def unfitted() -> Forecaster:
        return create(name, parameters, checkpoints)

    predictions = walk_forward(dataset, folds, unfitted, reported)
    rows = last_window(dataset.time_ns, parameters.validation.train_steps)
    model = next_model(latest, unfitted, lambda lookback: dataset.training_data(rows, lookback))
    slopes = final_slopes(dataset, folds, predictions, predictions.raw)
    calibration = slopes.around(class_frequencies(dataset, rows))
    content = graph.to_bytes(with_side(graph.with_calibration(model.graph(), calibration), rule))
    windows = dataset.windows(parity_rows(dataset, rows), model.lookback)
    expected = restrict(calibration.apply(model.predict_proba(windows)), windows, rule)
    return Component(model, predictions, rows, slopes, content, graph.check_parity(content, windows, expected))
