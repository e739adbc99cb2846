"""The ledger holds what the journal holds, exactly once, on SQLite and PostgreSQL, whatever interrupts it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

from core.clock import LiveClock
from core.database import create_engine, migrate
from core.domain import BarKind
from core.embedded.postgres import EmbeddedPostgres
from core.errors import IntegrityError, RefusedError, UnavailableError
from core.journal import Journal, read_entries
from trading import records
from trading.ledger import tables
from trading.ledger.lease import acquire, release, renew
from trading.ledger.projector import Projector
from trading.ledger.rebuilding import rebuild
from trading.ledger.thread import LedgerThread
from trading.summary import SessionSummary, SummaryCollector, read_state


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: EmbeddedPostgres = request.getfixturevalue("postgres")
    name = f"ledger_{abs(hash(request.node.name)) % 10**8}"
    server.create_database(name)
    return server.database_url(name)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SessionSummary]:
    """A traded session's journal."""
    import asyncio

    folder = tmp_path_factory.mktemp("traded")
    panel = make_panel(BarKind.FIXING, 25)
    config = make_config(folder, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    with Practice(make_feed(panel)) as practice:
        summary = asyncio.run(trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set)))
    return folder / "session" / "journal", summary


def contents(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for table in (*tables.PROJECTED, tables.watermarks)
        }


def project_all(engine: sa.Engine, directory: Path, last: int) -> None:
    projector = Projector(engine, directory, "s")
    while projector.project(last):
        pass


def test_rows_agree_with_the_session(database_url: str, session: tuple[Path, SessionSummary]) -> None:
    directory, summary = session
    engine = create_engine(database_url)
    migrate(engine)
    last = sum(1 for _ in read_entries(directory))
    project_all(engine, directory, last)
    rows = contents(engine)
    state, _ = read_state(directory, SummaryCollector("USD"))
    assert len(rows["ledger_decisions"]) == summary.decisions
    assert len(rows["ledger_predictions"]) == sum(summary.predictions.values())
    assert len(rows["ledger_fills"]) == summary.fills
    with engine.connect() as connection:
        ours = sa.select(sa.func.count()).select_from(tables.orders).where(tables.orders.c.decision_id != "")
        assert connection.execute(ours).scalar_one() == summary.orders
        digests = connection.execute(sa.select(tables.predictions.c.model_digest).distinct()).scalars().all()
        assert digests == summary.model_digests
        for row in connection.execute(sa.select(tables.positions)):
            assert row.units == state.positions.units(row.instrument)
        total = sum(connection.execute(sa.select(tables.fills.c.realised_profit)).scalars())
        assert float(total) == pytest.approx(summary.profit_realised)
        newest = connection.execute(sa.select(tables.account_states).where(tables.account_states.c.source == "broker"))
        assert list(newest)[-1].balance == state.balance
        opened = connection.execute(sa.select(tables.sessions)).one()
    assert (opened.starts, opened.close_reason, opened.simulated) == (1, "end of data", True)
    # Again, from a new projector: nothing changes.
    project_all(engine, directory, last)
    assert contents(engine) == rows
    # Rebuilt from the journal alone: the same rows.
    assert rebuild(engine, directory, "s") == last
    assert contents(engine) == rows


def test_interrupted_between_any_two_batches_it_is_the_same(
    database_url: str, session: tuple[Path, SessionSummary]
) -> None:
    directory, _ = session
    last = sum(1 for _ in read_entries(directory))
    engine = create_engine(database_url)
    migrate(engine)
    project_all(engine, directory, last)
    whole = contents(engine)
    rebuild_from_nothing = sa.delete
    with engine.begin() as connection:
        for table in (*tables.PROJECTED, tables.watermarks):
            connection.execute(rebuild_from_nothing(table))
    position = 0
    for size in (1, 7, 50, 333, 100_000):
        projector = Projector(engine, directory, "s")  # a new process each time
        projector.project(last, limit=size)
        with engine.connect() as connection:
            position = connection.execute(sa.select(tables.watermarks.c.sequence)).scalar_one()
        assert position == projector.watermark
    assert position == last
    assert contents(engine) == whole


