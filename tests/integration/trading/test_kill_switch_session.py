"""Whole sessions on paper: held from before the start, and stopped by a breach in the middle."""

from decimal import Decimal
from pathlib import Path

import pytest
from test_trading_loop_paper import trade_on_paper
from trading_session import MomentumPredictor, make_config, make_panel, write_state

from core.clock import LiveClock
from core.domain import BarKind, OrderRequest, OrderState, OrderType, TimeInForce
from core.errors import RefusedError
from trading.control.kill_switch import KillSwitchFile, KillSwitchSetting
from trading.control.sessions import acknowledgement_path, read_acknowledgement
from trading.replay import replay_session
from trading.risk.lift import lift_restriction
from trading.risk.limits import RiskParameters, RiskState
from trading.risk.parameters import BreachAction
from trading.summary import SummaryCollector, read_state


async def test_a_session_begun_under_the_switch_sends_nothing(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 10)
    config = make_config(tmp_path, BarKind.FIXING, kill_switch_path=tmp_path / "control" / "kill-switch.json")
    write_state(panel, config.feature_set, config.state_path)
    setting = KillSwitchSetting(on=True, flatten=False, reason="maintenance", by="desk", time_ns=1)
    KillSwitchFile(tmp_path / "control" / "kill-switch.json").set(setting)
    summary = await trade_on_paper(config, panel, MomentumPredictor(config.feature_set))
    assert (summary.steps, summary.orders, summary.risk_state) == (10, 0, "HALTED")
    assert read_acknowledgement(acknowledgement_path(config.session_directory))["done"]
    with pytest.raises(RefusedError, match="kill switch is on"):
        lift_restriction(config.session_directory / "journal", "trade", LiveClock())


@pytest.mark.parametrize("action", [BreachAction.HALT, BreachAction.FLATTEN])
async def test_a_breach_stops_the_session_and_holds_the_next_one(tmp_path: Path, action: BreachAction) -> None:
    panel = make_panel(BarKind.FIXING, 40)
    limits = RiskParameters(maximum_drawdown=0.002, maximum_daily_loss=0.9, drawdown_action=action)
    config = make_config(tmp_path, BarKind.FIXING, risk=limits)
    write_state(panel, config.feature_set, config.state_path)
    theirs = OrderRequest("theirs", "EUR_USD", Decimal(10), OrderType.LIMIT, TimeInForce.GTC, price=Decimal("0.50000"))
    summary = await trade_on_paper(config, panel, MomentumPredictor(config.feature_set), [theirs])
    assert summary.risk_state == "HALTED" and summary.reconciliation is not None
    assert summary.reconciliation.reconciled
    state, _ = read_state(config.session_directory / "journal", SummaryCollector("USD"))
    assert state.risk_state is RiskState.HALTED
    assert state.kill_switch is not None and state.kill_switch.by == "breach"
    assert state.kill_switch.reason.startswith("DRAWDOWN: equity")
    assert bool(state.positions.held()) is (action is BreachAction.HALT)
    held = KillSwitchFile(config.session_directory / "control" / "kill-switch.json").read()
    assert held is not None and held.on and not held.flatten  # others are held, not closed
    assert state.book.orders["theirs"].state is OrderState.CANCELLED
    report = await replay_session(config.session_directory)
    assert report.equal, report.difference.lines() if report.difference else ""
    assert report.records["orders_listed"] >= 1
