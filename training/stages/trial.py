"""Every fit of a stage is a trial: begun before a model is fitted, closed with its folds and out-of-fold returns."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.digest import digest_value
from trading.strategy.sizing import SizingParameters
from training.evaluation.strategy import Array, earn, hold, model_targets, step_volatility
from training.stages.context import Context
from training.tracking import STUDY, TRIAL, Run, study_name
from training.trials import Trial
from training.trials.session import data_lineage, open_ledger
from training.walkforward import OutOfFold, log_loss

# What decides a fit, or what it would have earned, beside the model's own parameters.
_SECTIONS = ("costs", "features", "labels", "strategy", "validation")


@dataclass(frozen=True)
class FitTrial:
    """The trial of one model: a walk-forward and the final fit."""

    trial: Trial
    context: Context
    sizing: SizingParameters
    volatility: Array  # of one step, per row of the dataset

    def fold(self, number: int, loss: float) -> None:
        """Record the log loss of a fold's test rows, in nats."""
        self.trial.fold(number, loss, len(self.context.folds[number].test))

    def complete(self, predictions: OutOfFold) -> None:
        """Close the trial with the log loss of the calibrated predictions and what they would have earned after cost.

        Raises:
            RefusedError, UnavailableError: the result is not on record; the stage must not go on.
        """
        dataset, rows = self.context.dataset, predictions.rows
        cost = dataset.economics["cost_return"][rows]
        targets = model_targets(predictions.calibrated, self.volatility[rows], cost, self.sizing)
        positions = hold(dataset, rows, targets, self.sizing)
        earned = earn(positions)
        deviation, yearly = float(earned.net.std()), self.sizing.steps_per_year
        values = {
            "log_loss": log_loss(predictions.calibrated, dataset.label[rows]),
            "sharpe": float(earned.net.mean()) / deviation * yearly**0.5 if deviation > 0 else 0.0,
            "net_return_a_year": float(earned.net.mean()) * yearly,
            "turnover_a_year": float(earned.traded.mean()) * yearly,
            "maximum_drawdown": earned.drawdown,
            "trades": float(earned.trades),
        }
        self.trial.complete(values, earned.net, positions.time_ns)


@contextmanager
def fit_trial(context: Context, run: Run, subject: str, parameters: Mapping[str, Any]) -> Generator[FitTrial]:
    """Begin the trial of one model and tie it to its MLflow run by tags.

    A stage that DVC restores from its cache fits nothing and begins none.

    Raises:
        BadInputError: the positions of the trial could not be sized as ``params.yaml`` asks.
        UnavailableError: the ledger does not answer; nothing is fitted.
    """
    lineage, raw = context.lineage, context.parameters.raw
    sizing = SizingParameters.from_params(raw)
    volatility = step_volatility(context.dataset, raw.get("strategy", {}).get("volatility_feature"))
    study = study_name(lineage)
    tried = {"model": dict(parameters), **{name: raw[name] for name in _SECTIONS if raw.get(name) is not None}}
    with (
        open_ledger() as ledger,
        ledger.trial(
            study=study,
            kind="fit",
            subject=subject,
            lineage=data_lineage(raw),
            parameters=tried,
            seed=context.parameters.seed,
            code_digest=digest_value(lineage.code_digests),
            data_digest=lineage.data_digest,
            run=run.run_id,
        ) as trial,
    ):
        run.tags({TRIAL: trial.id, STUDY: study})
        yield FitTrial(trial, context, sizing, volatility)
