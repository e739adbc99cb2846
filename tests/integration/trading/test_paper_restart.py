"""The paper account over a restart of the trader, and in another currency than the dollar."""

from pathlib import Path

import pytest
from trading_session import INSTRUMENTS, WARM, MomentumPredictor, make_config, make_feed, make_panel, write_state

from core.domain import BarKind, Panel, default_instrument
from core.errors import ConfigurationError, RefusedError
from trading.brokers.paper import PaperBroker
from trading.config import TraderConfig
from trading.feeds.lockstep import LockstepClock
from trading.feeds.paper import PaperFeed
from trading.feeds.steps import StepFeed
from trading.matching.book import AccountConfiguration
from trading.summary import SessionSummary
from trading.trader import run_trader


async def trade(
    config: TraderConfig, panel: Panel, folder: Path | None, resume_ns: int = 0, currency: str = "USD"
) -> SessionSummary:
    clock = LockstepClock()
    source = make_feed(panel)
    broker = PaperBroker(
        {name: default_instrument(name) for name in INSTRUMENTS},
        clock,
        AccountConfiguration(currency=currency),
        folder=folder,
        start_ns=source.start_ns,
    )
    await broker.connect()
    try:
        feed = PaperFeed(StepFeed(source, clock, resume_ns), broker)
        predictor = MomentumPredictor(config.feature_set)
        return await run_trader(config, broker, predictor, clock, feed, handle_signals=False)
    finally:
        await broker.close()


async def test_a_paper_session_goes_on_after_a_restart_as_if_nothing_had_happened(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 24)
    half = int(panel.time_ns[WARM + 12])
    whole = make_config(tmp_path / "whole", BarKind.FIXING)
    parts = make_config(tmp_path / "parts", BarKind.FIXING)
    for config in (whole, parts):
        config.session_directory.mkdir(parents=True)
        write_state(panel, config.feature_set, config.state_path)
    undisturbed = await trade(whole, panel, tmp_path / "whole" / "paper")
    folder = tmp_path / "parts" / "paper"
    first = await trade(parts, panel.between(0, half), folder)
    assert first.fills > 0
    assert first.reconciliation is not None
    assert any(position.our_units for position in first.reconciliation.positions), "it is left with a position"
    second = await trade(parts, panel, folder, resume_ns=int(panel.time_ns[WARM + 11]))
    assert second.starts == 2
    assert (second.steps, second.order_digest, second.balance) == (
        undisturbed.steps,
        undisturbed.order_digest,
        undisturbed.balance,
    )
    assert second.reconciliation is not None
    assert second.reconciliation.reconciled, second.reconciliation.differences
    assert second.differences == 0


async def test_an_account_in_another_currency_trades_to_its_cent(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 20)
    config = make_config(tmp_path, BarKind.FIXING, account_currency="CHF")
    write_state(panel, config.feature_set, config.state_path)
    with pytest.raises(RefusedError, match="account is in USD, the session in CHF"):
        await trade(config, panel, None)
    summary = await trade(config, panel, tmp_path / "paper", currency="CHF")
    assert summary.account_currency == "CHF"
    assert summary.orders > 0
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled, summary.reconciliation.differences
    with pytest.raises(ConfigurationError, match="is in CHF, the settings say EUR"):
        await trade(config, panel, tmp_path / "paper", currency="EUR")
