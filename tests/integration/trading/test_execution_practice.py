"""Plans in a whole session on the practice broker: through the loop, over HTTP, into the ledger, the same twice."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from trading_session import (
    MomentumPredictor,
    Practice,
    make_config,
    make_feed,
    make_panel,
    trade_on_practice,
    write_state,
)

from core.database import create_engine
from core.domain import BarKind, Panel
from core.journal import read_entries
from trading import records
from trading.config import TraderConfig
from trading.execution.parameters import ChildStyle, ExecutionParameters, Remainder
from trading.execution.plan import Algorithm, PlanOutcome
from trading.ledger import tables
from trading.ledger.inspection import inspect


def prepare(folder: Path, panel: Panel, config: TraderConfig) -> None:
    folder.mkdir()
    write_state(panel, config.feature_set, config.state_path)


async def session(folder: Path, style: ChildStyle) -> tuple[str, list[records.AnyRecord]]:
    panel = make_panel(BarKind.BAR, 20)
    parameters = ExecutionParameters(
        algorithm=Algorithm.IMPLEMENTATION_SHORTFALL,
        duration_seconds=3000.0,
        slices=5 if style is ChildStyle.MARKETABLE else 2,
        minimum_order_units=3000.0,
        minimum_child_units=500.0,
        child_style=style,
        price_bound_pips=50.0,
        remainder=Remainder.CROSS,
        temporary_impact_pips=1.0,
        risk_aversion=1e-4,
    )
    config = make_config(folder, BarKind.BAR, execution=parameters)
    prepare(folder, panel, config)
    url = f"sqlite:///{folder / 'ledger.db'}"
    with Practice(make_feed(panel)) as practice:
        summary = await trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set), url)
    assert summary.reconciliation is not None and summary.reconciliation.reconciled
    assert summary.ledger_complete
    journal = folder / "session" / "journal"
    engine = create_engine(url)
    assert inspect(engine, config.session_id, journal, verify=True).differences == ()
    with engine.connect() as connection:
        plans = connection.execute(sa.select(tables.execution_plans)).mappings().all()
    found = [records.decode(entry) for entry in read_entries(journal)]
    started = [record.plan for record in found if isinstance(record, records.PlanStarted)]
    ended = {record.plan_id: record for record in found if isinstance(record, records.PlanEnded)}
    assert len(started) >= 5 and len(plans) == len(started)
    filled = 0
    for plan in started:
        row = next(row for row in plans if row["plan_id"] == plan.plan_id)
        assert 0 <= row["executed_units"] / plan.parent.units <= 1
        if plan.plan_id in ended:
            filled += ended[plan.plan_id].outcome is PlanOutcome.COMPLETE
            assert (ended[plan.plan_id].outcome is PlanOutcome.COMPLETE) == (row["executed_units"] == row["units"])
    assert filled >= 3
    return summary.order_digest, found


@pytest.mark.parametrize("style", list(ChildStyle))
async def test_a_session_of_plans_ends_reconciled(tmp_path: Path, style: ChildStyle) -> None:
    first, found = await session(tmp_path / "one", style)
    kinds = {type(record) for record in found}
    if style is ChildStyle.PASSIVE:
        assert {records.CancelRequested, records.AmendRequested} <= kinds
    second, _ = await session(tmp_path / "two", style)
    assert first == second
