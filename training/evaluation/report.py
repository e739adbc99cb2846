"""Everything ``evaluation.json`` says: each model and baseline on the same unseen rows, and the verdict in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError, IntegrityError
from trading.strategy.sizing import SizingParameters
from training.dataset import Dataset
from training.evaluation import metrics
from training.evaluation.bootstrap import BlockBootstrap, Interval
from training.evaluation.label_trades import label_trades
from training.evaluation.strategy import (
    Performance,
    model_targets,
    momentum_targets,
    sharpe_interval,
    simulate,
    step_volatility,
    yearly_interval,
)
from training.labels.primary import only_side
from training.models.baselines import PROBABILISTIC, WITHOUT
from training.parameters import Parameters
from training.splits import Split
from training.walkforward import OutOfFold

REFERENCE = PROBABILISTIC[0].name
FLAT = "flat"
MOMENTUM = "momentum"


@dataclass(frozen=True)
class Evaluation:
    """The JSON of the report, and each strategy's path for the plots."""

    content: dict[str, Any]
    performances: dict[str, Performance]
    times_ns: NDArray[np.int64]


def evaluate(
    dataset: Dataset, folds: list[Split], predictions: Mapping[str, OutOfFold], parameters: Parameters
) -> Evaluation:
    """Score models and baselines on the test rows of all folds.

    Args:
        dataset: the rows.
        folds: the splits the predictions were made with.
        predictions: out-of-fold predictions by model name.
        parameters: of the run.

    Raises:
        IntegrityError: the models were not tested on the same rows.
        BadInputError: ``models.chosen`` names no model.
    """
    rows = np.concatenate([fold.test for fold in folds])
    for name, prediction in predictions.items():
        if not np.array_equal(prediction.rows, rows):
            raise IntegrityError(f"model {name} was tested on other rows than this split has: train {name} again")
    judge = _Judge(dataset, folds, rows, parameters)
    for baseline in PROBABILISTIC:
        answer = np.concatenate([baseline.predict(dataset, fold.train, fold.test) for fold in folds])
        trend = judge.momentum() if baseline.name == MOMENTUM else None
        judge.add(baseline.name, answer, trend)
    judge.add_flat()
    baselines = dict(judge.entries)
    for name in sorted(predictions):
        judge.add(name, predictions[name].calibrated, None)
    models = {name: judge.entries[name] for name in sorted(predictions)}
    chosen = choose(models, parameters.models.chosen)
    winners = [name for name, entry in models.items() if _beats(entry, baselines)]
    content = {
        "market": parameters.market,
        "rows": len(rows),
        "decision_times": len(judge.axis),
        "folds": len(folds),
        "first_test_ns": int(dataset.time_ns[rows].min()),
        "last_test_ns": int(dataset.time_ns[rows].max()),
        "cutoff_ns": dataset.cutoff_ns,
        "reference": REFERENCE,
        "bootstrap": {"draws": parameters.evaluation.bootstrap_draws, "block_length": judge.block},
        "class_shares": [float((dataset.label[rows] == index).mean()) for index in range(3)],
        "models": models,
        "baselines": baselines,
        "chosen": chosen,
        "beats_baselines": bool(winners),
        "winners": winners,
        "words": _words(models, chosen, winners, len(judge.axis)),
        "notes": [WITHOUT, judge.volatility_note],
    }
    return Evaluation(content, judge.performances, judge.axis)


def choose(models: Mapping[str, dict[str, Any]], wanted: str) -> str:
    """Return the model to package: the named one, or the one with the best out-of-sample log loss."""
    if wanted == "best":
        return min(models, key=lambda name: (models[name]["log_loss"], name))
    if wanted not in models:
        raise BadInputError(f"params.yaml: models.chosen is {wanted!r}, known are best, {', '.join(sorted(models))}")
    return wanted


