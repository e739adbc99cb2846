"""Rows projected bit by bit, through failures and a torn journal, are the rows made anew from the journal alone."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from core.database import create_engine, migrate
from core.errors import IntegrityError
from core.journal import Journal, read_entries
from core.journal.reader import segment_paths
from trading import records
from trading.execution.parameters import ChildStyle, ExecutionParameters
from trading.execution.plan import Algorithm
from trading.ledger import tables
from trading.ledger.inspection import inspect
from trading.ledger.projector import Projector
from trading.ledger.rebuilding import rebuild

sys.path.append(str(Path(__file__).parents[2] / "integration" / "trading"))

from execution_market import ExecutionMarket

FAULTS = ("", "", "reply_lost", "request_lost", "never_left", "refused")


async def _session(folder: Path, data: st.DataObject) -> Path:
    """A session in which orders are sent, moved, cancelled, lost and refused."""
    parameters = ExecutionParameters(
        algorithm=Algorithm.TWAP,
        duration_seconds=10.0,
        slices=data.draw(st.integers(2, 3)),
        child_style=data.draw(st.sampled_from(list(ChildStyle))),
        retry_seconds=1.0,
    )
    trading = await ExecutionMarket(folder, parameters).begin()
    trading.paper.faults = data.draw(st.lists(st.sampled_from(FAULTS), max_size=8))
    for second in range(24):
        if second % 8 == 0:
            units = data.draw(st.sampled_from([-30_000, 20_001]))
            await trading.executor.start(trading.order(units, second), 0.006, 0)
        move = data.draw(st.integers(-10, 10)) / 100_000
        trading.tick(1.1 + move, 1.1001 + move)
        await trading.look()
        if data.draw(st.booleans()):
            reason = data.draw(st.sampled_from(["CROSSED", "SPIKE"]))
            trading.desk.commit(records.QuoteRefused("EUR_USD", second, reason, f"refused at {second}"))
    if data.draw(st.booleans()):
        trading.desk.commit(records.KillSwitchSet(True, False, 1, "by the test", "desk"))
    trading.journal.close()
    return trading.directory


@given(data=st.data())
@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
def test_rebuilt_rows_are_the_projected_rows(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = asyncio.run(_session(Path(folder), data))
        engine = create_engine(f"sqlite:///{folder}/ledger.db")
        migrate(engine)
        _project_through_failures(engine, directory, data)
        _tear(directory, data)  # bytes of a write that never finished: cut off by the next start
        with Journal(directory) as journal:
            record = records.SessionClosed("stopped")
            journal.append(records.kind_of(record), records.encode(record), 5, durable=True)
        _project_through_failures(engine, directory, data)
        projected = _contents(engine)
        assert projected["ledger_orders"] and projected["ledger_execution_plans"]
        assert inspect(engine, "plans", directory, verify=True).differences == ()
        rebuild(engine, directory, "plans")
        assert _contents(engine) == projected
        engine.dispose()


def _project_through_failures(engine: sa.Engine, directory: Path, data: st.DataObject) -> None:
    """Batches of any size; the connection breaks at any statement; a new process goes on at any time."""
    last = sum(1 for _ in read_entries(directory))
    left = data.draw(st.integers(0, 40))

    def fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise sa.exc.OperationalError(statement, None, Exception("connection lost"))

    sa.event.listen(engine, "before_cursor_execute", fail)
    projector = Projector(engine, directory, "plans")
    while True:
        try:
            if data.draw(st.integers(0, 3)) == 0:
                projector = Projector(engine, directory, "plans")
            if projector.project(last, data.draw(st.sampled_from([1, 5, 17, 500]))) == 0:
                break
        except sa.exc.OperationalError:
            left = data.draw(st.integers(0, 40))
    sa.event.remove(engine, "before_cursor_execute", fail)


def _tear(directory: Path, data: st.DataObject) -> None:
    """Leave half an entry behind the last one, as a power cut does."""
    with Journal(directory) as journal:
        end = journal.last_sequence
        journal.append("degraded", b"x" * 60, 1)
    path = segment_paths(directory)[-1]
    content = path.read_bytes()
    start = content.rindex(b"degraded" + b"x" * 60) - 26  # the entry's prefix and the head of its body
    cut = data.draw(st.integers(start + 1, start + 80))
    path.write_bytes(content[:cut])
    with pytest.raises(IntegrityError):
        Projector(create_engine("sqlite://"), directory, "plans")._follower.read(end + 5)


def _contents(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            str(table.name): [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in (*tables.PROJECTED, tables.watermarks)
        }
