"""A search of many trials on one simulated market, written to a trial ledger as a real one is.

The first half of the trials draws feature subsets and parameters freely, the second half changes one of the best so
far: what a person does with results in hand, and what makes a search find patterns that are not there. The winner is
the trial with the best out-of-sample Sharpe ratio after cost, the choice that flatters itself most.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from trading.strategy.sizing import SizingParameters
from training.dataset import TrainingData
from training.evaluation.metrics import log_loss_rows
from training.evaluation.strategy import Performance, model_targets, simulate, step_volatility
from training.model_parameters import XgboostParameters
from training.simulation.learner import fit_predict
from training.simulation.study import Study
from training.trials import Draft, Fold, Trial, TrialLedger
from training.walkforward import OutOfFold, progressive_calibration

Array = NDArray[np.float64]
LINEAR, BOOSTED = "linear", "boosted"
_LEAST, _MOST = 2, 12  # features of a freely drawn trial
_PARENTS = 5  # of the second half
_ROUND = 10  # trials that are begun together and do not see each other
_LEARNING_RATE = 0.1


class Choice(msgspec.Struct, frozen=True):
    """The parameters of one trial."""

    learner: str
    columns: tuple[int, ...]  # indices of the features used
    penalty: float  # linear: ridge as a share of the rows
    share: float  # linear: newest share of the training window that is used
    rounds: int  # boosted: the most trees a class
    kelly_fraction: float  # of the sizing


@dataclass(frozen=True)
class Scored:
    """One trial and how it went; ``trial_id`` is its row in the ledger."""

    trial_id: str
    number: int
    choice: Choice
    predictions: OutOfFold
    performance: Performance
    log_loss: float

    @property
    def sharpe(self) -> float:
        """Of net returns, per step; 0 for a trial that never trades."""
        deviation = float(self.performance.net.std())
        return float(self.performance.net.mean()) / deviation if deviation > 1e-12 else 0.0


@dataclass(frozen=True)
class SearchOptions:
    """How many trials a market gets, and how many of them fit the real boosted trees."""

    trials: int = 100
    boosted: int = 2


def search(study: Study, ledger: TrialLedger, name: str, options: SearchOptions, seed: list[int]) -> list[Scored]:
    """Run every trial of a market and return them in the order they were made.

    Args:
        study: the market.
        ledger: where each trial is written before it starts.
        name: of the study in the ledger.
        options: how many.
        seed: of the choices.
    """
    generator = np.random.default_rng(seed)
    scored: list[Scored] = []
    half = (options.trials + 1) // 2
    # Spread over the free half, so that the second half can build on what the trees found.
    boosted = set(np.linspace(0, half, options.boosted, endpoint=False).astype(int).tolist())
    for first in range(0, options.trials, _ROUND):
        numbers = range(first, min(first + _ROUND, options.trials))
        best = sorted(scored, key=lambda trial: (-trial.sharpe, trial.number))[:_PARENTS]
        choices: list[Choice] = []
        for number in numbers:
            choice = _draw(generator, len(study.dataset.feature_names), number in boosted)
            if number >= half and best:
                choice = _change(generator, best[int(generator.integers(len(best)))].choice, choice)
            choices.append(choice)
        scored += _round(study, ledger, name, numbers, choices)
    return scored


def _draw(generator: np.random.Generator, features: int, boosted: bool) -> Choice:
    count = int(generator.integers(_LEAST, _MOST + 1))
    columns = np.sort(generator.choice(features, count, replace=False))
    return Choice(
        learner=BOOSTED if boosted else LINEAR,
        columns=tuple(int(column) for column in columns),
        penalty=float(10.0 ** generator.uniform(-4.0, -1.0)),
        share=float(generator.choice([0.5, 1.0])),
        rounds=int(generator.choice([30, 60])),
        kelly_fraction=float(generator.choice([0.1, 0.25, 0.5])),
    )


def _change(generator: np.random.Generator, parent: Choice, fresh: Choice) -> Choice:
    """Return the parent with some features dropped, some added and one number redrawn."""
    kept = [column for column in parent.columns if generator.random() < 0.8] or [parent.columns[0]]
    added = [column for column in fresh.columns[:3] if generator.random() < 0.5]
    number = ("penalty", "share", "rounds", "kelly_fraction")[int(generator.integers(4))]
    columns = tuple(sorted({*kept, *added}))
    # The changed trial is always the fast learner: a tree among the parents hands on its features.
    changed: dict[str, Any] = {"columns": columns, "learner": LINEAR, number: getattr(fresh, number)}
    return msgspec.structs.replace(parent, **changed)


def _round(study: Study, ledger: TrialLedger, name: str, numbers: range, choices: list[Choice]) -> list[Scored]:
    """Write a round of trials into the ledger, run them, and close them with what they found."""
    drafts = [
        Draft(msgspec.to_builtins(choice), study.parameters.seed, number)
        for number, choice in zip(numbers, choices, strict=True)
    ]
    with ledger.batch(
        study=name, kind="fit", subject="candidate", lineage=study.lineage, drafts=drafts, code_digest=study.code_digest
    ) as batch:
        return [
            _run(study, batch[place], number, choice)
            for place, (number, choice) in enumerate(zip(numbers, choices, strict=True))
        ]


def _run(study: Study, trial: Trial, number: int, choice: Choice) -> Scored:
    dataset, rows = study.dataset, study.rows
    raw = _linear(study, choice) if choice.learner == LINEAR else _boosted(study, choice)
    fold = np.concatenate([np.full(len(part.test), part.number, np.int64) for part in study.folds])
    predictions = OutOfFold(rows, fold, raw, progressive_calibration(dataset, study.folds, rows, fold, raw))
    losses = log_loss_rows(predictions.calibrated, dataset.label[rows])
    performance = performance_of(study, predictions, choice)
    scored = Scored(trial.id, number, choice, predictions, performance, float(losses.mean()))
    trial.complete(
        {"log_loss": scored.log_loss, "sharpe": scored.sharpe},
        returns=performance.net,
        times_ns=np.unique(dataset.time_ns[rows]),
        folds=[Fold(part.number, float(losses[fold == part.number].mean()), len(part.test)) for part in study.folds],
    )
    return scored


def sizing_of(study: Study, choice: Choice) -> SizingParameters:
    """Return the sizing a trial trades with."""
    return msgspec.structs.replace(
        SizingParameters.from_params(study.parameters.raw), kelly_fraction=choice.kelly_fraction
    )


def performance_of(study: Study, predictions: OutOfFold, choice: Choice) -> Performance:
    """Trade a trial's calibrated predictions with the platform's sizing and costs."""
    dataset, rows, sizing = study.dataset, predictions.rows, sizing_of(study, choice)
    volatility = step_volatility(dataset, study.parameters.raw["strategy"]["volatility_feature"])[rows]
    targets = model_targets(predictions.calibrated, volatility, dataset.economics["cost_return"][rows], sizing)
    return simulate(dataset, rows, targets, sizing)


def _linear(study: Study, choice: Choice) -> Array:
    columns = np.array(choice.columns, np.int64)
    return np.concatenate([fit_predict(fold, columns, choice.penalty, choice.share) for fold in study.prepared])


def _boosted(study: Study, choice: Choice) -> Array:
    from training.models.xgboost import XgboostForecaster

    dataset, columns = study.dataset, np.array(choice.columns, np.int64)
    parameters = XgboostParameters(rounds=choice.rounds, learning_rate=_LEARNING_RATE, early_stopping=10)
    answers: list[Array] = []
    for fold in study.folds:
        model = XgboostForecaster(parameters, study.parameters.seed)
        data = dataset.training_data(fold.train, 1)
        windows = np.ascontiguousarray(dataset.windows(fold.train, 1)[:, :, columns])
        model.fit(TrainingData(windows, data.labels, data.weights, data.time_ns, data.label_end_ns))
        answers.append(model.predict_proba(np.ascontiguousarray(dataset.windows(fold.test, 1)[:, :, columns])))
    return np.concatenate(answers)
