"""The trader end to end: the OANDA adapter on the practice broker over HTTP, in lockstep, on real features."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from trading_session import (
    WARM,
    MomentumPredictor,
    Practice,
    make_config,
    make_feed,
    make_panel,
    trade_on_practice,
    trading_part,
    write_state,
)

from core.domain import BarKind
from features.batch import compute
from features.sets import feature_set

STEPS = {BarKind.FIXING: 40, BarKind.BAR: 60}


@pytest.mark.parametrize("kind", [BarKind.FIXING, BarKind.BAR])
async def test_a_session_trades_and_ends_reconciled(tmp_path: Path, kind: BarKind) -> None:
    panel = make_panel(kind, STEPS[kind])
    config = make_config(tmp_path, kind)
    write_state(panel, config.feature_set, config.state_path)
    predictor = MomentumPredictor(config.feature_set)
    with Practice(make_feed(panel)) as practice:
        summary = await trade_on_practice(config, practice.url, predictor)
        venue = practice.venue
        assert venue is not None
        valuation = venue.exchange.valuation()
    assert summary.ended == "end of data"
    assert summary.steps == STEPS[kind] == predictor.requests
    assert summary.decisions == summary.predictions["local"] == STEPS[kind] * 4
    assert summary.orders > 10
    assert summary.fills >= summary.orders
    assert summary.simulated
    result = summary.reconciliation
    assert result is not None
    assert result.reconciled, result.differences
    assert abs(result.balance_difference) < Decimal("0.01")
    assert summary.equity == pytest.approx(float(valuation.nav), abs=1.0)
    assert len(summary.equity_curve) == STEPS[kind]
    assert summary.costs.spread > 0
    assert {"features", "prediction", "risk_and_journal", "broker"} <= set(summary.latencies)
    # Law 1: the live features are the batch features, bit for bit.
    saved = np.load(summary.live_features_path)
    definition = feature_set(config.feature_set)
    batch, _ = compute(panel, definition)
    assert saved["time_ns"].tolist() == trading_part(panel).time_ns.tolist()
    assert saved["values"].tobytes() == np.ascontiguousarray(batch[WARM:]).tobytes()


async def test_two_sessions_give_the_same_orders_and_profit(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 25)
    outcomes = []
    for name in ("one", "two"):
        config = make_config(tmp_path / name, BarKind.FIXING)
        config.session_directory.mkdir(parents=True)
        write_state(panel, config.feature_set, config.state_path)
        with Practice(make_feed(panel)) as practice:
            summary = await trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set))
        outcomes.append((summary.order_digest, summary.balance, summary.equity_curve, summary.trades))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0]
