"""The strategy of the registered models: features → one prediction request → sizes within the portfolio limits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from core.crash_points import reach
from core.domain import Alternative, AnsweredBy, Prediction, PredictionRequest, Predictor
from core.errors import RefusedError, UnavailableError
from core.logging import get_logger
from trading import records
from trading.config import TraderConfig
from trading.degradation import Degradation
from trading.desk import Desk
from trading.metrics import TraderMetrics
from trading.steps import Step
from trading.strategy.decide import Costs, Decision, Inputs, PortfolioLimits, decide
from trading.strategy.handover import check_strategies, own_sizings
from trading.strategy.interface import Portfolio
from trading.strategy.scoring import scoring_inputs
from trading.window import FeatureWindow

_log = get_logger("trading")


class ModelStrategy:
    """Asks the predictor once a step for all instruments. Without an answer it takes no new risk.

    Args:
        config: the session.
        desk: writes the predictions down.
        predictor: who answers.
        window: features of the session.
        degradation: told when predictions stay away.
        metrics: of the trader.
        features_path: where ``finish`` writes every live feature row.
    """

    def __init__(
        self,
        config: TraderConfig,
        desk: Desk,
        predictor: Predictor,
        window: FeatureWindow,
        degradation: Degradation,
        metrics: TraderMetrics,
        features_path: Path,
    ) -> None:
        self._config = config
        self._desk = desk
        self._predictor = predictor
        self._window = window
        self._degradation = degradation
        self._metrics = metrics
        self._features_path = features_path
        self._costs = Costs(config.costs.slippage_pips, config.costs.commission_per_million)
        self._limits = PortfolioLimits(
            config.risk.maximum_order_units, config.risk.maximum_gross_leverage, config.risk.maximum_currency_leverage
        )
        self._predictions: Mapping[str, Prediction] = {}
        self._excuse = "no prediction was asked for"

    @property
    def newest_ns(self) -> int:
        """Time of the newest step in the feature state."""
        return self._window.newest_ns

    def observe(self, step: Step) -> None:
        """Run the feature kernel once; a step the restored state holds already is left out."""
        if step.time_ns > self._window.newest_ns:
            self._window.update(step.time_ns, step.rows)

    async def prepare(self, step: Step) -> None:
        """Ask once for all instruments of the step, unless the journal has the answer; keep why there is none."""
        progress = self._desk.state.step
        if progress is not None and progress.time_ns == step.time_ns and progress.predictions:
            self._predictions, self._excuse = progress.predictions, ""
            return
        names = tuple(name for name in self._config.instruments if name not in step.missing)
        chosen = [index for index, name in enumerate(self._config.instruments) if name not in step.missing]
        request = PredictionRequest(
            strategy=self._config.strategy,
            time_ns=step.time_ns,
            instruments=names,
            decision_ids=tuple(f"{self._config.strategy}:{name}:{step.time_ns}" for name in names),
            feature_digest=self._window.digest,
            features=np.ascontiguousarray(self._window.windows()[chosen]),
        )
        try:
            answers = await self._predictor.predict(request)
            _check_answers(request, answers)
            check_strategies(self._config.sizing, answers)
        except (UnavailableError, RefusedError) as error:
            self._degradation.begin("prediction", error.message)
            self._predictions, self._excuse = {}, f"no prediction: {error.message}"
            return
        self._degradation.end("prediction")
        if any(answer.alternatives for answer in answers):
            answers = [_with_sound_alternatives(answer) for answer in answers]
        self._desk.commit(records.PredictionsMade(step.time_ns, tuple(answers)))
        reach("step.predicted")
        for answer in answers:
            self._metrics.predictions.labels(answer.answered_by.value).inc()
        self._note_source(answers)
        self._predictions, self._excuse = {answer.instrument: answer for answer in answers}, ""

    def _note_source(self, answers: Sequence[Prediction]) -> None:
        """Say when the local champion answers in place of the service."""
        if not self._config.prediction_service:
            return
        if any(answer.answered_by is AnsweredBy.LOCAL for answer in answers):
            words = "the prediction service does not answer: the champion in this process does"
            self._degradation.begin("serving", words)
        else:
            self._degradation.end("serving")

    async def decide(self, step: Step, now_ns: int, portfolio: Portfolio) -> Sequence[Decision]:
        """Size all instruments together; ``now_ns`` changes nothing beyond what ``portfolio`` says is stale."""
        exits_only = portfolio.exits_only
        if self._excuse:
            exits_only = dict.fromkeys(self._config.instruments, self._excuse)
        inputs = Inputs(
            time_ns=step.time_ns,
            equity=portfolio.equity,
            positions=portfolio.positions,
            quotes=portfolio.quotes,
            rates=portfolio.rates,
            predictions=self._predictions,
            volatilities=self._window.volatilities(),
            exits_only=exits_only,
            reducing=portfolio.reducing,
            sizings=own_sizings(self._config.sizing, self._predictions),
        )
        names, instruments = self._config.instruments, portfolio.instruments
        if any(prediction.alternatives for prediction in self._predictions.values()):
            noted = scoring_inputs(names, instruments, inputs, self._costs)
            self._desk.commit(records.ScoringNoted(step.time_ns, portfolio.equity, noted))
            reach("step.scoring_noted")
        return decide(self._config.strategy, names, instruments, inputs, self._config.sizing, self._costs, self._limits)

    def volatilities(self) -> Mapping[str, float]:
        """Volatility of a one-step log return by instrument."""
        return self._window.volatilities()

    def settle(self, step: Step, now_ns: int) -> None:
        """Publish the newest feature row and save the state now and then."""
        self._window.publish(now_ns)
        self._window.snapshot_if_due(self._desk, step.time_ns)

    def finish(self) -> None:
        """Write every live feature row of the session."""
        self._window.save_parity(self._features_path)


def _check_answers(request: PredictionRequest, answers: list[Prediction]) -> None:
    """Refuse an answer to another question, or one that is no distribution: neither may become an order.

    Raises:
        RefusedError: naming the first wrong prediction.
    """
    if tuple(answer.decision_id for answer in answers) != request.decision_ids:
        raise RefusedError("the prediction service answered other decisions than it was asked for")
    for answer in answers:
        if not _is_distribution(answer):
            probabilities = (answer.probability_short, answer.probability_flat, answer.probability_long)
            raise RefusedError(f"prediction {answer.decision_id} is no probability distribution: {probabilities}")


def _is_distribution(said: Prediction | Alternative) -> bool:
    probabilities = (said.probability_short, said.probability_flat, said.probability_long)
    return all(0.0 <= p <= 1.0 for p in probabilities) and abs(sum(probabilities) - 1.0) < 1e-3


def _with_sound_alternatives(answer: Prediction) -> Prediction:
    """Leave out what no version can have meant: what is only scored never keeps the trader from trading."""
    sound = tuple(said for said in answer.alternatives if _is_distribution(said))
    if len(sound) == len(answer.alternatives):
        return answer
    for said in answer.alternatives:
        if said not in sound:
            _log.warning("alternative is no distribution", decision=answer.decision_id, version=said.model_version)
    return msgspec.structs.replace(answer, alternatives=sound)
