"""The database dies in the middle of a session and comes back: trading never stops, and the ledger ends complete."""

import asyncio
from pathlib import Path

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
from core.domain import BarKind, Prediction, PredictionRequest
from core.embedded.postgres import EmbeddedPostgres
from core.journal import read_entries
from trading import records
from trading.ledger.inspection import inspect

DIES, RETURNS, STEPS = 6, 14, 20


class DatabaseUnderTest(MomentumPredictor):
    """Answers as ever; before two of its answers the database is stopped and started again."""

    def __init__(self, set_name: str, server: EmbeddedPostgres, journal: Path) -> None:
        super().__init__(set_name)
        self._server = server
        self._journal = journal

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        if self.requests == DIES:
            await asyncio.to_thread(self._server.stop)
            await self._noticed()
        if self.requests == RETURNS:
            await asyncio.to_thread(self._server.start)
        return await super().predict(request)

    async def _noticed(self) -> None:
        """Wait until the session wrote that its database is away; the loop goes on, as it would between two steps."""
        for _ in range(600):
            found = (records.decode(entry) for entry in read_entries(self._journal))
            if any(isinstance(record, records.Degraded) and record.what == "database" for record in found):
                return
            await asyncio.sleep(0.05)
        raise AssertionError("nobody noticed that the database is gone")


async def test_trading_goes_on_without_its_database(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    server.start()
    panel = make_panel(BarKind.FIXING, STEPS)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    journal = config.session_directory / "journal"
    try:
        with Practice(make_feed(panel)) as practice:
            predictor = DatabaseUnderTest(config.feature_set, server, journal)
            summary = await trade_on_practice(config, practice.url, predictor, server.url)
        assert (summary.steps, summary.steps_missed) == (STEPS, 0)
        assert summary.ledger_complete
        assert summary.reconciliation is not None and summary.reconciliation.reconciled
        found = [records.decode(entry) for entry in read_entries(journal)]
        away = next(n for n, r in enumerate(found) if isinstance(r, records.Degraded) and r.what == "database")
        steps = [record for record in found[away:] if isinstance(record, records.StepDone)]
        orders = [record for record in found[away:] if isinstance(record, records.OrderSubmitted)]
        assert len(steps) >= STEPS - DIES and orders
        engine = create_engine(server.url)
        held = inspect(engine, config.session_id, journal, verify=True)
        assert (held.differences, held.lag) == ((), 0)
        engine.dispose()
    finally:
        server.stop()
