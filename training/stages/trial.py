"""Every fit of a stage is a trial, and so is every evaluation that could have come out otherwise.

A fit's trial is begun before the model is fitted and closed with its folds and its out-of-fold returns. The evaluation
stage looks at the same returns again, unless sizing or cost were changed since: then it tries something new.
"""

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from core.digest import digest_value
from trading.strategy.sizing import SizingParameters
from training.evaluation.strategy import Array, earn, hold, model_targets, step_volatility
from training.stages.context import Context
from training.tracking import STUDY, TRIAL, Run, study_name
from training.trials import Status, Trial, TrialLedger
from training.trials.record import Kind, plain
from training.trials.session import data_lineage, open_ledger
from training.walkforward import OutOfFold, log_loss

# What decides a fit, or what it would have earned, beside the model's own parameters.
_SECTIONS = ("costs", "features", "labels", "strategy", "validation")
_DECISIONS = ("costs", "strategy")  # what makes other returns of the same predictions


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
        _complete(self.trial, self.context, predictions, self.sizing, self.volatility)


@contextmanager
def fit_trial(context: Context, run: Run, subject: str, parameters: Mapping[str, Any]) -> Generator[FitTrial]:
    """Begin the trial of one model and tie it to its MLflow run by tags.

    A stage that DVC restores from its cache fits nothing and begins none.

    Raises:
        BadInputError: the positions of the trial could not be sized as ``params.yaml`` asks.
        UnavailableError: the ledger does not answer; nothing is fitted.
    """
    sizing, volatility = _sizing(context)
    with open_ledger() as ledger, _begin(ledger, context, "fit", subject, parameters, run.run_id) as trial:
        run.tags({TRIAL: trial.id, STUDY: study_name(context.lineage)})
        yield FitTrial(trial, context, sizing, volatility)


@contextmanager
def evaluation_trials(context: Context, predictions: Mapping[str, OutOfFold]) -> Generator[tuple[str, ...]]:
    """Begin a trial of each model whose returns under today's sizing and cost are not on record; close them afterwards.

    Yields the names of those models. A model that was fitted with the same sizing and cost has its trial already, and
    judging the same returns once more chooses nothing.

    Raises:
        BadInputError: positions cannot be sized as ``params.yaml`` asks.
        UnavailableError: the ledger does not answer; nothing is evaluated.
    """
    sizing, volatility = _sizing(context)
    with open_ledger() as ledger, ExitStack() as stack:
        known = _on_record(ledger, context)
        begun = {
            name: stack.enter_context(_begin(ledger, context, "backtest", name, context.model_parameters(name), ""))
            for name in sorted(set(predictions) - known)
        }
        yield tuple(begun)
        for name, trial in begun.items():
            _complete(trial, context, predictions[name], sizing, volatility)


def _begin(
    ledger: TrialLedger, context: Context, kind: Kind, subject: str, parameters: Mapping[str, Any], run: str
) -> AbstractContextManager[Trial]:
    lineage, raw = context.lineage, context.parameters.raw
    tried = {"model": dict(parameters), **{name: raw[name] for name in _SECTIONS if raw.get(name) is not None}}
    return ledger.trial(
        study=study_name(lineage),
        kind=kind,
        subject=subject,
        lineage=data_lineage(raw),
        parameters=tried,
        seed=context.parameters.seed,
        code_digest=digest_value(lineage.code_digests),
        data_digest=lineage.data_digest,
        run=run,
    )


def _on_record(ledger: TrialLedger, context: Context) -> set[str]:
    """Return the models of this retraining that left returns made with today's sizing and cost."""
    raw = context.parameters.raw
    wanted = {name: plain(raw[name], name) for name in _DECISIONS if raw.get(name) is not None}
    rows = ledger.trials(data_lineage(raw), study_name(context.lineage), status=Status.COMPLETED)
    return {
        row.subject
        for row in rows
        if row.steps > 0
        and row.data_digest == context.lineage.data_digest
        and {name: row.parameters[name] for name in _DECISIONS if name in row.parameters} == wanted
    }


def _sizing(context: Context) -> tuple[SizingParameters, Array]:
    raw = context.parameters.raw
    feature = (raw.get("strategy") or {}).get("volatility_feature")
    return SizingParameters.from_params(raw), step_volatility(context.dataset, feature)


def _complete(
    trial: Trial, context: Context, predictions: OutOfFold, sizing: SizingParameters, volatility: Array
) -> None:
    dataset, rows = context.dataset, predictions.rows
    cost = dataset.economics["cost_return"][rows]
    positions = hold(dataset, rows, model_targets(predictions.calibrated, volatility[rows], cost, sizing), sizing)
    earned = earn(positions)
    deviation, yearly = float(earned.net.std()), sizing.steps_per_year
    values = {
        "log_loss": log_loss(predictions.calibrated, dataset.label[rows]),
        "sharpe": float(earned.net.mean()) / deviation * yearly**0.5 if deviation > 0 else 0.0,
        "net_return_a_year": float(earned.net.mean()) * yearly,
        "turnover_a_year": float(earned.traded.mean()) * yearly,
        "maximum_drawdown": earned.drawdown,
        "trades": float(earned.trades),
    }
    trial.complete(values, earned.net, positions.time_ns)
