"""A small market traded by the real loop with two real packages: one answers, the other one is scored beside it."""

from pathlib import Path

from serving_packages import verified
from test_trading_loop_paper import trade_on_paper
from trading_session import make_config, make_panel, write_state

from core.database import create_engine, migrate
from core.domain import AnsweredBy, BarKind, Prediction, PredictionRequest
from core.errors import UnavailableError
from core.journal import read_entries
from features.sets import feature_set
from serving.predictor import PredictorCore, ServedPolicy, ServedVersion
from serving.release.policy import Alphas
from serving.traffic.policy import Traffic
from trading.config import TraderConfig
from trading.ledger.projector import Projector
from trading.strategy.decide import PortfolioLimits
from trading.strategy.sizing import SizingParameters
from training.online import Comparison, OnlineRules, OnlineSettings

STRATEGY = "test"


class TwoVersions:
    """The platform's predictor with a policy of champion and challenger, as a replica has it."""

    def __init__(self, folder: Path, config: TraderConfig, traffic: Traffic, away: range = range(0)) -> None:
        """``away``: numbers of requests at which nobody answers."""
        chosen = feature_set(config.feature_set)
        packages = [
            verified(
                folder / name,
                bias=bias,
                strategy=STRATEGY,
                lookback=config.lookback,
                features=len(chosen.columns),
                feature_digest=chosen.digest,
                sizing=sizing,
            )
            for name, bias, sizing in (
                ("champion", 0.0, {"target_volatility": 0.06}),
                ("challenger", 6.0, {"kelly_fraction": 0.2, "rebalance_threshold": 0.05}),
            )
        ]
        self.champion, self.challenger = (package.model_digest for package in packages)
        self._core = PredictorCore()
        first, second = (ServedVersion(package, str(number)) for number, package in enumerate(packages, 1))
        self._core.change(ServedPolicy(STRATEGY, 3, first, second, traffic=traffic))
        self._away = away
        self.requests = 0

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        self.requests += 1
        if self.requests - 1 in self._away:
            raise UnavailableError("prediction service does not answer")
        return self._core.predict(request).predictions(request, AnsweredBy.LOCAL)

    def comparison(self, since_ns: int = 0, step_since_ns: int | None = None) -> Comparison:
        return Comparison(STRATEGY, self.champion, self.challenger, since_ns, step_since_ns)


async def trade_with_two(
    folder: Path, steps: int, traffic: Traffic, away: range = range(0)
) -> tuple[TraderConfig, TwoVersions]:
    """Trade and return what the session was."""
    panel = make_panel(BarKind.FIXING, steps)
    # Without attached stops: what a broker executes between two decisions is no part of the comparison.
    sizing = SizingParameters(steps_per_year=260, stop_loss_volatilities=0.0)
    config = make_config(folder, BarKind.FIXING, sizing=sizing)
    write_state(panel, config.feature_set, config.state_path)
    predictor = TwoVersions(folder, config, traffic, away)
    await trade_on_paper(config, panel, predictor)
    return config, predictor


def project(config: TraderConfig, url: str, last: int | None = None) -> int:
    """Bring the session's journal, up to an entry, into a database; return the last entry of the journal."""
    journal = config.session_directory / "journal"
    whole = max(entry.sequence for entry in read_entries(journal))
    engine = create_engine(url)
    migrate(engine)
    projector = Projector(engine, journal, config.session_id)
    while projector.project(whole if last is None else last) > 0:
        pass
    engine.dispose()
    return whole


def rules_of(config: TraderConfig, **settings: float) -> OnlineRules:
    limits = config.risk
    return OnlineRules(
        sizing=config.sizing,
        limits=PortfolioLimits(
            limits.maximum_order_units, limits.maximum_gross_leverage, limits.maximum_currency_leverage
        ),
        outcomes_known=True,
        alphas=Alphas(),
        settings=OnlineSettings(**({"block_steps": 5, "warm_blocks": 2} | settings)),  # type: ignore[arg-type]
    )
