"""One simulated market from the first draw to the gate's verdict."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec
import numpy as np

from core.params import required
from training.evaluation.metrics import log_loss_rows
from training.evaluation.report import evaluate
from training.evaluation.strategy import earn, hold, model_targets
from training.evidence import Bundle, Candidate, GatePolicy, Given, assemble, judge_statistics
from training.evidence.record import read_record
from training.leaks import check_leaks
from training.simulation.markets import MarketParameters
from training.simulation.search import Scored, SearchOptions, search, sizing_of
from training.simulation.study import Study, make_study, study_parameters
from training.trials import TrialLedger
from training.walkforward import class_frequencies

Kind = Literal["none", "planted"]
CANDIDATE = "candidate"
FOLDS = 5


class SimulationOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides every market of a simulation; its digest names the results, so that none is mixed with others."""

    trials: int = 100
    boosted: int = 2  # trials of a market that fit the real boosted trees
    steps: int = 9000
    strength: float = 0.08  # correlation of the planted state with the next return
    seed: int = 20260101


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said about the winner of one market, and what a model that knows everything would have found."""

    kind: Kind
    number: int
    process: str
    passed: bool
    failed: tuple[str, ...]  # names of the rules that refused
    trials: int
    effective: float
    sharpe: float  # of the winner, yearly, net
    deflated: float
    superiority: float
    overfitting: float | None
    loss_probability: float | None
    net_return_low: float
    skill: float
    direction_skill: float
    bayes_skill: float  # log-loss skill of the exact probabilities on the same rows
    bayes_direction_skill: float
    bayes_sharpe: float  # yearly, net, of the exact probabilities traded with the same sizing
    found: bool  # whether the winner uses the planted state


def judge_market(kind: Kind, number: int, options: SimulationOptions, params: dict[str, Any]) -> Outcome:
    """Draw a market, search it, and ask the gate about the winner.

    Args:
        kind: without signal, or planted.
        number: of the market; every second one has stochastic volatility in place of GARCH.
        options: of the simulation.
        params: the workspace's ``params.yaml``: sizing, evaluation, execution and gate are its own.
    """
    seed = [options.seed, 0 if kind == "none" else 1, number]
    market = MarketParameters(
        steps=options.steps,
        strength=options.strength if kind == "planted" else 0.0,
        process="garch" if number % 2 == 0 else "stochastic_volatility",
    )
    parameters = study_parameters(market, FOLDS, int(required(params, "seed")), params)
    study = make_study(market, parameters, seed)
    with (
        TemporaryDirectory(prefix="tidegate-simulation-") as folder,
        TrialLedger(f"sqlite:///{Path(folder) / 'trials.db'}") as ledger,
    ):
        scored = search(study, ledger, f"{kind}-{number}", SearchOptions(options.trials, options.boosted), seed)
        winner = max(scored, key=lambda trial: (trial.sharpe, -trial.number))
        bundle = _bundle(study, ledger, winner)
    verdict = judge_statistics(bundle, GatePolicy.from_params(params))
    return _outcome(kind, number, study, winner, bundle, tuple(r.rule for r in verdict.rules if not r.passed))


def _bundle(study: Study, ledger: TrialLedger, winner: Scored) -> Bundle:
    """Return the evidence about a winner, made by the same code as that of a real candidate."""
    raw = study.parameters.raw
    # The sizing is part of the trial: the candidate is judged with the one it was chosen for.
    own = {**raw, "strategy": {**raw["strategy"], "kelly_fraction": winner.choice.kelly_fraction}}
    parameters = msgspec.structs.replace(study.parameters, raw=own)
    policy = GatePolicy.from_params(raw)
    content = evaluate(study.dataset, study.folds, {CANDIDATE: winner.predictions}, parameters).content
    candidate = Candidate.of(CANDIDATE, study.dataset, study.folds, winner.predictions, parameters)
    given = Given(
        content=content,
        recorded=read_record(ledger, study.lineage, winner.trial_id),
        leaks=check_leaks(study.dataset, study.folds, parameters.seed, policy.leaks),
        notes=("simulated market: no package, no registry, no champion",),
    )
    return assemble(candidate, parameters, given, policy.stress_multiple)


def _outcome(kind: Kind, number: int, study: Study, winner: Scored, bundle: Bundle, failed: tuple[str, ...]) -> Outcome:
    search_of, result = bundle.search, bundle.result
    year = bundle.steps_per_year**0.5
    skill, direction, sharpe = _bayes(study, winner)
    return Outcome(
        kind=kind,
        number=number,
        process=study.market.parameters.process,
        passed=not failed,
        failed=failed,
        trials=bundle.record.trials if bundle.record else 0,
        effective=search_of.effective if search_of else 0.0,
        sharpe=winner.sharpe * year,
        deflated=search_of.deflated if search_of else 0.0,
        superiority=search_of.superiority if search_of else 1.0,
        overfitting=search_of.overfitting if search_of else None,
        loss_probability=search_of.loss_probability if search_of else None,
        net_return_low=result["strategy"]["net_return_a_year"]["low"],
        skill=result["skill"]["value"],
        direction_skill=result["direction_skill"]["value"],
        bayes_skill=skill,
        bayes_direction_skill=direction,
        bayes_sharpe=sharpe * year,
        found=len(study.dataset.feature_names) - 1 in winner.choice.columns,
    )


def _bayes(study: Study, winner: Scored) -> tuple[float, float, float]:
    """Return skill, direction skill and Sharpe ratio per step of the exact probabilities on the test rows.

    Losses are expected ones, over the law of the labels and not their draw: no model's expectation is lower.
    """
    rows, dataset = study.rows, study.dataset
    truth = study.truth[rows]
    reference = np.concatenate(
        [np.tile(class_frequencies(dataset, fold.train), (len(fold.test), 1)) for fold in study.folds]
    )
    best = -(truth * np.log(truth)).sum()
    skill = 1.0 - float(best / log_loss_rows(reference, dataset.label[rows]).sum())
    sides, base = truth[:, [0, 2]], reference[:, [0, 2]]
    share, known = sides / sides.sum(axis=1, keepdims=True), base / base.sum(axis=1, keepdims=True)
    direction = 1.0 - float((sides * np.log(share)).sum() / (sides * np.log(known)).sum())
    sizing = sizing_of(study, winner.choice)
    column = dataset.feature_names.index(study.parameters.raw["strategy"]["volatility_feature"])
    volatility = dataset.features[rows, column].astype(np.float64)
    targets = model_targets(truth, volatility, dataset.economics["cost_return"][rows], sizing)
    net = earn(hold(dataset, rows, targets, sizing)).net
    deviation = float(net.std())
    return skill, direction, float(net.mean()) / deviation if deviation > 1e-12 else 0.0
