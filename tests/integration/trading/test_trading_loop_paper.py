"""The same loop on the paper broker: the same market gives the same orders and the same money as over HTTP."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from trading_session import (
    INSTRUMENTS,
    MomentumPredictor,
    Practice,
    make_config,
    make_feed,
    make_panel,
    trade_on_practice,
    write_state,
)

from core.domain import BarKind, OrderRequest, Panel, Predictor, default_instrument
from core.errors import UnavailableError
from trading.brokers.paper import PaperBroker
from trading.config import TraderConfig
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.feeds.steps import StepFeed
from trading.risk.limits import RiskParameters
from trading.summary import SessionSummary
from trading.trader import run_trader


async def trade_on_paper(
    config: TraderConfig, panel: Panel, predictor: Predictor, before: Sequence[OrderRequest] = ()
) -> SessionSummary:
    """Trade a session; ``before`` are orders that somebody else placed on the account."""
    clock = LockstepClock()
    source = make_feed(panel)
    instruments = {name: default_instrument(name) for name in INSTRUMENTS}
    broker = PaperBroker(instruments, clock, start_ns=source.start_ns)
    await broker.connect()
    try:
        for order in before:
            await broker.submit(order)
        feed = PaperFeed(StepFeed(source, clock), broker)
        return await run_trader(config, broker, predictor, clock, feed, handle_signals=False)
    finally:
        await broker.close()


async def test_paper_and_practice_agree_to_the_cent(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 30)
    config = make_config(tmp_path / "practice", BarKind.FIXING)
    (tmp_path / "practice").mkdir()
    write_state(panel, config.feature_set, config.state_path)
    with Practice(make_feed(panel)) as practice:
        remote = await trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set))
    (tmp_path / "paper").mkdir()
    config = make_config(tmp_path / "paper", BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    paper = await trade_on_paper(config, panel, MomentumPredictor(config.feature_set))
    assert paper.orders > 10
    assert paper.reconciliation is not None
    assert paper.reconciliation.reconciled, paper.reconciliation.differences
    assert (paper.order_digest, paper.balance, paper.equity_curve) == (
        remote.order_digest,
        remote.balance,
        remote.equity_curve,
    )


class FailingPredictor(MomentumPredictor):
    """Away for some of the steps, as a service is."""

    def __init__(self, set_name: str, away: range) -> None:
        super().__init__(set_name)
        self._away = away

    async def predict(self, request):  # type: ignore[no-untyped-def]
        if self.requests in self._away:
            self.requests += 1
            raise UnavailableError("prediction service does not answer")
        return await super().predict(request)


async def test_without_predictions_no_new_risk_is_taken(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 20)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    summary = await trade_on_paper(config, panel, FailingPredictor(config.feature_set, range(20)))
    assert summary.orders == 0
    assert summary.steps == 20
    assert summary.decisions == 20 * 4
    assert summary.degraded["prediction"] == 1
    assert summary.balance == 100_000


async def test_it_trades_again_when_predictions_are_back(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 20)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    summary = await trade_on_paper(config, panel, FailingPredictor(config.feature_set, range(5, 9)))
    assert summary.orders > 0
    assert summary.predictions["local"] == 16 * 4
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled


async def test_a_loss_limit_stops_new_risk_and_lets_positions_out(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 40)
    limits = RiskParameters(maximum_drawdown=0.002, maximum_daily_loss=0.9)
    config = make_config(tmp_path, BarKind.FIXING, risk=limits)
    write_state(panel, config.feature_set, config.state_path)
    summary = await trade_on_paper(config, panel, MomentumPredictor(config.feature_set))
    assert summary.risk_state == "REDUCING"
    assert summary.steps == 40
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled
    # Positions were only ever lowered after the breach, so the session ends with fewer orders than an unlimited one.
    (tmp_path / "free").mkdir()
    free = make_config(tmp_path / "free", BarKind.FIXING)
    write_state(panel, free.feature_set, free.state_path)
    unlimited = await trade_on_paper(free, panel, MomentumPredictor(free.feature_set))
    assert 0 < summary.orders < unlimited.orders
    assert Decimal(str(summary.maximum_drawdown)) < Decimal("0.2")