def test_a_failure_inside_a_batch_leaves_no_half(
    database_url: str, session: tuple[Path, SessionSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, _ = session
    last = sum(1 for _ in read_entries(directory))
    engine = create_engine(database_url)
    migrate(engine)
    projector = Projector(engine, directory, "s")
    projector.project(last, limit=200)
    before = contents(engine)
    failures = 0

    def fail(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal failures
        if statement.startswith("INSERT INTO ledger_predictions"):
            failures += 1
            raise sa.exc.OperationalError(statement, None, Exception("connection lost"))

    sa.event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(sa.exc.OperationalError):
        while True:
            projector.project(last, limit=400)
    sa.event.remove(engine, "before_cursor_execute", fail)
    assert failures == 1
    assert contents(engine) == before
    while projector.project(last, limit=400):
        pass
    assert len(contents(engine)["ledger_predictions"]) == 100


def test_two_projectors_write_once(database_url: str, session: tuple[Path, SessionSummary]) -> None:
    directory, _ = session
    last = sum(1 for _ in read_entries(directory))
    engine = create_engine(database_url)
    migrate(engine)
    one, two = Projector(engine, directory, "s"), Projector(engine, directory, "s")
    one.project(last, limit=100)
    two.project(last, limit=100)
    one_moved = one.project(last, limit=100) if two.watermark == one.watermark else None
    if one_moved is not None:
        with pytest.raises(IntegrityError, match="moved on"):
            two.project(last, limit=50)
    while two.project(last):
        pass
    rows = contents(engine)
    project_all(engine, directory, last)
    assert contents(engine) == rows


def test_one_trader_per_account(database_url: str) -> None:
    engine = create_engine(database_url)
    migrate(engine)
    clock = LiveClock()
    first = acquire(engine, "account", "here:/a", "a", clock)
    with pytest.raises(RefusedError, match="being traded by session a"):
        acquire(engine, "account", "here:/b", "b", clock)
    assert renew(engine, first, clock)
    again = acquire(engine, "account", "here:/a", "a", clock)
    assert again.token > first.token
    assert not renew(engine, first, clock)
    release(engine, again)
    second = acquire(engine, "account", "here:/b", "b", clock)
    assert second.token > again.token
    assert not renew(engine, again, clock)


def test_contenders_for_a_free_account_get_one_lease(database_url: str) -> None:
    engine = create_engine(database_url)
    migrate(engine)
    outcomes: list[str] = []

    def contend(name: str) -> None:
        try:
            acquire(engine, "free", name, name, LiveClock())
            outcomes.append("held")
        except (RefusedError, sa.exc.OperationalError):
            outcomes.append("refused")

    threads = [threading.Thread(target=contend, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", "refused", "refused", "refused"]


def wait_for(condition: Any, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_the_ledger_catches_up_after_the_database_was_away(tmp_path: Path) -> None:
    """A real server is stopped and started under the running projection."""
    server = EmbeddedPostgres(tmp_path / "pg")
    server.start()
    changes: list[bool] = []
    with Journal(tmp_path / "journal") as journal:
        thread = LedgerThread(
            server.url,
            journal,
            tmp_path / "journal",
            "s",
            "account",
            "holder",
            lambda available, _: changes.append(available),
            lambda: None,
        )
        assert thread.take_lease(resuming=False) == 1
        thread.start()

        def write(count: int) -> None:
            for number in range(count):
                record = records.Degraded(number, "price", f"test {number}")
                journal.append(records.kind_of(record), records.encode(record), number, durable=True)

        write(10)
        assert wait_for(lambda: thread.watermark == 10)
        server.stop()
        write(10)
        assert wait_for(lambda: changes == [False])
        assert thread.watermark == 10
        server.start()
        assert wait_for(lambda: thread.watermark == 20)
        assert changes == [False, True]
        assert thread.close()
        engine = create_engine(server.url)
        assert len(contents(engine)["ledger_incidents"]) == 20
    server.stop()


def test_a_round_begins_when_no_decision_is_under_way(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        for number in range(5):
            record = records.Degraded(number, "price", f"test {number}")
            journal.append(records.kind_of(record), records.encode(record), number, durable=True)
        seen: list[int] = []

        def deciding() -> bool:
            seen.append(thread.watermark)
            return len(seen) < 20

        url = f"sqlite:///{tmp_path / 'ledger.db'}"
        thread = LedgerThread(
            url, journal, tmp_path / "journal", "s", "a", "h", lambda *_: None, lambda: None, deciding
        )
        thread.take_lease(resuming=False)
        thread.start()
        deadline = time.monotonic() + 20
        while thread.watermark < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert thread.watermark == 5
        assert seen[:20] == [0] * 20, "rows were written beside a decision"
        assert thread.close()


def test_a_new_session_needs_the_database_and_a_resumed_one_does_not(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        url = "postgresql+psycopg://nobody@127.0.0.1:1/none"
        thread = LedgerThread(url, journal, tmp_path, "s", "a", "h", lambda *_: None, lambda: None)
        with pytest.raises(UnavailableError, match="lease cannot be taken"):
            thread.take_lease(resuming=False)
        assert thread.take_lease(resuming=True) == 0


async def test_trader_with_a_ledger_refuses_a_second_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    engine = create_engine(url)
    migrate(engine)
    panel = make_panel(BarKind.FIXING, 5)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    held = acquire(engine, config.account_key, "elsewhere:/x", "other", LiveClock())
    with Practice(make_feed(panel)) as practice:
        with pytest.raises(RefusedError, match="being traded by session other"):
            await trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set), url)
        release(engine, held)
        summary = await trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set), url)
    assert summary.ledger_complete
    assert len(contents(engine)["ledger_decisions"]) == summary.decisions