class _Judge:
    """Scores one set of probabilities after another on the same rows with the same bootstrap draws."""

    def __init__(self, dataset: Dataset, folds: list[Split], rows: NDArray[np.int64], parameters: Parameters) -> None:
        self.dataset = dataset
        self.rows = rows
        self.labels = dataset.label[rows]
        self.side = None if dataset.side is None else dataset.side[rows]
        self.fold = np.concatenate([np.full(len(fold.test), fold.number) for fold in folds])
        self.axis, self.step = np.unique(dataset.time_ns[rows], return_inverse=True)
        options = parameters.evaluation
        self.bins = options.calibration_bins
        # Labels that overlap make neighbours alike: a block must hold several of them, whatever the parameter says.
        self.block = max(options.block_length, 2 * parameters.labels.horizon)
        self.bootstrap = BlockBootstrap(len(self.axis), self.block, options.bootstrap_draws, parameters.seed)
        self.sizing = SizingParameters.from_params(parameters.raw)
        source = parameters.raw.get("strategy", {}).get("volatility_feature")
        self.volatility = step_volatility(dataset, source)[rows]
        self.volatility_note = (
            f"positions are sized by the feature {source}"
            if source
            else "positions are sized by an exponentially weighted volatility of the middle (decay 0.94)"
        )
        self.entries: dict[str, dict[str, Any]] = {}
        self.performances: dict[str, Performance] = {}
        self._reference: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def add(self, name: str, answer: NDArray[np.float64], targets: NDArray[np.float64] | None) -> None:
        """Score probabilities; trade them, or ``targets`` where given. Of meta-labels everybody knows the side."""
        answer = only_side(answer, self.side)
        losses = metrics.log_loss_rows(answer, self.labels)
        if self._reference is None:
            self._reference = answer, losses
        reference_answer, reference = self._reference
        bins = metrics.reliability(answer, self.labels, self.bins)
        numbers = np.unique(self.fold)
        per_fold = [float(losses[self.fold == number].mean()) for number in numbers]
        floor = [float(reference[self.fold == number].mean()) for number in numbers]
        cost = self.dataset.economics["cost_return"][self.rows]
        wanted = model_targets(answer, self.volatility, cost, self.sizing) if targets is None else targets
        performance = simulate(self.dataset, self.rows, wanted, self.sizing)
        self.performances[name] = performance
        skill = metrics.skill_interval(losses, reference, self.step, self.bootstrap)
        self.entries[name] = {
            "log_loss": float(losses.mean()),
            "brier": float(metrics.brier_rows(answer, self.labels).mean()),
            "skill": metrics.summary(skill),
            "direction_skill": metrics.summary(
                # Of meta-labels the side is given: what is left to know is whether to take it, the whole skill.
                metrics.direction_skill_interval(answer, reference_answer, self.labels, self.step, self.bootstrap)
                if self.side is None
                else skill
            ),
            "hit_rate": metrics.summary(
                metrics.hit_interval(answer, self.labels, self.step, self.bootstrap, self.side)
            ),
            "calibration_error": metrics.calibration_error(bins),
            "reliability": bins,
            "log_loss_per_fold": per_fold,
            "skill_per_fold": [1.0 - a / b for a, b in zip(per_fold, floor, strict=True)],
            "strategy": self._strategy(performance),
        }
        if self.dataset.end_bar is not None:
            trades = label_trades(self.dataset, self.rows, wanted, self.step, self.bootstrap)
            self.entries[name]["label_trades"] = trades

    def momentum(self) -> NDArray[np.float64]:
        """Return what trend following asks for."""
        return momentum_targets(self.dataset.economics["trailing_return"][self.rows], self.volatility, self.sizing)

    def add_flat(self) -> None:
        """Add the baseline that never trades; it claims no probabilities."""
        nothing = simulate(self.dataset, self.rows, np.zeros(len(self.rows)), self.sizing)
        self.performances[FLAT] = nothing
        self.entries[FLAT] = {"log_loss": None, "strategy": self._strategy(nothing)}

    def _strategy(self, performance: Performance) -> dict[str, Any]:
        years = len(self.axis) / self.sizing.steps_per_year
        sharpe: Interval = sharpe_interval(performance, self.sizing.steps_per_year, self.bootstrap)
        return {
            "sharpe": metrics.summary(sharpe),
            "net_return_a_year": metrics.summary(
                yearly_interval(performance, self.sizing.steps_per_year, self.bootstrap)
            ),
            "gross_return_a_year": float(performance.gross.sum() / years),
            "cost_a_year": float(performance.cost.sum() / years),
            "turnover_a_year": float(performance.traded.sum() / years),
            "mean_exposure": float(performance.exposure.mean()),
            "maximum_drawdown": performance.drawdown,
            "final_equity": float(performance.equity[-1]),
            "trades": performance.trades,
        }


def _beats(entry: dict[str, Any], baselines: dict[str, dict[str, Any]]) -> bool:
    """Return whether a model is better than every baseline in score and in profit after cost."""
    losses = [other["log_loss"] for other in baselines.values() if other["log_loss"] is not None]
    sharpes = [other["strategy"]["sharpe"]["value"] for other in baselines.values()]
    better = entry["log_loss"] < min(losses) and entry["strategy"]["sharpe"]["value"] > max(sharpes)
    return better and entry["skill"]["low"] > 0


def _words(models: dict[str, dict[str, Any]], chosen: str, winners: list[str], steps: int) -> str:
    def said(key: str) -> str:
        value = models[chosen][key]
        return f"{value['value']:+.3%} ({value['low']:+.3%} to {value['high']:+.3%})"

    sharpe = models[chosen]["strategy"]["sharpe"]
    found = (
        f"over {steps} unseen decision times {chosen} has a skill of {said('skill')} against class frequencies, "
        f"{said('direction_skill')} on the direction alone, and a Sharpe ratio of {sharpe['value']:+.2f} "
        f"({sharpe['low']:+.2f} to {sharpe['high']:+.2f}) after cost"
    )
    if winners:
        return f"{', '.join(winners)} beat{'s' if len(winners) == 1 else ''} every baseline out of sample: {found}."
    paid = models[chosen]["skill"]["low"] > 0
    reason = (
        " It knows better than chance when price stays within cost, but that does not pay."
        if paid
        else " There is no evidence of an edge."
    )
    return f"No model beats the baselines out of sample: {found}.{reason}"
